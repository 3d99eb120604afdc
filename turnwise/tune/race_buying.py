"""Buying conversation by conversation, and no more of settings that are shown to be beaten.

After each block of conversations everybody's rows are judged, and a setting that another one
beats in quality at no higher cost leaves the race: nothing more is bought for it. The chance
that the best one leaves by mistake is bounded over all looks together; see `racing`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from turnwise.calls.trust import NOTHING, Trust
from turnwise.replay.counterfactual.evaluation import Past
from turnwise.replay.counterfactual.purchase import Purse, PurseEmpty
from turnwise.tune.analysis import exact_mask
from turnwise.tune.buying import Bought, PurchaseProgress, buy
from turnwise.tune.counterfactual import CounterfactualEvaluator, opened
from turnwise.tune.panel import panel_of
from turnwise.tune.row import TurnRow
from turnwise.tune.statistics.imputation import impute
from turnwise.tune.statistics.racing import MIN_LOOK_CONVERSATIONS, Dropped, Race
from turnwise.tune.sweeps.evaluating import Setting

__all__ = ["FinishedRace", "RaceRequest", "buy_racing"]

CONVERSATIONS_A_LOOK = 5
"""Conversations that are bought between two looks, after the first."""

Judge = Callable[[Sequence[TurnRow], Mapping[str, str]], Sequence[TurnRow]]
"""Rows, and reply texts by id, to the same rows with their quality."""


@dataclass(frozen=True, slots=True)
class RaceRequest:
    """What to race, on which recording, with whose money.

    Args:
        folder: of the recorded run.
        settings: who races.
        purse: what may be spent in all.
        cost: a numeric field of `TurnRow` to spend less of.
        past: where each turn starts from.
        max_turns: how many of the recording's turns; None is all of them.
        max_concurrency: conversations side by side; at least 1.
        trust: what the user named of the recording's app and endpoints.
    """

    folder: Path
    settings: tuple[Setting, ...]
    purse: Purse
    cost: str = "asked"
    past: Past = "recorded"
    max_turns: int | None = None
    max_concurrency: int = 1
    trust: Trust = NOTHING


@dataclass(frozen=True, slots=True)
class FinishedRace:
    """What a race came to.

    Args:
        bought: what was bought.
        dropped: settings that left, in the order in which they did.
        conversations: that were bought for those who stayed.
    """

    bought: Bought
    dropped: tuple[Dropped, ...]
    conversations: int


def _blocks(conversations: Sequence[str]) -> list[list[str]]:
    """Return the conversations in blocks, each ended by a look."""
    first = [list(conversations[:MIN_LOOK_CONVERSATIONS])]
    rest = range(MIN_LOOK_CONVERSATIONS, len(conversations), CONVERSATIONS_A_LOOK)
    return first + [list(conversations[at : at + CONVERSATIONS_A_LOOK]) for at in rest]


def buy_racing(
    request: RaceRequest,
    judge: Judge,
    *,
    on_turn: Callable[[PurchaseProgress], None] | None = None,
) -> FinishedRace:
    """Buy what settings lack, block by block, and drop those that are beaten.

    Args:
        request: what to race.
        judge: gives rows their quality. It may raise `PurseEmpty`, which ends the race as
            it stands.
        on_turn: told each turn bought whole, its numbers counted from the block's start.

    Raises:
        ConfigError: when the recording cannot be added to, or nobody judges.
        CallError: a fatal one. What was bought until then is recorded.
    """
    inputs = opened(request.folder, request.trust).recording.inputs[: request.max_turns]
    conversations = list(dict.fromkeys(turn.conversation_id for turn in inputs))
    by_name = {setting.name: setting for setting in request.settings}
    race = Race(tuple(by_name), max_conversations=len(conversations))
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
            race = _looked(race, request, running, seen, judge)
        except PurseEmpty as empty:
            stopped = str(empty)
            break
    purse = request.purse
    total = Bought(turns, purse.calls, purse.usd, purse.unknown_usd, stopped)
    return FinishedRace(total, race.dropped, len(seen))


def _looked(
    race: Race,
    request: RaceRequest,
    running: Sequence[Setting],
    conversations: Sequence[str],
    judge: Judge,
) -> Race:
    """Return the race after a look at all conversations so far."""
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
