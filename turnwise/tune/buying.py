"""Buying what the settings of a sweep lack, into the recording that it is made from."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from turnwise.calls.errors import ConfigError
from turnwise.calls.provider_errors import scrub
from turnwise.calls.trust import NOTHING, Trust
from turnwise.memory.past import KeptShelf
from turnwise.replay.app import TurnInput
from turnwise.replay.cassette import CassetteMode, open_cassette
from turnwise.replay.counterfactual.evaluation import Past, evaluate
from turnwise.replay.counterfactual.purchase import Purse, PurseEmpty, buy_turns
from turnwise.replay.counterfactual.tape import Tape
from turnwise.replay.recording import Recording
from turnwise.replay.run_recorder import RunRecorder
from turnwise.tune.counterfactual import CounterfactualEvaluator, opened, run_apart, settings_of
from turnwise.tune.sweeps.evaluating import Setting, SettingResult

__all__ = ["Bought", "BuyingEvaluator", "PurchaseProgress", "buy"]


@dataclass(frozen=True, slots=True)
class Bought:
    """What was bought.

    Args:
        turns: turns bought whole.
        calls: calls sent, in the purse's count.
        usd: what they cost, as far as known.
        unknown_usd: calls whose cost is not known.
        stopped: why buying stopped early, in words; empty when it did not.
    """

    turns: int
    calls: int
    usd: float
    unknown_usd: int
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class PurchaseProgress:
    """How far a purchase is.

    Args:
        setting: which one is being bought.
        turns: turns bought whole so far.
        calls: calls sent so far.
    """

    setting: str
    turns: int
    calls: int


@dataclass(slots=True)
class _Purchase:
    recording: Recording
    shelf: KeptShelf
    past: Past
    turns_meant: Sequence[TurnInput]
    max_concurrency: int
    purse: Purse
    on_turn: Callable[[PurchaseProgress], None] | None
    turns: int = 0

    async def buy_all(self, settings: Sequence[Setting]) -> str:
        """Buy setting by setting; return why that stopped early, or nothing."""
        path = self.recording.cassette
        with open_cassette(path, CassetteMode.NEW_EPISODES, scrub=scrub) as cassette:
            for setting in settings:
                try:
                    await self.buy(setting, RunRecorder(cassette))
                except PurseEmpty as empty:
                    return str(empty)
        return ""

    async def lacking(self, tape: Tape, setting: Setting) -> list[TurnInput]:
        """Return the turns of a setting that have to be run; on its own past from the first."""
        evaluated = await evaluate(
            self.recording,
            tape,
            settings_of(self.recording, setting),
            past=self.past,
            shelf=self.shelf,
            turns=self.turns_meant,
        )
        inexact = [each.turn for each in evaluated if each.diverged_at is not None]
        if self.past == "recorded":
            return inexact
        users = {turn.memory_owner for turn in inexact}
        return [each.turn for each in evaluated if each.turn.memory_owner in users]

    async def buy(self, setting: Setting, recorder: RunRecorder) -> None:
        """Buy one setting's turns."""
        tape = Tape(self.recording.cassette)
        try:
            turns = await self.lacking(tape, setting)
            if turns:
                await buy_turns(
                    self.recording,
                    tape,
                    settings_of(self.recording, setting),
                    turns,
                    recorder=recorder,
                    purse=self.purse,
                    past=self.past,
                    shelf=self.shelf,
                    max_concurrency=self.max_concurrency,
                    on_turn=lambda _: self._count(setting),
                )
        finally:
            tape.close()

    def _count(self, setting: Setting) -> None:
        self.turns += 1
        if self.on_turn is not None:
            self.on_turn(PurchaseProgress(setting.name, self.turns, self.purse.calls))


def buy(
    folder: Path,
    settings: Sequence[Setting],
    purse: Purse,
    *,
    past: Past = "recorded",
    max_turns: int | None = None,
    conversations: Collection[str] | None = None,
    max_concurrency: int = 1,
    on_turn: Callable[[PurchaseProgress], None] | None = None,
    trust: Trust = NOTHING,
) -> Bought:
    """Run what settings lack, setting by setting, and add it to their recording.

    Args:
        folder: of the recorded run.
        settings: in order; what an earlier one bought a later one finds.
        purse: what may be spent in all.
        past: where each turn starts from.
        max_turns: how many of the recording's turns; None is all of them.
        conversations: which of their conversations; None is all of them.
        max_concurrency: conversations side by side; at least 1.
        on_turn: told each turn bought whole.
        trust: what the user named of the recording's app and endpoints; others are refused.

    Raises:
        ConfigError: when the recording cannot be added to, no endpoint answers, or only the
            recording names it.
        CallError: a fatal one. What was bought until then is recorded.
    """
    known = opened(folder, trust)
    recording = known.recording
    if recording.cassette.suffix == ".gz":
        raise ConfigError(
            f"{recording.cassette} is packed and cannot be added to: unpack it, replay the "
            "conversations from it, and tune that run"
        )
    meant = [
        turn
        for turn in recording.inputs[:max_turns]
        if conversations is None or turn.conversation_id in conversations
    ]
    purchase = _Purchase(recording, known.shelf, past, meant, max_concurrency, purse, on_turn)
    stopped = run_apart(purchase.buy_all(settings))
    return Bought(purchase.turns, purse.calls, purse.usd, purse.unknown_usd, stopped)


@dataclass(slots=True)
class BuyingEvaluator:
    """Evaluates a setting after buying what it lacks, for samplers that choose as they go.

    It spends from one purse and appends to one file, so it works in this process only.

    Args:
        inner: evaluates what is recorded by then.
        purse: what may be spent by all settings together.
        max_concurrency: conversations side by side; at least 1.
        on_turn: told each turn bought whole.
    """

    inner: CounterfactualEvaluator
    purse: Purse
    max_concurrency: int = 1
    on_turn: Callable[[PurchaseProgress], None] | None = None

    def evaluate(self, settings: Sequence[Setting]) -> list[SettingResult]:
        """Return one result a setting; one that the purse has no room for has none.

        Raises:
            CallError: a fatal one. What was bought until then is recorded.
        """
        return [self._result(setting) for setting in settings]

    def _result(self, setting: Setting) -> SettingResult:
        bought = buy(
            self.inner.folder,
            [setting],
            self.purse,
            past=self.inner.past,
            max_turns=self.inner.max_turns,
            max_concurrency=self.max_concurrency,
            on_turn=self.on_turn,
            trust=self.inner.trust,
        )
        if bought.stopped:
            return SettingResult(setting.name, (), error=f"not bought: {bought.stopped}")
        (result,) = self.inner.evaluate([setting])
        return result
