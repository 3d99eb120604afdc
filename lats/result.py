"""Result of a search, and its record: one versioned JSON object.

**Cost of a candidate**: its share of the calls that were asked for it. Of a proposer call each
child that came of it (and of other calls to the same parent) has an equal part, of all judge
calls a part by its `judge_passes`. A proposer call that brought no child counts for the
candidate that it refined. So the shares add up to the calls of the search, failed assistant
checks of `classic_uct` left out, of which the candidate is not known.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from lats.actions import ActionKind
from lats.answers import NodeId, Verdict
from lats.judge_bias import JudgeReading, report_on
from lats.judge_report import JudgeReport
from lats.posterior import Belief
from lats.reflection import Guideline
from lats.search_tree import Candidate, SearchTree

__all__ = [
    "DIGITS",
    "RECORD_VERSION",
    "Confidence",
    "ProposerStats",
    "SearchResult",
    "StateError",
    "StopReason",
    "in_scale",
]

RECORD_VERSION = 1
"""Changes when a reader of an earlier version could no longer read a record."""

DIGITS = 4
"""Digits after the point of the figures that are recorded of a candidate."""

_JUDGE_KINDS = (ActionKind.JUDGE_LIST, ActionKind.JUDGE, ActionKind.FINAL_JUDGE)
_FIRST_KINDS = (ActionKind.GENERATE, ActionKind.PLAN_ROOT)


class StopReason(StrEnum):
    """Reason why a search asked nothing more."""

    ROLLOUTS_DONE = "rollouts_done"
    """All rollouts of its knobs are done."""

    EARLY_EXIT = "early_exit"
    """A reply passed all gates."""

    CAP = "cap"
    """`max_calls` leaves no calls for another step."""

    BUDGET = "budget"
    """The driver's budget leaves too few calls, or refused one."""

    EXHAUSTED = "exhausted"
    """No leaf is left whose expansion could bring anything new."""

    FAILED = "failed"
    """There is no root draft, or no expansion ever answered."""

    PLAN_DONE = "plan_done"
    """Its knobs allow no further candidate, refinement or pass, though calls are left."""

    MIN_GAIN = "min_gain"
    """No further call promises as much as `min_gain`."""

    DEADLINE = "deadline"
    """The driver's time ran out."""

    UNJUDGED = "unjudged"
    """Judges gave nothing usable twice in a row."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """Confidence of a search in its answer: two numbers.

    `chance_best` is against noise, if the judge may be believed: a biased judge makes a search
    sure and wrong. `chance_right` is against truth, from searches that were labelled.

    Args:
        chance_best: probability that no other candidate is better, in [0, 1]. Under judging
            by agreement: the answer's cluster's share of all worth.
        mean_score: posterior mean of the answer's score; None under agreement without scores.
        sd: posterior standard deviation, in score; None likewise.
        scores: number of the answer's own scores.
        chance_right: probability that the answer is right as it was labelled, in (0, 1); None
            without a calibration (`lats.chance_calibration`).
        calibration: how many labels of which task `chance_right` is from, and where this search
            is not like them; blank without one.
    """

    chance_best: float
    mean_score: float | None
    sd: float | None
    scores: int
    chance_right: float | None = None
    calibration: str = ""


@dataclass(frozen=True, slots=True)
class ProposerStats:
    """A proposer's part in a search.

    Args:
        name: of the proposer.
        calls: asked of it, failed ones included.
        share: its share of all proposals, in [0, 1].
        candidates: that came of it and were new.
        mean: mean of its candidates' posterior means, in score; None where none has a score.
        best: the best of them; None likewise.
        cost: of one of its calls, relative to the others'.
    """

    name: str
    calls: int
    share: float
    candidates: int
    mean: float | None
    best: float | None
    cost: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The state of a search, at its end or before.

    Args:
        best: the reply to answer with; None when not even a root draft came.
        stop_reason: None while the search has not stopped.
        final_judgement: the second judgement of `best`; None when not asked or not answered.
        rollouts_done: rollouts that are over, failed ones included.
        rounds: rounds of actions, one waiting for the other.
        asked: actions made, by kind. Kinds that were not asked are absent.
        failed: actions that failed or were refused, by kind.
        confidence: in `best`; None where nothing was judged, and for `classic_uct`, which keeps
            no posterior.
        guidelines: for the next turn's search, not yet aged.
        planned_cap: calls that the search planned for, when its first round was made; None
            for `classic_uct`.
        beliefs: posteriors of all candidates that have a score; None for `classic_uct`.
        survivors: candidates from scratch that are still in the running; none where the policy
            drops none.
        stopped_by: names of the knobs, or of the arguments, of which another value would have let
            the search go on; none where it had nothing more to ask. Not in the record.
        score_range: worst and best score of the task's own scale, in which a drawing shows
            scores; all figures here are in [0, 1].
        readings: judge calls with their scores as they came; none of `classic_uct`.
        proposers: each proposer's part, by name; none where there is only one, without a name.
    """

    policy: str
    best: Candidate | None
    stop_reason: StopReason | None
    final_judgement: Verdict | None
    rollouts_done: int
    rounds: int
    asked: dict[ActionKind, int]
    failed: dict[ActionKind, int]
    tree: SearchTree
    confidence: Confidence | None = None
    guidelines: tuple[Guideline, ...] = ()
    planned_cap: int | None = None
    beliefs: Mapping[NodeId, Belief] | None = None
    survivors: tuple[NodeId, ...] = ()
    stopped_by: tuple[str, ...] = ()
    score_range: tuple[float, float] = (0.0, 1.0)
    readings: tuple[JudgeReading, ...] = ()
    proposers: tuple[ProposerStats, ...] = ()

    @property
    def calls(self) -> int:
        """Actions asked, of all kinds."""
        return sum(self.asked.values())

    @property
    def judge_report(self) -> JudgeReport:
        """Signs of the judges' bias; one search has few data, so pool those of many."""
        chars = [len(node.draft.reply) for node in self.tree.nodes.values()]
        return report_on(self.readings, chars)

    def belief_of(self, node: Candidate) -> Belief | None:
        """Return the posterior of a candidate; None where it has no score, or none is kept."""
        return (self.beliefs or {}).get(node.node_id) if node.score_count else None

    def costs(self) -> dict[NodeId, float]:
        """Return each node's share of the calls, as the head of this file defines it."""
        nodes, asked = self.tree.nodes, self.asked
        passes = sum(node.judge_passes for node in nodes.values())
        judged = sum(asked.get(kind, 0) for kind in _JUDGE_KINDS)
        from_scratch = sum(asked.get(kind, 0) for kind in _FIRST_KINDS)
        costs: dict[NodeId, float] = {}
        for node in nodes.values():
            is_start = node.parent_id is None and self.tree.has_start
            cost = node.judge_passes * (judged / passes) if passes else 0.0
            if not node.children_ids:
                cost += from_scratch if is_start else node.expansions
            cost += node.assistantness is not None
            if node.parent_id is not None:
                parent = nodes[node.parent_id]
                is_first = parent.parent_id is None and self.tree.has_start
                asked_there = from_scratch if is_first else parent.expansions
                cost += asked_there / len(parent.children_ids)
            elif not is_start:
                cost += from_scratch
            costs[node.node_id] = cost
        return costs

    def dropped(self) -> set[NodeId]:
        """Return the candidates that are neither survivors nor below one."""
        found: set[NodeId] = set()
        for node in self.tree.candidates if self.survivors else ():
            is_gone = node.depth == 1 and node.node_id not in self.survivors
            if is_gone or node.parent_id in found:
                found.add(node.node_id)
        return found

    def record(self) -> dict[str, Any]:
        """Return the search as plain JSON, version `RECORD_VERSION`; payloads are left out.

        `candidates` are in the order of birth, so a parent comes before its children; its
        `parent_id` is null for one from scratch, and missing figures are null. `start` is null
        where there is none. Figures of a candidate have `DIGITS` digits after the point.
        `proposers`, and `proposer` of a candidate, are there only where proposers have names.
        """
        start = self.tree.top if self.tree.has_start else None
        costs, dropped = self.costs(), self.dropped()
        return {
            "search_record": RECORD_VERSION,
            "policy": self.policy,
            "stop_reason": None if self.stop_reason is None else self.stop_reason.value,
            "best_id": None if self.best is None else self.best.node_id,
            "rounds": self.rounds,
            "rollouts_done": self.rollouts_done,
            "asked": {kind.value: count for kind, count in self.asked.items()},
            "failed": {kind.value: count for kind, count in self.failed.items()},
            "planned_cap": self.planned_cap,
            "confidence": None if self.confidence is None else asdict(self.confidence),
            "judges": self.judge_report.record(),
            "final_judgement": _verdict_record(self.final_judgement),
            "guidelines": [asdict(each) for each in self.guidelines],
            "wound_down": None,
            "start": None
            if start is None
            else {
                "reply": start.draft.reply,
                "calls": _rounded(costs[start.node_id]),
                "visits": start.visits,
            },
            "candidates": [
                self._candidate_record(node, costs[node.node_id], node.node_id in dropped)
                for node in self.tree.candidates
            ],
            **({"proposers": [asdict(each) for each in self.proposers]} if self.proposers else {}),
        }

    def _candidate_record(self, node: Candidate, cost: float, is_dropped: bool) -> dict[str, Any]:
        belief = self.belief_of(node)
        has_mean = node.visits > 0 and not self.tree.has_start
        is_first = self.tree.has_start and node.depth == 1
        return {
            "id": node.node_id,
            "parent_id": None if is_first else node.parent_id,
            "depth": node.depth,
            "strategy_tag": node.draft.strategy_tag,
            "reply": node.draft.reply,
            "is_step": node.draft.is_step,
            "is_dropped": is_dropped,
            "judge_passes": node.judge_passes,
            "scores": node.score_count,
            "mean_score": _rounded(node.mean_score),
            "rule_score": _rounded(node.rule_score),
            "assistantness": _rounded(node.assistantness),
            "visits": node.visits,
            "mean_value": _rounded(node.mean_value) if has_mean else None,
            "posterior_mean": _rounded(node.own_value if belief is None else belief.mean),
            "posterior_sd": _rounded(None if belief is None else belief.sd),
            "best_value": _rounded(node.best_value),
            "calls": _rounded(cost),
            "checks": dict(node.checks),
            "judged": _verdict_record(node.verdict),
            **({"proposer": node.draft.proposer} if node.draft.proposer else {}),
        }


def in_scale(score: float, score_range: tuple[float, float]) -> float:
    """Return a score in [0, 1] in a task's own scale, given by its worst and best score.

    Where a judge's drift was removed a score may lie outside [0, 1]; the scale's end is returned.
    """
    low, high = score_range
    return low + min(max(score, 0.0), 1.0) * (high - low)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _verdict_record(verdict: Verdict | None) -> dict[str, Any] | None:
    """Return the scores that a judge gave by name, and its words."""
    if verdict is None:
        return None
    given = {"score": verdict.score, **verdict.attributes}
    figures = {name: _rounded(value) for name, value in given.items() if value is not None}
    return {**figures, "reason": verdict.reason}


class StateError(ValueError):
    """A saved state that cannot be read: of another version, another policy, or broken."""
