"""Plan of a search: which calls it asks, in which rounds, in which scenario, from its knobs alone.

A posterior search is run against models that never fail. Its policies decide from counts and
caps, and from beliefs only which candidates to read or refine next; so a run over made-up
candidates with made-up scores asks what any undisturbed run asks. The classic plan is written
apart from its search: a test drives one against the other over every combination of knobs.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from lats.actions import Action, ActionKind, Generate, JudgeList, Refine, Side, side_of
from lats.answers import Draft, Drafts, Verdict, Verdicts
from lats.classic_uct import CHECKS_PER_ROUND
from lats.search import PosteriorSearch
from lats.search_knobs import ClassicKnobs, SearchKnobs
from lats.search_state import DEFAULT_CAP

__all__ = [
    "PlannedCalls",
    "PlannedRound",
    "Scenario",
    "SearchPlan",
    "plan_search",
]


class Scenario(StrEnum):
    """What the models are assumed to do. In all but `worst`, whatever is asked is answered."""

    DEFAULT = "default"
    """No reply passes the gates; strategies differ enough."""

    EARLY_EXIT = "early_exit"
    """Every judged reply passes the gates, the root first."""

    EARLY_EXIT_AFTER_FIRST_ROLLOUT = "early_exit_after_first_rollout"
    """Every judged reply but the root passes the gates."""

    WORST = "worst"
    """No reply passes, and strategies are too alike. Nothing that happens costs more."""


@dataclass(frozen=True, slots=True)
class PlannedCalls:
    """Calls of one kind that travel in one round.

    Args:
        kind: what they ask for.
        count_calls: how many; at least 1.
        is_speculative: whether they are asked before it is known that they are needed.
    """

    kind: ActionKind
    count_calls: int
    is_speculative: bool = False

    @property
    def side(self) -> Side:
        """Who answers them."""
        return side_of(self.kind)


PlannedRound = tuple[PlannedCalls, ...]
"""Calls that travel together."""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """The rounds of one search, in order; each waits for the one before it."""

    rounds: tuple[PlannedRound, ...]

    @property
    def calls(self) -> int:
        """Calls of all rounds."""
        return sum(self.calls_by_kind().values())

    def calls_by_kind(self) -> dict[ActionKind, int]:
        """Return how many calls of each kind there are; absent kinds are not asked."""
        counts: dict[ActionKind, int] = {}
        for part in self._parts():
            counts[part.kind] = counts.get(part.kind, 0) + part.count_calls
        return counts

    def calls_by_side(self) -> dict[Side, int]:
        """Return how many calls the proposer and the judge each answer."""
        counts = dict.fromkeys(Side, 0)
        for part in self._parts():
            counts[part.side] += part.count_calls
        return counts

    def speculative_calls(self) -> int:
        """Return how many calls are asked before it is known that they are needed."""
        return sum(part.count_calls for part in self._parts() if part.is_speculative)

    def _parts(self) -> list[PlannedCalls]:
        return [part for together in self.rounds for part in together]


def _plan_classic(knobs: ClassicKnobs, scenario: Scenario) -> SearchPlan:
    """Return the exact calls of a classic search in a scenario; see `plan_search`."""
    if scenario is Scenario.WORST:
        free = knobs.model_copy(update={"max_calls": None})
        rounds = _ClassicWalk(free, scenario).rounds()
        return SearchPlan(rounds if knobs.max_calls is None else _cut(rounds, knobs.max_calls))
    return SearchPlan(_ClassicWalk(knobs, scenario).rounds())


def _cut(rounds: tuple[PlannedRound, ...], max_calls: int) -> tuple[PlannedRound, ...]:
    """Return rounds with at most that many calls, as many rounds of them as possible."""
    kept = list(rounds[:max_calls])
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


class _ClassicWalk:
    """One pass through a search that has only its knobs to go by."""

    def __init__(self, knobs: ClassicKnobs, scenario: Scenario) -> None:
        self._knobs = knobs
        self._scenario = scenario
        self._planned: list[PlannedRound] = []
        self._asked_calls = 0

    def rounds(self) -> tuple[PlannedRound, ...]:
        """Return the rounds."""
        knobs = self._knobs
        if self._fits(1):
            self._ask(PlannedCalls(ActionKind.PLAN_ROOT, 1))
            if self._fits(1):
                self._judge_root_and_roll_out(knobs)
        return tuple(self._planned)

    def _judge_root_and_roll_out(self, knobs: ClassicKnobs) -> None:
        is_prefetched = (
            knobs.prefetch and knobs.rollouts > 0 and self._fits(1 + self._rollout_calls)
        )
        if is_prefetched:
            expansion = PlannedCalls(ActionKind.EXPAND, 1, is_speculative=True)
            self._ask(PlannedCalls(ActionKind.JUDGE, 1), expansion)
        else:
            self._ask(PlannedCalls(ActionKind.JUDGE, 1))
        if self._exits(0):
            return
        done = 0
        while done < knobs.rollouts:
            if not (is_prefetched and done == 0):
                if not self._fits(self._rollout_calls):
                    break
                self._ask(PlannedCalls(ActionKind.EXPAND, 1))
            self._fill_rollout(done)
            done += 1
            if self._exits(done):
                break
        if done:
            self._close(done)

    @property
    def _rollout_calls(self) -> int:
        """Calls that must fit before a rollout starts: its own, and the last one."""
        return 1 + self._knobs.picks_per_rollout + self._knobs.final_calls

    def _fill_rollout(self, done: int) -> None:
        knobs = self._knobs
        is_alike = self._scenario is Scenario.WORST and knobs.expand_k > 1
        if is_alike and done < knobs.max_top_ups and self._fits(self._rollout_calls):
            self._ask(PlannedCalls(ActionKind.TOP_UP, 1))
        self._ask_in_turns(ActionKind.JUDGE, knobs.picks_per_rollout, knobs.soft_max_concurrency)

    def _exits(self, rollouts_done: int) -> bool:
        gates = self._knobs.early_exit
        if not gates.enabled or rollouts_done < gates.min_rollouts:
            return False
        if self._scenario is Scenario.EARLY_EXIT:
            return True
        # Without judges in rollouts the root's judgement is the only one there is.
        return (
            self._scenario is Scenario.EARLY_EXIT_AFTER_FIRST_ROLLOUT
            and rollouts_done > 0
            and self._knobs.soft_top_n > 0
        )

    def _close(self, rollouts_done: int) -> None:
        knobs = self._knobs
        ranked = 1 + rollouts_done * (knobs.picks_per_rollout or knobs.expand_k)
        if self._scenario is Scenario.WORST:
            # With every judge failing, all replies are ranked, topped-up ones included.
            ranked = 1 + (rollouts_done + knobs.max_top_ups) * knobs.expand_k
        checks = min(knobs.assistant_check_top_n, ranked)
        while checks and not self._fits(checks + knobs.final_calls):
            checks -= 1
        self._ask_in_turns(ActionKind.CHECK_ASSISTANT, checks, CHECKS_PER_ROUND)
        if knobs.rejudge_final and self._fits(1):
            self._ask(PlannedCalls(ActionKind.FINAL_JUDGE, 1))

    def _fits(self, calls: int) -> bool:
        cap = self._knobs.max_calls
        return cap is None or self._asked_calls + calls <= cap

    def _ask(self, *parts: PlannedCalls) -> None:
        self._planned.append(parts)
        self._asked_calls += sum(part.count_calls for part in parts)

    def _ask_in_turns(self, kind: ActionKind, calls: int, max_concurrency: int) -> None:
        while calls > 0:
            together = min(calls, max_concurrency)
            self._ask(PlannedCalls(kind, together))
            calls -= together


NEVER = 1e-300
"""A gain that every call promises: the search stops at its cap, on the way that `min_gain`
takes."""

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


def _plan_posterior(knobs: SearchKnobs, scenario: Scenario) -> SearchPlan:
    """Return the calls of a posterior search in a scenario; see `plan_search`.

    Exact while nothing stops the search early. With `min_gain` the rounds are those of a
    search that it never stops, and how many of them propose and how many judge may differ.
    """
    if scenario is Scenario.WORST:
        return _worst(knobs)
    free = knobs.model_copy(update={"min_gain": NEVER}) if knobs.min_gain else knobs
    search = PosteriorSearch(free)
    rounds: list[PlannedRound] = []
    refined = False
    while actions := search.ask():
        rounds.append(_planned(actions))
        refined = refined or any(action.label is ActionKind.REFINE for action in actions)
        exits = _passes(scenario, refined=refined)
        for action in actions:
            search.tell(action.action_id, _answer(action, exits=exits))
    return SearchPlan(tuple(rounds))


def _worst(knobs: SearchKnobs) -> SearchPlan:
    """Return one call after another up to the cap: nothing that happens costs more."""
    cap = DEFAULT_CAP if knobs.max_calls is None else knobs.max_calls
    kinds = [ActionKind.GENERATE] * min(cap, 1) + [ActionKind.JUDGE_LIST] * max(cap - 1, 0)
    return SearchPlan(tuple((PlannedCalls(kind, 1),) for kind in kinds))


def _planned(actions: list[Action]) -> PlannedRound:
    counts = Counter(action.label for action in actions)
    return tuple(PlannedCalls(kind, count) for kind, count in counts.items())


def _passes(scenario: Scenario, *, refined: bool) -> bool:
    """Return whether judgements pass the gates now."""
    if scenario is Scenario.EARLY_EXIT_AFTER_FIRST_ROLLOUT:
        return refined
    return scenario is Scenario.EARLY_EXIT


def _lot(text: str) -> float:
    """Return a figure in [0, 1) that follows from a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest()) / 2**48


def _answer(action: Action, *, exits: bool) -> Drafts | Verdicts:
    if isinstance(action, Generate | Refine):
        texts = (f"{action.action_id}/{place}" for place in range(action.k))
        return Drafts(drafts=tuple(Draft(reply=text) for text in texts))
    return Verdicts(
        {node_id: _verdict(action, node_id, exits=exits) for node_id in action.node_ids}
    )


def _verdict(action: JudgeList, node_id: str, *, exits: bool) -> Verdict:
    if exits:
        return Verdict(score=1.0, attributes=PASSING)
    # Half of what decides a score is the candidate's own, half is the call's: a judge neither
    # so sure nor so unsure that a policy would change its plan.
    score = 0.3 + 0.2 * _lot(node_id) + 0.2 * _lot(f"{action.pass_index}/{node_id}")
    return Verdict(score=score, attributes=dict.fromkeys(ATTRIBUTES, 0.5))


def plan_search(knobs: SearchKnobs, scenario: Scenario = Scenario.DEFAULT) -> SearchPlan:
    """Return the exact calls of a search in a scenario.

    In `worst` the calls and the rounds are upper bounds over everything that models and
    failures can do. Under `max_calls` a failure can action calls from one kind to another,
    so there only the totals bound.

    Args:
        knobs: all settings, a stage preset already applied.
        scenario: what the models are assumed to do.
    """
    if knobs.policy == "classic_uct":
        return _plan_classic(knobs, scenario)
    return _plan_posterior(knobs, scenario)
