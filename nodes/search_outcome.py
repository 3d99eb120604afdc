"""What a search leaves to the nodes after it, and what it says of itself in the turn's state."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lats.candidate import Candidate, Forest
from lats.knobs import SearchKnobs
from lats.posterior import Belief
from lats.reflection import Guideline, aged_guidelines
from lats.result import SearchResult, StopReason
from lats.search_state import DEFAULT_CAP
from lats.tree import NodeId
from nodes.degrade import degradation_of
from nodes.records import Bubble, Degradation, StyleVector
from nodes.search_bubbles import planned_bubbles
from nodes.search_moves import goal_of
from turnwise.calls.errors import CallError

__all__ = ["SearchOutcome", "candidate_records", "outcome_of"]

NODE = "lats_search"

DIGITS = 4
"""Digits after the point of the figures that are kept of a candidate."""


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
        degradation: why there is no reply; None when there is one.
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
        list of `candidate_records`, and such a search says more of itself beside it.
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
            "tree": candidate_records(result.tree, result.beliefs or {}),
            "policy": self.policy,
            "planned_cap": result.planned_cap,
            "confidence": None if result.confidence is None else asdict(result.confidence),
            "guidelines": [asdict(each) for each in self.guidelines],
            "wound_down": self.wound_down,
        }


def _figure(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def candidate_records(forest: Forest, beliefs: Mapping[NodeId, Belief]) -> list[dict[str, Any]]:
    """Return a forest as plain JSON from which it can be drawn, without what came with drafts.

    One record a candidate, in the order of their birth, so a parent stands before its
    children; `parent_id` is null for one from scratch. `scores` is how many scores went
    into `mean_score` (drift removed), `looks` how many calls were to read it;
    `posterior_mean` and `posterior_sd` are what the search believes of it, and `mean_value`
    is the mean of what its `visits` backed up. `judged` is the last verdict: the scores
    that it gave, and its words. Missing figures are null.

    Args:
        forest: of the search.
        beliefs: the posteriors of candidates that have a score.
    """
    return [
        _record(node, beliefs.get(node.node_id), start_id=forest.start_id)
        for node in forest.candidates
    ]


def _record(node: Candidate, belief: Belief | None, *, start_id: NodeId) -> dict[str, Any]:
    return {
        "id": node.node_id,
        "parent_id": None if node.parent_id == start_id else node.parent_id,
        "depth": node.depth,
        "strategy_tag": node.draft.strategy_tag,
        "reply": node.draft.reply,
        "looks": node.looks,
        "scores": node.score_count,
        "mean_score": _figure(node.mean_score),
        "posterior_mean": None if belief is None else _figure(belief.mean),
        "posterior_sd": None if belief is None else _figure(belief.sd),
        "visits": node.visits,
        "mean_value": _figure(node.mean_value if node.visits else None),
        "judged": _judged(node),
    }


def _judged(node: Candidate) -> dict[str, Any] | None:
    verdict = node.verdict
    if verdict is None:
        return None
    given = {"score": verdict.score, **verdict.attributes}
    figures = {name: _figure(value) for name, value in given.items() if value is not None}
    return {**figures, "reason": verdict.reason}


def outcome_of(
    result: SearchResult, errors: Sequence[CallError], *, knobs: SearchKnobs, style: StyleVector
) -> SearchOutcome:
    """Return what a search that is over leaves.

    Args:
        result: of the search.
        errors: what went wrong on the way, in the order in which it was told.
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
        degradation=None if best is not None else _degradation(result, errors),
        result=result,
        error=errors[0] if errors and best is None else None,
        policy=knobs.policy,
        max_calls=cap,
        guidelines=aged_guidelines(result.guidelines),
    )


def _goal(result: SearchResult, best_id: NodeId) -> str:
    tree = result.tree
    if isinstance(tree, Forest):
        return goal_of(tree, best_id)
    return str(tree.root.draft.payload.get("goal", ""))


def _degradation(result: SearchResult, errors: Sequence[CallError]) -> Degradation:
    """Return why there is no reply."""
    if errors:
        return degradation_of(errors[0], node=NODE)
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
