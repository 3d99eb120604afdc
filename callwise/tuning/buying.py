"""Calls that settings lack, bought into the recording that the sweep is made from.

`buy` takes setting by setting, or several side by side. `buy_racing` takes a block of conversations
at a time, has the rows judged after each, and buys nothing more for a setting that another one
beats in quality at no higher cost. The chance that the best one is dropped is bounded over all
comparisons together; see `racing`.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from callwise.budget.shared_requests import SharedRequests
from callwise.calls.call import Priority
from callwise.calls.errors import ConfigError, RunStopped
from callwise.calls.load.background_knobs import BackgroundKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.provider_errors import redacted_line
from callwise.recordings.app_protocol import SharesRequests, TurnInput
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.recordings.counterfactual.evaluation import CounterfactualTurn, Past, evaluate
from callwise.recordings.counterfactual.purchase import (
    Purchase,
    SpendingCap,
    SpendingCapReached,
    buy_turns,
)
from callwise.recordings.counterfactual.reusable_cassette import ReusableCassette
from callwise.recordings.recording import Recording
from callwise.recordings.run_folder import BATCHES_FILE
from callwise.tuning.analysis import exact_mask
from callwise.tuning.panel import panel_of
from callwise.tuning.purchase_order import PurchaseOrder, SettingLine
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

MAX_BATCHED_CONVERSATIONS = 1000
"""Most conversations that are in memory at the same time, where they wait for batches."""


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
    """Run what settings lack, and add it to their recording.

    Args:
        evaluator: of the recorded run; only endpoints that its `trust` names are asked.
        settings: in order; what an earlier one bought a later one finds.
        max_concurrency: conversations side by side, of one setting and then of the next ones; at
            least 1. As many as there are, by batch.
        by_batch: have the calls answered by the providers' batch interfaces. Their queue is with
            the recording, so that what was submitted is not bought again after a crash.

    Raises:
        ConfigError: when the recording cannot be added to, no endpoint answers, or only the
            recording names it.
        RunStopped: when an endpoint failed so severely that the run stops.
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

    if by_batch:
        max_concurrency = min(max(len(meant) * len(settings), 1), MAX_BATCHED_CONVERSATIONS)

    async def buy_all() -> str:
        path = known.recording.cassette
        with (
            open_cassette(path, CassetteMode.NEW_EPISODES, redact=redacted_line) as cassette,
            closing(ReusableCassette(path)) as reusable,
        ):
            purchase = Purchase(reusable, cassette, budget)
            order = PurchaseOrder(budget, max_concurrency, is_strict=not by_batch)
            buying = _Buying(known, evaluator.past, purchase, order, meant, by_batch, count)
            for settings_of_group in _sent_alike(known.recording, settings):
                await buying.buy(settings_of_group)
        if isinstance(order.stopped_by, RunStopped):
            raise order.stopped_by
        return "" if order.stopped_by is None else str(order.stopped_by)

    stopped = run_apart(buy_all())
    return FinishedPurchase(turns, budget.calls, budget.usd, budget.unknown_usd, stopped)


def _sent_alike(recording: Recording, settings: Sequence[Setting]) -> list[list[Setting]]:
    """Return the settings in order, in groups whose calls may share requests.

    Groups are bought one after another, so that no limit of an endpoint is there twice.
    """
    app, groups = recording.app, list[list[Setting]]()
    last: str | None = None
    for setting in settings:
        sending = None
        if isinstance(app, SharesRequests):
            sending = app.sending_of(settings_of(recording, setting))
        if sending is None or sending != last:
            groups.append([])
        groups[-1].append(setting)
        last = sending
    return groups


@dataclass(slots=True)
class _Buying:
    """A purchase: its recording, its order, and the turns that every setting has."""

    known: OpenRecording
    past: Past
    purchase: Purchase
    order: PurchaseOrder
    meant: Sequence[TurnInput]
    by_batch: bool
    count: Callable[[Setting], None]

    async def buy(self, settings: Sequence[Setting]) -> None:
        """Buy for settings whose calls may share requests, side by side."""
        is_shared = isinstance(self.known.recording.app, SharesRequests) and len(settings) > 1
        shared = SharedRequests() if is_shared else None
        try:
            async with asyncio.TaskGroup() as group:
                for setting in settings:
                    line = await self.order.next_setting()
                    group.create_task(self._buy_setting(setting, line, shared))
                    await line.all_begun.wait()
        except* Exception as failed:  # noqa: BLE001 - unwrapped, not handled
            raise failed.exceptions[0] from None
        finally:
            if shared is not None:
                await shared.aclose()

    async def _buy_setting(
        self, setting: Setting, line: SettingLine, shared: SharedRequests | None
    ) -> None:
        """Buy the turns of a setting that have to be run."""
        recording, past, store = self.known.recording, self.past, self.known.store
        knobs = settings_of(recording, setting)
        with line:
            evaluated = await self._turns_to_run(knobs)
            turns = [each.turn for each in evaluated]
            if not turns or self.order.stopped_by is not None:
                return
            sent_by = knobs
            if self.by_batch:
                sent_by = _by_batch(knobs, recording.folder / BATCHES_FILE)
            planned = _most_calls(recording, knobs)
            for each in evaluated:
                line.announce(
                    each.turn, None if planned is None else max(planned - _recorded(each), 0)
                )
            await buy_turns(
                recording,
                self.purchase,
                sent_by,
                turns,
                past=past,
                store=store,
                shared=shared,
                max_concurrency=len(turns),
                around=line.around,
                on_turn=lambda _: self.count(setting),
            )

    async def _turns_to_run(self, knobs: BaseModel) -> list[CounterfactualTurn]:
        evaluated = await evaluate(
            self.known.recording,
            self.purchase.known,
            knobs,
            past=self.past,
            store=self.known.store,
            turns=self.meant,
        )
        lacking = [each for each in evaluated if each.diverged_at is not None]
        if self.past == "own":  # a user's later turns build on what is bought, so all are run
            users = {each.turn.memory_owner for each in lacking}
            lacking = [each for each in evaluated if each.turn.memory_owner in users]
        return lacking


def _recorded(turn: CounterfactualTurn) -> int:
    """Return how many calls of a turn are surely recorded: those before it diverges."""
    return 0 if turn.diverged_at is None else turn.diverged_at - 1


def _most_calls(recording: Recording, knobs: BaseModel) -> int | None:
    """Return the most calls of one turn by its plan; None where there is no plan."""
    plan = recording.app.plan(knobs)
    if plan is None:
        return None
    return max(int(each["asked"]) for each in plan.as_json()["scenarios"].values())


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
