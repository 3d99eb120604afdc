"""The front: who is on it, how surely, and its knee."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.tuning.panel import Panel
from callwise.tuning.statistics.front import is_on_front, knee_of, pareto_front


def panel(values, turns=2):
    """Return a panel of conversations of as many turns each."""
    values = np.asarray(values, dtype=float)
    count = values.shape[1] // turns
    return Panel(
        settings=tuple("abcdefgh"[: len(values)]),
        conversations=tuple(f"c{at}" for at in range(count)),
        conversation_of=np.repeat(np.arange(count), turns),
        values=values,
        spread=np.zeros(values.shape),
    )


def flat(means, turns=20):
    """Return figures that are the same on every turn."""
    return np.repeat(np.asarray(means, dtype=float)[:, None], turns, axis=1)


def noisy(means, seed=0):
    """Return figures around means; turns are as hard for all."""
    rng = np.random.default_rng(seed)
    return flat(means) + rng.normal(0, 0.5, (len(means), 20)) + rng.normal(0, 3, 20)


def test_the_front_by_hand():
    """Of five settings two are dominated, one of them by a setting of equal cost."""
    found = pareto_front(panel(flat([2, 5, 8, 8, 16])), panel(flat([1, 3, 2.5, 4, 5])))
    assert found.front == ("a", "b", "d", "e")
    assert [found.points[name].is_on_front for name in "abcde"] == [True, True, False, True, True]
    assert [found.points[name].front_share for name in "abcde"] == [1, 1, 0, 1, 1]
    assert found.knee == "d"


def test_equal_settings_share_their_place():
    """Twins are both on the front, or both off it."""
    found = is_on_front(np.array([1.0, 1, 2, 2, 3]), np.array([5.0, 5, 4, 4, 6]))
    assert found.tolist() == [True, True, False, False, True]


def test_what_is_not_known_is_not_on_the_front():
    """Nor does it push anyone off."""
    found = is_on_front(np.array([np.nan, 2.0, 3.0]), np.array([9.0, np.nan, 1.0]))
    assert found.tolist() == [False, False, True]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_the_front_agrees_with_its_definition(points):
    """For any points, as a double loop finds it."""
    wanted = [
        not any(c <= cost and q >= quality and (c, q) != (cost, quality) for c, q in points)
        for cost, quality in points
    ]
    costs, qualities = np.array(points, dtype=float).T
    assert is_on_front(costs, qualities).tolist() == wanted


def test_a_close_call_is_on_the_front_in_some_draws():
    """What is dominated by a hair is not sure to be, and what is far off is."""
    found = pareto_front(panel(flat([2, 3, 9])), panel(noisy([1.0, 1.0, -4.0])))
    shares = [found.points[name].front_share for name in "abc"]
    assert shares[0] == 1.0
    assert 0.0 < shares[1] < 1.0
    assert shares[2] == 0.0


def test_cost_and_quality_share_their_draws():
    """A quality that is the cost itself leaves every setting on the front, in every draw."""
    values = noisy([1.0, 2.0, 3.0])
    found = pareto_front(panel(values), panel(values))
    assert all(point.front_share == 1.0 for point in found.points.values())


def test_the_same_seed_gives_the_same_front():
    """Nothing but the seed decides."""
    cost, quality = panel(flat([2, 3, 9])), panel(noisy([1.0, 1.0, -4.0]))
    assert pareto_front(cost, quality, seed=1) == pareto_front(cost, quality, seed=1)


def test_a_setting_without_quality_is_left_out_and_named():
    """The others have their front."""
    quality = flat([1, 2, 3])
    quality[1] = np.nan
    found = pareto_front(panel(flat([1, 2, 3])), panel(quality))
    assert found.left_out == ("b",)
    assert found.front == ("a", "c")


@pytest.mark.parametrize(
    ("cost", "quality", "word"),
    [
        (flat([1, 2]), flat([np.nan, np.nan]), "let a referee judge"),
        (flat([np.nan, np.nan]), flat([1, 2]), "price the models"),
        (flat([np.nan, 1]), flat([1, np.nan]), "price the models"),
        (np.zeros((0, 20)), np.zeros((0, 20)), "at least one setting"),
    ],
)
def test_an_empty_front_names_the_remedy(cost, quality, word):
    """It is a result, not a crash."""
    found = pareto_front(panel(cost), panel(quality))
    assert (found.front, found.points, found.knee) == ((), {}, None)
    assert word in found.why_empty


def test_too_few_conversations_leave_a_front_without_intervals():
    """Who is on it is what was seen; how sure, the points say."""
    found = pareto_front(panel(flat([1, 2], turns=2)), panel(flat([1, 2], turns=2)))
    assert found.front == ("a", "b")
    assert "1 conversation has" in found.points["a"].quality.why_none


def test_the_knee_by_hand():
    """The point farthest above the chord of the ends; of two the cheaper, of one that one."""
    assert knee_of([2, 5, 8, 16], [0.0, 6.0, 9.0, 10.0]) == 2
    assert knee_of([2, 16], [0.0, 10.0]) == 0
    assert knee_of([7], [1.0]) == 0
    assert knee_of([], []) is None
    assert knee_of([0, 9, 10], [0.0, 1.0, 10.0]) == 0


def test_panels_of_other_turns_are_refused():
    """Cost and quality must be of the same rows."""
    with pytest.raises(ValueError, match="same settings"):
        pareto_front(panel(flat([1])), panel(flat([1, 2])))
    with pytest.raises(ValueError, match="same turns"):
        pareto_front(panel(flat([1], turns=20)), panel(flat([1], turns=10)))
