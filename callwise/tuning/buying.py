"""Calls that settings lack, bought into the recording that the sweep is made from.

`buy` takes setting by setting. `buy_racing` takes a block of conversations at a time, has the rows
judged after each, and buys nothing more for a setting that another one beats in quality at no
higher cost. The chance that the best one is dropped is bounded over all comparisons together; see
`racing`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from callwise.calls.call import Priority
from callwise.calls.errors import ConfigError
from callwise.calls.load.background_knobs import BackgroundKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.provider_errors import redacted_line
from callwise.recordings.app_protocol import TurnInput
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.recordings.counterfactual.evaluation import Past, evaluate
from callwise.recordings.counterfactual.purchase import SpendingCap, SpendingCapReached, buy_turns
from callwise.recordings.counterfactual.reusable_cassette import ReusableCassette
from callwise.recordings.replay_run import RunRecorder
from callwise.recordings.run_folder import BATCHES_FILE
from callwise.tuning.analysis import exact_mask
from callwise.tuning.panel import panel_of
from callwise.tuning.replay_evaluator import (
    CounterfactualEvaluator,
    OpenRecording,
    opened,
    run_apart,
    settings_of,
)
from callwise.tuning.row import TurnRow
from callwise.tuning.setting import Setting, SettingResult
from callwise.tuning.statistics.imputation import impute
from callwise.tuning.statistics.racing import MIN_CONVERSATIONS_TO_COMPARE, Dropped, SettingRace

__all__ = [
    "BuyingEvaluator",
    "FinishedPurchase",
    "FinishedRace",
    "PurchaseProgress",
    "buy",
    "buy_racing",
]


@dataclass(frozen=True, slots=True)
class FinishedPurchase:
    """A purchase that ended: turns bought whole, and calls sent, as the budget counts them.

    Args:
        unknown_usd: calls whose cost is not known.
    """

    turns: int
    calls: int
    usd: float
    unknown_usd: int
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class PurchaseProgress:
    """The setting that is being bought, and the turns and calls bought so far."""

    setting: str
    turns: int
    calls: int


OnTurn = Callable[[PurchaseProgress], None]
"""Called with each turn that was bought whole."""


def buy(
    evaluator: CounterfactualEvaluator,
    settings: Sequence[Setting],
    budget: SpendingCap,
    *,
    conversations: Collection[str] | None = None,
    max_concurrency: int = 1,
    on_turn: OnTurn | None = None,
    by_batch: bool = False,
) -> FinishedPurchase:
    """Run what settings lack, setting by setting, and add it to their recording.

    Args:
        evaluator: of the recorded run; only endpoints that its `trust` names are asked.
        settings: in order; what an earlier one bought a later one finds.
        max_concurrency: conversations side by side; at least 1. All of them, by batch.
        by_batch: have the calls answered by the providers' batch interfaces. Their queue is with
            the recording, so that what was submitted is not bought again after a crash.

    Raises:
        ConfigError: when the recording cannot be added to, no endpoint answers, or only the
            recording names it.
        CallError: a fatal one. What was bought until then is recorded.
    """
    known = opened(evaluator.folder, evaluator.trust)
    if known.recording.cassette.suffix == ".gz":
        raise ConfigError(
            f"{known.recording.cassette} is packed and cannot be added to: unpack it, replay the "
            "conversations from it, and tune that run"
        )
    meant = [
        turn
        for turn in known.recording.inputs[: evaluator.max_turns]
        if conversations is None or turn.conversation_id in conversations
    ]
    turns = 0

    def count(setting: Setting) -> None:
        nonlocal turns
        turns += 1
        if on_turn is not None:
            on_turn(PurchaseProgress(setting.name, turns, budget.calls))

    async def buy_all() -> str:
        path = known.recording.cassette
        with open_cassette(path, CassetteMode.NEW_EPISODES, redact=redacted_line) as cassette:
            for setting in settings:
                options: dict[str, Any] = {
                    "recorder": RunRecorder(cassette),
                    "budget": budget,
                    "max_concurrency": max(len(meant), 1) if by_batch else max_concurrency,
                    "by_batch": by_batch,
                    "on_turn": lambda _, setting=setting: count(setting),
                }
                try:
                    await _buy_setting(known, evaluator.past, setting, meant, **options)
                except SpendingCapReached as reached:
                    return str(reached)
        return ""

    stopped = run_apart(buy_all())
    return FinishedPurchase(turns, budget.calls, budget.usd, budget.unknown_usd, stopped)


async def _buy_setting(
    known: OpenRecording,
    past: Past,
    setting: Setting,
    meant: Sequence[TurnInput],
    *,
    by_batch: bool,
    **options: Any,
) -> None:
    """Buy the turns of a setting that have to be run; `options` are those of `buy_turns`."""
    recording, options = known.recording, {**options, "past": past, "store": known.store}
    cassette = ReusableCassette(recording.cassette)
    knobs = settings_of(recording, setting)
    try:
        evaluated = await evaluate(
            recording, cassette, knobs, past=past, store=known.store, turns=meant
        )
        turns = [each.turn for each in evaluated if each.diverged_at is not None]
        if past == "own":  # a user's later turns build on what is bought, so all are run
            users = {turn.memory_owner for turn in turns}
            turns = [each.turn for each in evaluated if each.turn.memory_owner in users]
        if turns:
            sent_by = _by_batch(knobs, recording.folder / BATCHES_FILE) if by_batch else knobs
            await buy_turns(recording, cassette, sent_by, turns, **options)
    finally:
        cassette.close()


def _by_batch(knobs: BaseModel, file: Path) -> BaseModel:
    """Return the settings of an app whose calls are answered by batch interfaces.

    What its own `load.background` sets goes before, but for the file.

    Raises:
        ConfigError: when the app has no knobs of load, or limits the time of its calls.
    """
    timed = _time_limit(knobs.model_dump())
    if timed is not None:
        raise ConfigError(
            f"--batch cannot keep {timed}: a batch may take a day. Leave the limit or --batch out"
        )
    load = getattr(knobs, "load", None)
    if not isinstance(load, LoadKnobs):
        raise ConfigError(
            f"--batch needs an app whose settings have the knobs `load`; those of "
            f"{type(knobs).__name__} have none. Leave --batch out"
        )
    batched = LoadKnobs(
        background=BackgroundKnobs(file=file, api="auto", takes=Priority.CRITICAL)
    ).laid_under(load)
    given = batched.model_dump(exclude_unset=True)
    given["background"]["file"] = file  # a recording chooses no file outside of its folder
    laid_over = LoadKnobs.model_validate(given)
    return knobs.model_copy(update={"load": laid_over})


def _time_limit(document: Mapping[str, Any], path: str = "") -> str | None:
    """Return the path of a limit on seconds that is set among knobs; None where none is."""
    for name, value in document.items():
        if name == "max_seconds" and value is not None:
            return f"{path}{name}={value:g}"
        found = _time_limit(value, f"{path}{name}.") if isinstance(value, Mapping) else None
        if found is not None:
            return found
    return None


@dataclass(slots=True)
class BuyingEvaluator:
    """Evaluates a setting after buying what it lacks, for samplers that choose as they go.

    It has one budget for all settings and appends to one file, so it works in this process only.
    """

    inner: CounterfactualEvaluator
    budget: SpendingCap
    max_concurrency: int = 1
    by_batch: bool = False

    def evaluate(self, settings: Sequence[Setting]) -> list[SettingResult]:
        """Return one result per setting; one beyond the budget has an error and no rows.

        Raises:
            CallError: a fatal one. What was bought until then is recorded.
        """
        return [self._result(setting) for setting in settings]

    def _result(self, setting: Setting) -> SettingResult:
        bought = buy(
            self.inner,
            [setting],
            self.budget,
            max_concurrency=self.max_concurrency,
            by_batch=self.by_batch,
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
class FinishedRace:
    """A race that ended.

    Args:
        conversations: number bought for the settings that were not dropped.
    """

    bought: FinishedPurchase
    dropped: tuple[Dropped, ...]
    conversations: int


def _blocks(conversations: Sequence[str]) -> list[list[str]]:
    """Return the conversations in blocks; settings are compared after each."""
    first = [list(conversations[:MIN_CONVERSATIONS_TO_COMPARE])]
    rest = range(MIN_CONVERSATIONS_TO_COMPARE, len(conversations), CONVERSATIONS_PER_COMPARISON)
    return first + [list(conversations[at : at + CONVERSATIONS_PER_COMPARISON]) for at in rest]


def buy_racing(
    evaluator: CounterfactualEvaluator,
    settings: Sequence[Setting],
    budget: SpendingCap,
    judge: Judge,
    *,
    cost: str = "asked",
    max_concurrency: int = 1,
    on_turn: OnTurn | None = None,
    by_batch: bool = False,
) -> FinishedRace:
    """Buy what settings lack, block by block, and drop those that are beaten.

    Args:
        by_batch: as for `buy`.
        settings: at least one, distinct by name.
        judge: returns rows with their quality. It may raise `SpendingCapReached`, which ends the
            race without dropping more settings.
        on_turn: called with each turn bought whole; its numbers start with the block.

    Raises:
        ConfigError: when the recording cannot be added to, or the rows cannot be judged.
        CallError: a fatal one. What was bought until then is recorded.
    """
    recording = opened(evaluator.folder, evaluator.trust).recording
    inputs = recording.inputs[: evaluator.max_turns]
    conversations = list(dict.fromkeys(turn.conversation_id for turn in inputs))
    by_name = {setting.name: setting for setting in settings}
    race = SettingRace(tuple(by_name), max_conversations=len(conversations))
    done: list[str] = []
    turns, stopped = 0, ""
    for block in _blocks(conversations):
        running = [by_name[name] for name in race.ask()]
        bought = buy(
            evaluator,
            running,
            budget,
            conversations=set(block),
            max_concurrency=max_concurrency,
            on_turn=on_turn,
            by_batch=by_batch,
        )
        turns, stopped = turns + bought.turns, bought.stopped
        if stopped:
            break
        done += block
        try:
            rows = judge(*_played(evaluator, running, set(done)))
        except SpendingCapReached as reached:
            stopped = str(reached)
            break
        quality = panel_of(rows, "quality")
        race = race.tell(panel_of(rows, cost), impute(quality, exact_mask(rows, quality)))
    total = FinishedPurchase(turns, budget.calls, budget.usd, budget.unknown_usd, stopped)
    return FinishedRace(total, race.dropped, len(done))


def _played(
    evaluator: CounterfactualEvaluator, settings: Sequence[Setting], conversations: Collection[str]
) -> tuple[list[TurnRow], dict[str, str]]:
    results = evaluator.evaluate(settings)
    texts = {name: text for result in results for name, text in result.replies.items()}
    rows = [row for result in results for row in result.rows if row.conversation in conversations]
    return rows, texts
