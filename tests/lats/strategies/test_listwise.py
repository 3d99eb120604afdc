"""The policy `listwise`."""

import pytest

from lats.actions import ActionKind, Side, side_of
from lats.result import StopReason
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs


@pytest.fixture
def run(play, actions_model):
    """Drive a listwise search and return its result and its rounds."""

    def _run(cap, *, policy="listwise", model=None, **knobs):
        search = PosteriorSearch(SearchKnobs(policy=policy, max_calls=cap, **knobs))
        search, rounds = play(search, actions_model(**(model or {})))
        return search.result(), rounds

    return _run


@pytest.mark.parametrize("cap", range(2, 12))
def test_a_smaller_search_asks_the_first_calls_of_a_larger_one(run, cap):
    """So a recording at one cap replays at every smaller one."""
    small, large = ([each.action_id for r in run(c)[1] for each in r] for c in (cap, 16))
    assert large[:cap] == small


@pytest.mark.parametrize("refine", [None, True])
@pytest.mark.parametrize("cap", range(1, 11))
def test_a_planned_search_spends_its_cap(run, cap, refine):
    """To the last call, where everything works."""
    result, _ = run(cap, refine=refine)
    assert result.calls == cap
    assert result.stop_reason is StopReason.CAP


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cap", range(2, 17))
def test_without_refinement_it_takes_two_rounds(run, cap, seed):
    """All generations together, then all passes together."""
    result, rounds = run(cap, model={"seed": seed})
    assert result.rounds == 2
    assert {each.label for each in rounds[0]} == {ActionKind.GENERATE}
    assert {each.label for each in rounds[1]} == {ActionKind.JUDGE_LIST}


def test_a_cap_of_six_takes_four_rounds_with_refinement(run):
    """Generate, judge, refine, judge."""
    result, rounds = run(6, refine=True)
    kinds = [{each.label for each in together} for together in rounds]
    assert kinds == [
        {ActionKind.GENERATE},
        {ActionKind.JUDGE_LIST},
        {ActionKind.REFINE},
        {ActionKind.JUDGE_LIST},
    ]
    assert result.calls == 6


@pytest.mark.parametrize("cap", range(3, 11))
def test_many_candidates_are_not_left_to_one_pass_alone(run, cap):
    """Those from scratch are read at least twice, with refinement or without."""
    for refine in (None, True):
        result, _ = run(cap, refine=refine)
        scratch = result.tree.children(result.tree.top)
        assert all(node.judge_passes >= 2 for node in scratch)


@pytest.mark.parametrize("cap", range(6, 11))
def test_refinements_are_read_next_to_the_leaders(run, cap):
    """They anchor the call."""
    _, rounds = run(cap, refine=True)
    place = next(i for i, r in enumerate(rounds) if r[0].label is ActionKind.REFINE)
    leaders = set(rounds[place][0].node_ids)
    assert leaders & set(rounds[place + 1][0].node_ids)


@pytest.mark.parametrize("cap", [4, 6, 10])
def test_stopping_by_gain_asks_less_the_more_gain_it_wants(run, cap):
    """0 spends the cap."""
    calls = [run(cap, min_gain=gain)[0].calls for gain in (0.0, 0.02, 5.0)]
    assert calls == sorted(calls, reverse=True)
    assert calls[0] == cap
    result, _ = run(cap, min_gain=5.0)
    assert result.stop_reason is StopReason.MIN_GAIN
    assert result.calls == 3


@pytest.mark.parametrize("scale", [0.05, 0.3, 1.0])
def test_how_wide_a_scale_a_judge_uses_changes_nothing(run, scale):
    """A gain counts in the spread of the judge's scores, once they outweigh what was assumed."""
    calls = [run(16, min_gain=0.1, model={"scale": each})[0].calls for each in (scale, 1.0)]
    assert abs(calls[0] - calls[1]) <= 1


@pytest.mark.parametrize("cap", [11, 16, 32])
def test_a_large_cap_is_kept_and_ends_with_a_reason(run, cap):
    """A root that is halved, a tree below."""
    result, _ = run(cap, refine=True)
    assert result.calls <= cap
    assert result.asked[ActionKind.JUDGE_LIST] >= 2
    assert result.stop_reason is not None


def test_a_proposer_with_nothing_new_is_not_asked_to_refine(run):
    """Remaining calls go to passes, and then the stop reason is exhausted."""
    result, _ = run(8, refine=True, model={"proposer": "repeats"})
    assert ActionKind.REFINE not in result.asked
    assert result.stop_reason in {StopReason.EXHAUSTED, StopReason.CAP}


def test_no_more_candidates_from_scratch_than_wanted(run):
    """With any number of calls."""
    for cap in (3, 5, 9):
        result, rounds = run(cap, max_candidates=5, refine=False)
        asked = sum(m.k for r in rounds for m in r if side_of(m.label) is Side.PROPOSER)
        assert asked <= 5
        assert len(result.tree) <= 5
