"""Intervals of means and paired differences: exact cases, properties, coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.tuning.panel import Panel
from callwise.tuning.statistics.bootstrap import (
    MIN_CONVERSATIONS,
    mean_intervals,
    paired_difference,
)
from tests.callwise.tuning.statistics.coverage import coverage
from tests.callwise.tuning.statistics.known_truth import WORLDS


def panel(values, lengths, spread=None):
    """Return a panel whose conversations have these numbers of turns."""
    values = np.atleast_2d(np.asarray(values, dtype=float))
    return Panel(
        settings=tuple("abcdefgh"[: len(values)]),
        conversations=tuple(f"c{at}" for at in range(len(lengths))),
        conversation_of=np.repeat(np.arange(len(lengths)), lengths),
        values=values,
        spread=np.zeros(values.shape) if spread is None else np.asarray(spread, dtype=float),
    )


def noisy(seed=0, conversations=12, rows=3):
    """Return a skewed panel of unequal conversations."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, conversations)
    shape = (rows, int(lengths.sum()))
    return panel(rng.exponential(1, shape) + rng.normal(0, 1, shape[1]), lengths)


def test_the_mean_is_over_turns_and_not_over_conversations():
    """A long conversation counts by its turns."""
    found = mean_intervals(panel([[1.0, 2.0, 2.0, 2.0, 3.0, 4.0]], [1, 1, 1, 1, 2]))["a"]
    assert found.mean == pytest.approx(14 / 6)
    assert (found.conversations, found.turns, found.known_share) == (5, 6, 1.0)
    assert found.low < found.mean < found.high


def test_a_figure_that_never_varies_has_an_interval_of_no_width():
    """Seven calls on every turn are seven calls, exactly, whatever floats sum to."""
    found = mean_intervals(panel([[0.7] * 12], [1, 2, 3, 2, 4]))["a"]
    assert found.low == found.high == found.mean == pytest.approx(0.7, abs=1e-12)


@pytest.mark.parametrize(
    ("count", "word"), [(1, "1 conversation has"), (4, "4 conversations have")]
)
def test_too_few_conversations_carry_a_mean_and_no_interval(count, word):
    """The reason names what there is and what is needed."""
    found = mean_intervals(panel([np.arange(2.0 * count)], [2] * count))["a"]
    assert found.mean == pytest.approx(count - 0.5)
    assert found.low is found.high is None
    assert found.why_none.startswith(word)
    assert f"needs {MIN_CONVERSATIONS}" in found.why_none


def test_a_setting_of_which_nothing_is_known_has_a_reason():
    """There is no mean to show either."""
    found = mean_intervals(panel([[np.nan] * 6, [1.0] * 6], [1] * 6))["a"]
    assert (found.mean, found.low, found.turns) == (None, None, 0)
    assert "no turn" in found.why_none


def test_a_panel_without_turns_or_settings_is_no_crash():
    """No settings, no intervals."""
    assert mean_intervals(panel(np.zeros((2, 0)), []))["b"].mean is None
    nothing = Panel((), (), np.zeros(0, dtype=int), np.zeros((0, 0)), np.zeros((0, 0)))
    assert mean_intervals(nothing) == {}


def test_unknown_turns_are_left_out_and_counted():
    """The mean is over known turns; a difference takes turns that both know."""
    values = [[1.0, np.nan, 3.0, 4.0, 5.0, 6.0], [0.0, 9.0, 0.0, 0.0, 0.0, np.nan]]
    found = mean_intervals(panel(values, [1] * 6))["a"]
    assert (found.mean, found.turns) == (pytest.approx(19 / 5), 5)
    assert found.known_share == pytest.approx(5 / 6)
    assert paired_difference(panel(values, [1] * 6), "a", "b").mean == pytest.approx(13 / 4)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    """Nothing but the seed decides."""
    assert mean_intervals(noisy(), seed=3) == mean_intervals(noisy(), seed=3)
    assert mean_intervals(noisy(), seed=3) != mean_intervals(noisy(), seed=4)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_what_a_turn_adds_to_all_settings_changes_no_difference(seed):
    """Pairing takes out what makes a turn hard."""
    plain = noisy(seed)
    shift = np.random.default_rng(seed + 1).normal(0, 50, plain.values.shape[1])
    moved = Panel(
        plain.settings,
        plain.conversations,
        plain.conversation_of,
        plain.values + shift,
        plain.spread,
    )
    first, second = paired_difference(plain, "a", "b"), paired_difference(moved, "a", "b")
    assert first.mean == pytest.approx(second.mean, abs=1e-9)
    assert (first.low, first.high) == pytest.approx((second.low, second.high), abs=1e-9)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_a_difference_turned_round_is_its_negative(seed):
    """Swapping the two swaps the ends and their signs."""
    there = paired_difference(noisy(seed), "a", "b")
    back = paired_difference(noisy(seed), "b", "a")
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-9)
    assert there.low <= there.mean <= there.high


def test_the_order_of_conversations_changes_nothing_but_noise():
    """Ends move by less than a tenth of the width."""
    plain = noisy(conversations=30)
    order = np.random.default_rng(5).permutation(30)
    mixed = Panel(
        plain.settings,
        plain.conversations,
        order[plain.conversation_of],
        plain.values,
        plain.spread,
    )
    first, second = mean_intervals(plain)["a"], mean_intervals(mixed)["a"]
    width = first.high - first.low
    assert first.mean == pytest.approx(second.mean)
    assert abs(first.low - second.low) < width / 10
    assert abs(first.high - second.high) < width / 10


def test_turns_repeated_within_conversations_make_no_interval_narrower():
    """More of the same conversation is no second user."""
    few = panel([[1.0, 2.0, 4.0, 8.0, 16.0, 32.0]], [1] * 6)
    many = panel([np.repeat(few.values[0], 50)], [50] * 6)
    first, second = mean_intervals(few)["a"], mean_intervals(many)["a"]
    assert (first.low, first.high) == pytest.approx((second.low, second.high))


def test_intervals_of_estimates_are_wider_and_say_so():
    """A spread widens the interval, more so where a setting's errors go together."""
    plain = noisy()
    spread = np.zeros(plain.values.shape)
    spread[0, ::2] = 1.0
    estimated = Panel(
        plain.settings, plain.conversations, plain.conversation_of, plain.values, spread
    )
    widths = []
    for each, shared in ((plain, 0.0), (estimated, 0.0), (estimated, 0.5), (estimated, 1.0)):
        found = mean_intervals(each, shared=shared)["a"]
        widths.append(found.high - found.low)
    assert widths == sorted(widths)
    assert widths[3] > widths[0] * 1.3
    assert mean_intervals(estimated)["a"].estimated_share == pytest.approx(0.5, abs=0.05)
    assert mean_intervals(estimated)["b"].estimated_share == 0.0


def test_a_rare_difference_has_a_finite_interval():
    """One conversation of ten in which two settings differ does not blow the interval up."""
    ours = np.zeros(10)
    ours[3] = 1.0
    found = paired_difference(panel([ours, np.zeros(10)], [1] * 10), "a", "b")
    assert -1.0 < found.low < 0 < found.high < 1.0


def test_arguments_that_make_no_sense_are_named():
    """A level without draws, a share past 1, and two settings of one name."""
    with pytest.raises(ValueError, match="needs 1999 draws"):
        mean_intervals(noisy(), level=0.999, draws=1998)
    with pytest.raises(ValueError, match="between 0 and 1"):
        mean_intervals(noisy(), level=1.0)
    with pytest.raises(ValueError, match="share"):
        mean_intervals(noisy(), shared=1.5)
    twice = Panel(("a", "a"), ("c",), np.zeros(1, dtype=int), np.ones((2, 1)), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="different names"):
        mean_intervals(twice)


@pytest.mark.parametrize("asked", ["mean", "difference"])
def test_intervals_contain_the_truth_about_as_often_as_their_level(asked):
    """Of 300 sweeps with 10 skewed conversations, 91 to 99 in 100."""
    assert 0.91 <= coverage(WORLDS["skewed"], asked, conversations=10, sweeps=300) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("conversations", [10, 20, 40])
@pytest.mark.parametrize("asked", ["mean", "difference"])
@pytest.mark.parametrize("world", ["skewed", "judged"])
def test_intervals_contain_the_truth_in_93_to_97_of_100(world, asked, conversations):
    """Over 1,000 sweeps."""
    found = coverage(WORLDS[world], asked, conversations=conversations, sweeps=1_000)
    assert 0.93 <= found <= 0.97
