"""What a search leaves to the nodes after it, and what it says of itself in the turn's state."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lats.candidate import Forest
from lats.knobs import SearchKnobs
from lats.proposal import Kind, Side, side_of
from lats.reflection import Guideline, aged_guidelines
from lats.result import SearchResult, StopReason
from lats.search_state import DEFAULT_CAP
from lats.shown import candidate_records
from lats.standing import is_heard
from lats.tree import NodeId
from nodes.question import degradation_of
from nodes.records import Bubble, Degradation, StyleVector
from nodes.search_bubbles import planned_bubbles
from nodes.search_moves import goal_of
from turnwise.calls.errors import CallError

__all__ = ["SearchOutcome", "outcome_of"]

NODE = "lats_search"

_JUDGING = frozenset(kind for kind in Kind if side_of(kind) is Side.JUDGE) - {Kind.CHECK_ASSISTANT}
"""Kinds whose answer is a judgement of a reply as a whole."""


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """What the search leaves to the nodes after it.

    Args:
        reply: the chosen reply; None when not even a first draft came, and the graph has to
            fall back.
        goal: what the reply is to reach; blank when there is none.
        strategy_tag: what the chosen reply tries; blank when unsaid.
        processor_plan: the reply as bubbles with typing delays, when the model cut it
            so; delays that it left out are set by rule. None leaves it to the processor.
        stop_reason: why the search stopped.
        degradation: why there is no reply, or why no judgement could be used though a judge
            was asked; None when there is a reply and nothing to report.
        result: the whole search.
        error: what ended the first call when there is no reply; None where nothing did, or
            where the answer was of no use.
        policy: which search ran.
        max_calls: calls that its knobs allow; None for `classic_uct`.
        guidelines: what the next turn's search is to be given, a turn older than this one.
    """

    reply: str | None
    goal: str
    strategy_tag: str
    processor_plan: tuple[Bubble, ...] | None
    stop_reason: StopReason
    degradation: Degradation | None
    result: SearchResult
    error: CallError | None = None
    policy: str = "classic_uct"
    max_calls: int | None = None
    guidelines: tuple[Guideline, ...] = ()

    @property
    def wound_down(self) -> dict[str, int] | None:
        """Calls that the search planned for and that its knobs allow, where those are more."""
        planned = self.result.planned_cap
        if planned is None or self.max_calls is None or planned >= self.max_calls:
            return None
        return {"planned": planned, "knobs": self.max_calls}

    def summary(self) -> dict[str, Any]:
        """Return what the search did, as plain JSON for the graph's state.

        A classic search's `tree` is the whole tree as `lats` writes it. Any other's is a
        list of `lats.shown.candidate_records`, and such a search says more of itself beside
        it. `lats.shown.shown_from_json` reads either, to draw it.
        """
        result = self.result
        final = result.final_judgement
        shared: dict[str, Any] = {
            "stop_reason": self.stop_reason.value,
            "best_id": None if result.best is None else result.best.node_id,
            "rollouts_done": result.rollouts_done,
            "rounds": result.rounds,
            "asked": {kind.value: count for kind, count in result.asked.items()},
            "failed": {kind.value: count for kind, count in result.failed.items()},
            "final_judgement": None if final is None else final.model_dump(mode="json"),
        }
        if not isinstance(result.tree, Forest):
            return {**shared, "tree": result.tree.model_dump(mode="json")}
        return {
            **shared,
            "tree": candidate_records(result),
            "policy": self.policy,
            "planned_cap": result.planned_cap,
            "confidence": None if result.confidence is None else asdict(result.confidence),
            "guidelines": [asdict(each) for each in self.guidelines],
            "wound_down": self.wound_down,
        }


def outcome_of(
    result: SearchResult,
    errors: Sequence[tuple[Kind, CallError]],
    *,
    knobs: SearchKnobs,
    style: StyleVector,
) -> SearchOutcome:
    """Return what a search that is over leaves.

    Args:
        result: of the search.
        errors: what went wrong on the way, in the order in which it was told, each with
            the kind of the proposal whose call it ended.
        knobs: of the search.
        style: sets the delays of bubbles that came without.

    Raises:
        ValueError: when the search is still under way.
    """
    if result.stop_reason is None:
        raise ValueError("the search is still under way")
    best = result.best
    cap = None
    if knobs.policy != "classic_uct":
        cap = DEFAULT_CAP if knobs.max_calls is None else knobs.max_calls
    return SearchOutcome(
        reply=None if best is None else best.draft.reply,
        goal="" if best is None else _goal(result, best.node_id),
        strategy_tag="" if best is None else best.draft.strategy_tag,
        processor_plan=None if best is None else planned_bubbles(best.draft, style),
        stop_reason=result.stop_reason,
        degradation=_degradation(result, errors),
        result=result,
        error=errors[0][1] if errors and best is None else None,
        policy=knobs.policy,
        max_calls=cap,
        guidelines=aged_guidelines(result.guidelines),
    )


def _goal(result: SearchResult, best_id: NodeId) -> str:
    tree = result.tree
    if isinstance(tree, Forest):
        return goal_of(tree, best_id)
    return str(tree.root.draft.payload.get("goal", ""))


def _degradation(
    result: SearchResult, errors: Sequence[tuple[Kind, CallError]]
) -> Degradation | None:
    if result.best is None:
        return _no_reply(result, errors)
    return _no_judgement(result, [error for kind, error in errors if kind in _JUDGING])


def _no_judgement(result: SearchResult, errors: Sequence[CallError]) -> Degradation | None:
    """Return why no judgement could be used; None where one could, or none was asked for."""
    asked = sum(count for kind, count in result.asked.items() if kind in _JUDGING)
    failed = sum(count for kind, count in result.failed.items() if kind in _JUDGING)
    # An answer to a list may be read, and say nothing of any candidate that was shown.
    tree = result.tree
    is_unjudged = isinstance(tree, Forest) and not any(map(is_heard, tree.candidates))
    if not asked or (failed < asked and not is_unjudged):
        return None
    calls = f"of {asked} judge call{'s' if asked > 1 else ''}"
    if not errors:
        detail = f"no usable judgement: {asked} {calls} brought no score"
        return Degradation(node=NODE, reason="invalid", detail=detail)
    first = degradation_of(errors[0], node=NODE)
    rest = "" if failed == asked else ", and the rest brought no score"
    detail = f"no usable judgement: {failed} {calls} failed ({first.detail}){rest}"
    return Degradation(node=NODE, reason=first.reason, detail=detail)


def _no_reply(result: SearchResult, errors: Sequence[tuple[Kind, CallError]]) -> Degradation:
    """Return why there is no reply."""
    if errors:
        return degradation_of(errors[0][1], node=NODE)
    match result.stop_reason:
        case StopReason.CAP:
            reason, detail = "refused", "search.max_calls leaves no room for a reply"
        case StopReason.BUDGET | StopReason.DEADLINE:
            reason, detail = "refused", "the budget leaves no room for a reply"
        case _ if isinstance(result.tree, Forest):
            reason, detail = "invalid", "no generation has a usable reply"
        case _:
            reason, detail = "invalid", "the root plan has no reply"
    return Degradation(node=NODE, reason=reason, detail=detail)
