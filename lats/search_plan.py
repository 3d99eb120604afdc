"""Plan of a search: its calls by round in each scenario, from its knobs alone.

The search is run over made-up candidates with made-up scores. Its policies decide from counts,
caps and gates, and from scores only which candidates to read or refine next; so this run asks
what any undisturbed run in the same scenario asks.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from lats.actions import Action, ActionKind, Generate, JudgeList, Refine
from lats.answers import ActionAnswer, Draft, Drafts, NoAnswer, Verdict, Verdicts
from lats.classic_uct import ClassicUct
from lats.policy import SearchPolicy
from lats.rule_score import ReplyContext
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.search_state import DEFAULT_CAP

__all__ = [
    "PlannedCalls",
    "PlannedRound",
    "Scenario",
    "SearchPlan",
    "plan_search",
]


class Scenario(StrEnum):
    """Assumed answers of the models. In all but `worst`, every call is answered."""

    DEFAULT = "default"
    """No reply passes the gates; strategies differ enough."""

    EARLY_EXIT = "early_exit"
    """Every judged reply passes the gates, the root first."""

    EARLY_EXIT_AFTER_FIRST_ROLLOUT = "early_exit_after_first_rollout"
    """Every judged reply but the root passes the gates."""

    WORST = "worst"
    """Judges fail, and strategies are too alike. No run costs more."""


@dataclass(frozen=True, slots=True)
class PlannedCalls:
    """Calls of one kind that travel in one round, at least 1.

    Speculative ones are asked before it is known that they are needed.
    """

    kind: ActionKind
    count_calls: int
    is_speculative: bool = False


PlannedRound = tuple[PlannedCalls, ...]
"""Calls that travel together."""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """The rounds of one search, in order; each waits for the one before it."""

    rounds: tuple[PlannedRound, ...]

    @property
    def calls(self) -> int:
        """Calls of all rounds."""
        return self.calls_by_kind().total()

    def calls_by_kind(self) -> Counter[ActionKind]:
        """Return how many calls of each kind there are; absent kinds are not asked."""
        counts: Counter[ActionKind] = Counter()
        for together in self.rounds:
            for part in together:
                counts[part.kind] += part.count_calls
        return counts


NEVER = 1e-300
"""A `min_gain` that every call promises: the rounds are those of `min_gain`, up to the cap."""

ATTRIBUTES = (
    "plan_alignment",
    "persona",
    "relationship_fit",
    "mode_fit",
    "assistantness",
    "immersion",
)
"""Sub-scores that a judge of replies gives."""

PASSING = {"plan_alignment": 1.0, "assistantness": 0.0, "mode_fit": 1.0}
"""Sub-scores that pass every gate."""


def plan_search(knobs: SearchKnobs, scenario: Scenario = Scenario.DEFAULT) -> SearchPlan:
    """Return the exact calls of a search in a scenario.

    In `worst` the calls and the rounds are upper limits over all answers and failures. Under
    `max_calls` a failure can shift calls from one kind to another, so there only the totals are
    limits. With `min_gain`, which `auto` has anyway, the rounds are those of a search that it
    never stops, and how many of them propose and how many judge may differ.

    Args:
        knobs: all settings, a stage preset already applied.
        scenario: of the models' answers.
    """
    is_worst = scenario is Scenario.WORST
    if knobs.policy != "classic_uct":
        if is_worst:
            return _worst(knobs)
        is_by_gain = knobs.min_gain or (knobs.policy == "auto" and knobs.min_gain is None)
        free = knobs.model_copy(update={"min_gain": NEVER}) if is_by_gain else knobs
        return SearchPlan(_rounds(PosteriorSearch(free), scenario))
    # Every pair of strategies is alike in the worst case, none in the others.
    alike = {"max_calls": None} if is_worst else {"max_top_ups": 0}
    context = ReplyContext(user_text="")
    search = ClassicUct(knobs.model_copy(update=alike), context, scorer=lambda *_: 0.0)
    rounds = _rounds(search, scenario)
    return SearchPlan(_cut(rounds, knobs.max_calls) if is_worst else rounds)


def _worst(knobs: SearchKnobs) -> SearchPlan:
    """Return one call after another up to the cap: no posterior search costs more."""
    cap = DEFAULT_CAP if knobs.max_calls is None else knobs.max_calls
    kinds = [ActionKind.GENERATE] * min(cap, 1) + [ActionKind.JUDGE_LIST] * max(cap - 1, 0)
    return SearchPlan(tuple((PlannedCalls(kind, 1),) for kind in kinds))


def _cut(rounds: tuple[PlannedRound, ...], max_calls: int | None) -> tuple[PlannedRound, ...]:
    """Return rounds with at most that many calls, as many rounds of them as possible."""
    if max_calls is None:
        return rounds
    kept = rounds[:max_calls]
    spare = max_calls - len(kept)
    narrow: list[PlannedRound] = []
    for together in kept:
        left, parts = 1 + spare, []
        for part in together:
            count = min(part.count_calls, left)
            if count:
                parts.append(PlannedCalls(part.kind, count, part.is_speculative))
            left -= count
        spare = left
        narrow.append(tuple(parts))
    return tuple(narrow)


def _rounds(search: SearchPolicy, scenario: Scenario) -> tuple[PlannedRound, ...]:
    """Return the rounds of a search that is answered as a scenario has it."""
    rounds: list[PlannedRound] = []
    is_widened = False
    while actions := search.ask():
        counts = Counter(
            (each.label, isinstance(each, Refine) and each.is_speculative) for each in actions
        )
        rounds.append(
            tuple(PlannedCalls(kind, count, early) for (kind, early), count in counts.items())
        )
        exits = scenario is Scenario.EARLY_EXIT or (
            scenario is Scenario.EARLY_EXIT_AFTER_FIRST_ROLLOUT and is_widened
        )
        for action in actions:
            is_widened = is_widened or isinstance(action, Refine)
            search.tell(action.action_id, _answer(action, scenario, exits=exits))
    return tuple(rounds)


def _lot(text: str) -> float:
    """Return a figure in [0, 1) that follows from a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest()) / 2**48


def _answer(action: Action, scenario: Scenario, *, exits: bool) -> ActionAnswer:
    if isinstance(action, Generate | Refine):
        texts = (f"{action.action_id}/{place}" for place in range(action.k))
        return Drafts(drafts=tuple(Draft(reply=text) for text in texts))
    if scenario is Scenario.WORST:
        return NoAnswer()
    return Verdicts(
        {node_id: _verdict(action, node_id, exits=exits) for node_id in action.node_ids}
    )


def _verdict(action: JudgeList, node_id: str, *, exits: bool) -> Verdict:
    if exits:
        return Verdict(score=1.0, attributes=PASSING)
    # Half of what decides a score is the candidate's own, half is the call's: a judge neither
    # so sure nor so unsure that a policy would change its plan.
    score = 0.3 + 0.2 * _lot(node_id) + 0.2 * _lot(f"{action.pass_index}/{node_id}")
    # Without sub-scores the gates of a classic search stay closed, whatever their knobs.
    is_classic = action.label is ActionKind.JUDGE
    return Verdict(score=score, attributes={} if is_classic else dict.fromkeys(ATTRIBUTES, 0.5))
