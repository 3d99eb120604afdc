"""The policy `best_of_n`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.actions import ActionKind
from lats.result import StopReason
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.strategies.best_of_n import judge_calls_for, planned_generations

JUDGING = st.sampled_from(["listwise", "pointwise", "pairwise"])


@given(
    cap=st.integers(1, 40),
    judging=JUDGING,
    k=st.integers(1, 8),
    most=st.integers(1, 30),
    items=st.integers(2, 12),
)
def test_a_plan_fits_and_one_candidate_more_would_not(cap, judging, k, most, items):
    """Unless `max_candidates` is reached."""
    knobs = SearchKnobs(judging=judging, generate_k=k, max_candidates=most, max_items=items)
    counts = planned_generations(cap, knobs)
    total = sum(counts)
    assert 1 <= total <= most
    assert len(counts) + judge_calls_for(total, knobs) <= cap
    if counts[-1] == k and total < most:
        assert len(counts) + 1 + judge_calls_for(total + 1, knobs) > cap


@pytest.mark.parametrize(
    ("judging", "calls"), [("listwise", 2), ("pointwise", 13), ("pairwise", 12)]
)
def test_judging_costs_what_it_costs(judging, calls):
    """Thirteen candidates, twelve a call; one alone costs nothing."""
    knobs = SearchKnobs(judging=judging)
    assert judge_calls_for(13, knobs) == calls
    assert judge_calls_for(1, knobs) == 0


@pytest.mark.parametrize("judging", ["listwise", "pointwise", "pairwise"])
@pytest.mark.parametrize("cap", range(1, 14))
def test_a_search_asks_as_planned_and_judges_everyone_once(play, actions_model, judging, cap):
    """And answers with the best, which a perfect judge finds."""
    knobs = SearchKnobs(policy="best_of_n", judging=judging, max_calls=cap)
    model = actions_model(judge="perfect")
    search, rounds = play(PosteriorSearch(knobs), model)
    result = search.result()
    counts = planned_generations(cap, knobs)
    assert result.asked[ActionKind.GENERATE] == len(counts)
    assert result.asked.get(ActionKind.JUDGE_LIST, 0) == judge_calls_for(sum(counts), knobs)
    assert result.stop_reason in {StopReason.PLAN_DONE, StopReason.CAP}
    assert all(r[0].label is each for r, each in zip(rounds, [ActionKind.GENERATE], strict=False))
    every = [node.node_id for node in search.tree.candidates]
    if 1 < len(every) <= knobs.max_items:  # calls that read others differ by more than drift
        assert result.best.node_id == max(every, key=model.quality)
