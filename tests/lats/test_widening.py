"""Widening: which state of a tree of steps is asked for more next states, and when none is."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.answers import Draft, Drafts
from lats.search_knobs import SearchKnobs
from lats.search_state import SearchState
from lats.widening import (
    WIDENING_SDS,
    best_request,
    close,
    note_judged,
    note_request,
    request_worth,
)

STEP = Draft(reply="step", is_step=True)


def _state(**knobs):
    state = SearchState(SearchKnobs(policy="posterior_uct", **knobs), Draft(reply=""))
    state.progress.has_steps = True
    return state


def _grow(state, parent, *values):
    """Return new judged children of a state, worth these values."""
    born = []
    for value in values:
        text = f"step {len(state.tree.nodes)}"
        node = state.tree.add(parent, Draft(reply=text, is_step=True))
        node.judge_passes = node.score_count = 1
        node.own_value = node.best_value = node.score_sum = value
        for step in state.tree.path_to_top(node.node_id):
            step.visits += 1
        born.append(node)
    note_judged(state, born)
    return born


def _best(state, *, taken=(), barred=(), weight=0.0):
    return best_request(state, weight=weight, taken=set(taken), barred=set(barred))


def _offered(count):
    return Drafts(tuple([STEP] * count))


def test_each_request_from_a_state_makes_the_next_less_urgent():
    """So a good state is asked again before one that is plainly worse, and not for ever."""
    state = _state()
    good, bad = _grow(state, state.tree.top, 0.8, 0.3)
    state.progress.generations = 30
    assert _best(state) is good
    good.expansions = 1
    _grow(state, good, 0.2, 0.25)
    note_judged(state, [good])
    assert _best(state) is good
    good.expansions = 30
    note_judged(state, [good])
    assert _best(state) is bad


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_the_loss_a_request_is_in_units_of_the_scores_own_spread(scale):
    """A judge that uses a tenth of the scale gets the same order of requests."""
    state = _state()
    values = [0.9, 0.7, 0.5, 0.3]
    for _ in range(50):
        state.noise.note_call([value * scale for value in values])
    first, *_ = _grow(state, state.tree.top, *[value * scale for value in values])
    state.progress.generations = 99
    first.expansions = 2
    worths = [request_worth(state, node) / scale for node in state.tree.candidates]
    loss = 2 * WIDENING_SDS * math.sqrt(state.noise.reliability * 0.2 / 3)
    assert worths == pytest.approx([0.9 - loss, 0.7, 0.5, 0.3], abs=0.01)


def test_states_that_an_exact_judge_found_impossible_are_asked_after_all_others():
    """Also after the start, however often that was asked, and after poor requests."""
    state = _state(stop_score=1)
    dead, alive = _grow(state, state.tree.top, 0.0, 0.1)
    state.progress.generations = 1000
    assert _best(state) is alive
    close(state, alive)
    note_judged(state, [alive])
    assert _best(state) is state.tree.top
    note_request(state, state.tree.top, None, k=4, born=0)
    assert _best(state) is state.tree.top
    note_request(state, state.tree.top, None, k=4, born=0)
    assert _best(state) is dead


def test_where_a_judge_scores_everything_0_states_are_gone_on_from_all_the_same():
    """A judge that is not exact may be wrong, so others are widened first, but not for ever."""
    state = _state()
    children = _grow(state, state.tree.top, 0.0, 0.0, 0.0)
    state.noise.mean_count = 3  # their sum is 0
    state.progress.generations = 4
    assert _best(state) is state.tree.top
    state.progress.generations = 40
    assert _best(state) in children


def test_states_without_a_usable_score_are_asked_after_those_that_have_one():
    """Before any judge was asked, they are worth what their parent lets expect."""
    state = _state()
    state.progress.generations = 99
    (low,) = _grow(state, state.tree.top, 0.1)
    unread = state.tree.add(state.tree.top, Draft(reply="unread", is_step=True), prior_mean=0.5)
    note_judged(state, [unread])
    assert _best(state) is unread
    unread.judge_passes = 1
    note_judged(state, [unread])
    assert _best(state) is low


@pytest.mark.parametrize(
    ("requests", "is_complete"),
    [
        ([(_offered(4), 4)], False),
        ([(_offered(4), 0)], False),
        ([(_offered(0), 0)], True),
        ([(_offered(4), 4), (_offered(0), 0)], True),
        ([(_offered(4), 0), (_offered(4), 0)], True),
        ([(_offered(4), 0), (_offered(4), 1), (_offered(4), 0)], False),
        ([(_offered(2), 2), (_offered(2), 0)], True),
        ([(_offered(2), 2), (_offered(2), 2)], False),
        ([(None, 0)], False),
        ([(None, 0), (None, 0)], True),
        ([(None, 0), (_offered(4), 3), (None, 0)], False),
    ],
)
def test_a_state_is_complete_when_its_proposer_has_nothing_new(requests, is_complete):
    """No state at all says so at once; else two poor requests in a row do."""
    state = _state()
    (node,) = _grow(state, state.tree.top, 0.5)
    for answer, born in requests:
        _grow(state, node, *[0.4] * born)
        note_request(state, node, answer, k=4, born=born)
    assert (request_worth(state, node) is None) == is_complete


def test_a_start_is_closed_only_when_nothing_in_its_tree_can_be_widened():
    """Closed children close a state once it is complete, and it closes those above it."""
    state = _state()
    one, other = _grow(state, state.tree.top, 0.5, 0.6)
    note_request(state, other, _offered(0), k=4, born=0)
    note_request(state, one, _offered(0), k=4, born=0)
    assert (one.is_closed, other.is_closed, state.tree.top.is_closed) == (True, True, False)
    assert _best(state) is state.tree.top
    note_request(state, state.tree.top, _offered(0), k=4, born=0)
    assert state.tree.top.is_closed
    assert _best(state) is None


def test_requests_under_way_make_a_state_less_attractive():
    """The bonus counts them; without a weight only values count."""
    state = _state()
    one, other = _grow(state, state.tree.top, 0.50, 0.49)
    state.progress.generations = 99
    assert _best(state, weight=0.1) is one
    one.pending_visits = 4
    assert _best(state, weight=0.1) is other
    assert _best(state) is one


@st.composite
def _grown(draw):
    """Return a state with a random tree, and two sets of ids in it."""
    state = _state(stop_score=draw(st.sampled_from([None, 1.0])))
    state.progress.generations = draw(st.integers(1, 5))
    scores = st.sampled_from([0.0, 0.2, 0.4, 0.5, 0.9, 1.0])
    for _ in range(draw(st.integers(1, 6))):
        nodes = [node for node in state.tree.nodes.values() if not node.is_closed]
        nodes = [node for node in nodes if request_worth(state, node) is not None]
        if not nodes:
            break
        parent = draw(st.sampled_from(nodes))
        values = draw(st.lists(scores, min_size=0, max_size=3))
        if parent.parent_id is not None:
            parent.expansions += 1
        answer = draw(st.sampled_from([None, _offered(len(values)), _offered(3)]))
        note_request(state, parent, answer, k=3, born=len(values))
        _grow(state, parent, *values)
    ids = st.sets(st.sampled_from(list(state.tree.nodes)))
    return state, draw(ids), draw(ids) - {state.tree.top.node_id}


@given(_grown())
def test_the_best_request_is_the_best_of_all_that_are_open(grown):
    """Whatever is taken or barred; None only where nothing is open."""
    state, taken, barred = grown
    worths = {}
    for node in state.tree.nodes.values():
        path = {step.node_id for step in state.tree.path_to_top(node.node_id)}
        worth = request_worth(state, node)
        if (
            worth is not None
            and not node.is_closed
            and not (path & barred or {node.node_id} & taken)
        ):
            worths[node.node_id] = worth
    if not (taken or barred):
        assert (not worths) == state.tree.top.is_closed
    found = _best(state, taken=taken, barred=barred)
    if found is None:
        assert not worths
    elif taken or barred:
        assert found.node_id in worths
    else:
        assert math.isclose(worths[found.node_id], max(worths.values()))
