"""The policy `halving`."""

import pytest

from lats.actions import JudgeList, Refine
from lats.result import StopReason
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs


@pytest.fixture
def run(play, actions_model):
    """Drive a search by halving and return it with its rounds."""

    def _run(cap, *, model=None, **knobs):
        search = PosteriorSearch(SearchKnobs(policy="halving", max_calls=cap, **knobs))
        return play(search, actions_model(**(model or {})))

    return _run


@pytest.mark.parametrize("cap", [12, 16, 24, 32])
def test_stages_read_ever_fewer_of_the_root(run, cap):
    """Each of them those who are left, and the survivors are the leaders."""
    _, rounds = run(cap, model={"judge": "perfect"})
    stages = []
    for together in rounds:
        if isinstance(together[0], Refine):
            break
        stages += [len(m.node_ids) for m in together if isinstance(m, JudgeList)][-1:]
    assert stages == sorted(stages, reverse=True)
    assert stages[-1] < stages[0]


@pytest.mark.parametrize("cap", [16, 32])
@pytest.mark.parametrize("seed", range(5))
def test_only_survivors_are_gone_on_from(run, cap, seed):
    """The tree grows below them alone."""
    search, rounds = run(cap, model={"judge": "perfect", "seed": seed})
    state = search.state_dict()
    survivors = set(state["progress"]["survivors"])
    grown = {n.node_id for n in search.tree.children(search.tree.top) if n.children_ids}
    assert survivors
    assert grown <= survivors
    assert any(isinstance(each, Refine) for r in rounds for each in r)


@pytest.mark.parametrize("cap", range(33))
def test_any_cap_is_kept(run, cap):
    """Small ones too, for which it is not meant."""
    result = run(cap)[0].result()
    assert result.calls <= cap
    assert (result.best is None) is (cap == 0)


def test_without_refinement_it_stops_when_the_root_is_decided(run):
    """The stop reason is that the plan is done, not the cap."""
    result = run(32, refine=False)[0].result()
    assert result.calls < 32
    assert result.stop_reason is StopReason.PLAN_DONE
