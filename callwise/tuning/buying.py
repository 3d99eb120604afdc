"""Calls that settings lack, bought into the recording that the sweep is made from.

`buy` takes setting by setting. `buy_racing` takes a block of conversations at a time, has the rows
judged after each, and buys nothing more for a setting that another one beats in quality at no
higher cost. The chance that the best one is dropped is bounded over all comparisons together; see
`racing`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from callwise.calls.errors import ConfigError
from callwise.calls.provider_errors import scrub
from callwise.calls.trust import NOTHING, Trust
from callwise.memory.snapshot_memory import SnapshotBackend
from callwise.recordings.app_protocol import TurnInput
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.recordings.counterfactual.evaluation import Past, evaluate
from callwise.recordings.counterfactual.purchase import SpendingCap, SpendingCapReached, buy_turns
from callwise.recordings.counterfactual.reusable_cassette import ReusableCassette
from callwise.recordings.recording import Recording
from callwise.recordings.replay_run import RunRecorder
from callwise.tuning.analysis import exact_mask
from callwise.tuning.panel import panel_of
from callwise.tuning.replay_evaluator import CounterfactualEvaluator, opened, run_apart, settings_of
from callwise.tuning.row import TurnRow
from callwise.tuning.setting import Setting, SettingResult
from callwise.tuning.statistics.imputation import impute
from callwise.tuning.statistics.racing import MIN_LOOK_CONVERSATIONS, Dropped, SettingRace

__all__ = [
    "BuyingEvaluator",
    "FinishedPurchase",
    "FinishedRace",
    "PurchaseProgress",
    "RaceRequest",
    "buy",
    "buy_racing",
]


@dataclass(frozen=True, slots=True)
class FinishedPurchase:
    """A purchase that ended.

    Args:
        turns: turns bought whole.
        calls: calls sent, as the spending cap counts them.
        usd: their known cost.
        unknown_usd: calls whose cost is not known.
        stopped: why buying stopped early; empty when it did not.
    """

    turns: int
    calls: int
    usd: float
    unknown_usd: int
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class PurchaseProgress:
    """Progress of a purchase.

    Args:
        setting: the one that is being bought.
        turns: turns bought whole so far.
        calls: calls sent so far.
    """

    setting: str
    turns: int
    calls: int


@dataclass(slots=True)
class _Purchase:
    recording: Recording
    shelf: SnapshotBackend
    past: Past
    turns_meant: Sequence[TurnInput]
    max_concurrency: int
    purse: SpendingCap
    on_turn: Callable[[PurchaseProgress], None] | None
    turns: int = 0

    async def buy_all(self, settings: Sequence[Setting]) -> str:
        """Buy setting by setting; return why that stopped early, or nothing."""
        path = self.recording.cassette
        with open_cassette(path, CassetteMode.NEW_EPISODES, redact=scrub) as cassette:
            for setting in settings:
                try:
                    await self.buy(setting, RunRecorder(cassette))
                except SpendingCapReached as empty:
                    return str(empty)
        return ""

    async def lacking(self, tape: ReusableCassette, setting: Setting) -> list[TurnInput]:
        """Return the turns of a setting that have to be run; on its own past from the first."""
        evaluated = await evaluate(
            self.recording,
            tape,
            settings_of(self.recording, setting),
            past=self.past,
            store=self.shelf,
            turns=self.turns_meant,
        )
        inexact = [each.turn for each in evaluated if each.diverged_at is not None]
        if self.past == "recorded":
            return inexact
        users = {turn.memory_owner for turn in inexact}
        return [each.turn for each in evaluated if each.turn.memory_owner in users]

    async def buy(self, setting: Setting, recorder: RunRecorder) -> None:
        """Buy one setting's turns."""
        tape = ReusableCassette(self.recording.cassette)
        try:
            turns = await self.lacking(tape, setting)
            if turns:
                await buy_turns(
                    self.recording,
                    tape,
                    settings_of(self.recording, setting),
                    turns,
                    recorder=recorder,
                    budget=self.purse,
                    past=self.past,
                    store=self.shelf,
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
    purse: SpendingCap,
    *,
    past: Past = "recorded",
    max_turns: int | None = None,
    conversations: Collection[str] | None = None,
    max_concurrency: int = 1,
    on_turn: Callable[[PurchaseProgress], None] | None = None,
    trust: Trust = NOTHING,
) -> FinishedPurchase:
    """Run what settings lack, setting by setting, and add it to their recording.

    Args:
        folder: of the recorded run.
        settings: in order; what an earlier one bought a later one finds.
        purse: the cap on all spending together.
        past: where each turn starts from.
        max_turns: how many of the recording's turns; None is all of them.
        conversations: which of their conversations; None is all of them.
        max_concurrency: conversations side by side; at least 1.
        on_turn: called with each turn bought whole.
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
    return FinishedPurchase(purchase.turns, purse.calls, purse.usd, purse.unknown_usd, stopped)


@dataclass(slots=True)
class BuyingEvaluator:
    """Evaluates a setting after buying what it lacks, for samplers that choose as they go.

    It has one spending cap and appends to one file, so it works in this process only.

    Args:
        inner: evaluates what is recorded by then.
        purse: the cap on the spending of all settings together.
        max_concurrency: conversations side by side; at least 1.
        on_turn: called with each turn bought whole.
    """

    inner: CounterfactualEvaluator
    purse: SpendingCap
    max_concurrency: int = 1
    on_turn: Callable[[PurchaseProgress], None] | None = None

    def evaluate(self, settings: Sequence[Setting]) -> list[SettingResult]:
        """Return one result per setting; one beyond the spending cap has an error and no rows.

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


CONVERSATIONS_PER_COMPARISON = 5
"""Conversations that are bought between two comparisons, after the first."""

Judge = Callable[[Sequence[TurnRow], Mapping[str, str]], Sequence[TurnRow]]
"""Rows, and reply texts by id, to the same rows with their quality."""


@dataclass(frozen=True, slots=True)
class RaceRequest:
    """A race of settings on a recording.

    Args:
        folder: of the recorded run.
        settings: at least one, distinct by name.
        purse: the cap on all spending together.
        cost: a numeric field of `TurnRow` to spend less of.
        past: where each turn starts from.
        max_turns: how many of the recording's turns; None is all of them.
        max_concurrency: conversations side by side; at least 1.
        trust: what the user named of the recording's app and endpoints.
    """

    folder: Path
    settings: tuple[Setting, ...]
    purse: SpendingCap
    cost: str = "asked"
    past: Past = "recorded"
    max_turns: int | None = None
    max_concurrency: int = 1
    trust: Trust = NOTHING


@dataclass(frozen=True, slots=True)
class FinishedRace:
    """A race that ended.

    Args:
        bought: the purchase.
        dropped: settings that were dropped, in this order.
        conversations: number bought for the settings that were not dropped.
    """

    bought: FinishedPurchase
    dropped: tuple[Dropped, ...]
    conversations: int


def _blocks(conversations: Sequence[str]) -> list[list[str]]:
    """Return the conversations in blocks; settings are compared after each."""
    first = [list(conversations[:MIN_LOOK_CONVERSATIONS])]
    rest = range(MIN_LOOK_CONVERSATIONS, len(conversations), CONVERSATIONS_PER_COMPARISON)
    return first + [list(conversations[at : at + CONVERSATIONS_PER_COMPARISON]) for at in rest]


def buy_racing(
    request: RaceRequest,
    judge: Judge,
    *,
    on_turn: Callable[[PurchaseProgress], None] | None = None,
) -> FinishedRace:
    """Buy what settings lack, block by block, and drop those that are beaten.

    Args:
        request: what to race.
        judge: returns rows with their quality. It may raise `SpendingCapReached`, which ends the
            race without dropping more settings.
        on_turn: called with each turn bought whole; its numbers start with the block.

    Raises:
        ConfigError: when the recording cannot be added to, or the rows cannot be judged.
        CallError: a fatal one. What was bought until then is recorded.
    """
    inputs = opened(request.folder, request.trust).recording.inputs[: request.max_turns]
    conversations = list(dict.fromkeys(turn.conversation_id for turn in inputs))
    by_name = {setting.name: setting for setting in request.settings}
    race = SettingRace(tuple(by_name), max_conversations=len(conversations))
    seen: list[str] = []
    turns, stopped = 0, ""
    for block in _blocks(conversations):
        running = [by_name[name] for name in race.ask()]
        bought = buy(
            request.folder,
            running,
            request.purse,
            past=request.past,
            max_turns=request.max_turns,
            conversations=set(block),
            max_concurrency=request.max_concurrency,
            on_turn=on_turn,
            trust=request.trust,
        )
        turns, stopped = turns + bought.turns, bought.stopped
        if stopped:
            break
        seen += block
        try:
            race = _compared(race, request, running, seen, judge)
        except SpendingCapReached as empty:
            stopped = str(empty)
            break
    purse = request.purse
    total = FinishedPurchase(turns, purse.calls, purse.usd, purse.unknown_usd, stopped)
    return FinishedRace(total, race.dropped, len(seen))


def _compared(
    race: SettingRace,
    request: RaceRequest,
    running: Sequence[Setting],
    conversations: Sequence[str],
    judge: Judge,
) -> SettingRace:
    """Return the race after a comparison on all conversations so far."""
    evaluator = CounterfactualEvaluator(
        request.folder, past=request.past, max_turns=request.max_turns, trust=request.trust
    )
    results = evaluator.evaluate(running)
    known = set(conversations)
    texts = {name: text for result in results for name, text in result.replies.items()}
    found = [row for result in results for row in result.rows if row.conversation in known]
    rows = judge(found, texts)
    quality = panel_of(rows, "quality")
    return race.tell(panel_of(rows, request.cost), impute(quality, exact_mask(rows, quality)))
