"""What a posterior search will ask: found by running it against models that never fail.

The policies decide from counts and caps, and from beliefs only whom to read or refine
next; so a run over made-up candidates with made-up scores asks what any undisturbed run
asks. A property test holds runs over random models against it.
"""

import hashlib
from collections import Counter

from lats.draft import Draft
from lats.judgement import Judgement
from lats.knobs import SearchKnobs
from lats.moves import Generate, JudgeList, Move, Refine
from lats.proposal import Drafts, Kind
from lats.search import PosteriorSearch
from lats.search_plan import PlannedCalls, PlannedRound, Scenario, SearchPlan
from lats.search_state import DEFAULT_CAP
from lats.verdict import Verdict, Verdicts

__all__ = ["plan_posterior"]

NEVER = 1e-300
"""A gain that every call promises: the search stops at its cap, on the way that `min_gain`
takes."""

PASSING = {"plan_alignment": 1.0, "assistantness": 0.0, "mode_fit": 1.0}
"""Sub-scores that pass every gate."""


def plan_posterior(knobs: SearchKnobs, scenario: Scenario) -> SearchPlan:
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
    while moves := search.ask():
        rounds.append(_planned(moves))
        refined = refined or any(move.kind is Kind.REFINE for move in moves)
        exits = _passes(scenario, refined=refined)
        for move in moves:
            search.tell(move.proposal_id, _answer(move, exits=exits))
    return SearchPlan(tuple(rounds))


def _worst(knobs: SearchKnobs) -> SearchPlan:
    """Return one call after another up to the cap: nothing that happens costs more."""
    cap = DEFAULT_CAP if knobs.max_calls is None else knobs.max_calls
    kinds = [Kind.GENERATE] * min(cap, 1) + [Kind.JUDGE_LIST] * max(cap - 1, 0)
    return SearchPlan(tuple((PlannedCalls(kind, 1),) for kind in kinds))


def _planned(moves: list[Move]) -> PlannedRound:
    counts = Counter(move.kind for move in moves)
    return tuple(PlannedCalls(kind, count) for kind, count in counts.items())


def _passes(scenario: Scenario, *, refined: bool) -> bool:
    """Return whether judgements pass the gates now."""
    if scenario is Scenario.EARLY_EXIT_AFTER_FIRST_ROLLOUT:
        return refined
    return scenario is Scenario.EARLY_EXIT


def _lot(text: str) -> float:
    """Return a figure in [0, 1) that follows from a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest()) / 2**48


def _answer(move: Move, *, exits: bool) -> Drafts | Verdicts:
    if isinstance(move, Generate | Refine):
        texts = (f"{move.proposal_id}/{place}" for place in range(move.k))
        return Drafts(drafts=tuple(Draft(reply=text) for text in texts))
    return Verdicts({node_id: _verdict(move, node_id, exits=exits) for node_id in move.node_ids})


def _verdict(move: JudgeList, node_id: str, *, exits: bool) -> Verdict:
    if exits:
        return Verdict(score=1.0, attributes=PASSING)
    # Half of what decides a score is the candidate's own, half is the call's: a judge neither
    # so sure nor so unsure that a policy would change its plan.
    score = 0.3 + 0.2 * _lot(node_id) + 0.2 * _lot(f"{move.look}/{node_id}")
    return Verdict(score=score, attributes=dict.fromkeys(Judgement.model_fields, 0.5))
