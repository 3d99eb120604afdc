"""Settings that may leave a race; the best hardly ever does."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.tuning.panel import Panel
from callwise.tuning.statistics.racing import SettingRace, spent_alpha
from tests.callwise.tuning.statistics.coverage import drop_rate
from tests.callwise.tuning.statistics.known_truth import WORLDS


def panel(values, names="abcd", turns=3):
    """Return a panel of conversations of as many turns each."""
    values = np.asarray(values, dtype=float)
    count = values.shape[1] // turns
    return Panel(
        settings=tuple(names[: len(values)]),
        conversations=tuple(f"c{at}" for at in range(count)),
        conversation_of=np.repeat(np.arange(count), turns),
        values=values,
        spread=np.zeros(values.shape),
    )


def analysed(race, means, costs, conversations, seed=0):
    """Return the race after an analysis of so many conversations."""
    rng = np.random.default_rng(seed)
    size = (len(means), conversations * 3)
    quality = np.array(means)[:, None] + rng.normal(0, 0.3, size)
    cost = np.repeat(np.array(costs, dtype=float)[:, None], size[1], axis=1)
    return race.tell(panel(cost), panel(quality))


def test_what_costs_more_and_is_worse_leaves():
    """The cheap bad one stays, since nothing cheaper beats it."""
    race = analysed(SettingRace(tuple("abc"), 40), [0.0, 2.0, 1.0], [2, 5, 8], 15)
    assert race.ask() == ("a", "b")
    assert [(each.setting, each.beaten_by) for each in race.dropped] == [("c", "b")]
    assert (race.dropped[0].analysis, race.dropped[0].conversations) == (1, 15)


def test_equal_cost_is_no_protection():
    """At the same cost the worse one leaves."""
    assert analysed(SettingRace(tuple("ab"), 40), [0.0, 2.0], [5, 5], 15).ask() == ("b",)


def test_a_cost_that_is_not_shown_to_be_lower_drops_none():
    """Cost is measured too."""
    rng = np.random.default_rng(0)
    cost = rng.normal(5, 3, (2, 45))
    quality = rng.normal([[2.0], [0.0]], 0.1, (2, 45))
    assert SettingRace(tuple("ab"), 40).tell(panel(cost), panel(quality)).ask() == ("a", "b")


def test_analyses_before_ten_conversations_and_past_the_plan_drop_nothing():
    """The first spend nothing, and at the end nothing is left to spend."""
    race = analysed(SettingRace(tuple("ab"), 20), [0.0, 2.0], [5, 5], 9)
    assert (race.analyses, race.alpha_spent, race.dropped) == (1, 0.0, ())
    race = analysed(race, [1.0, 1.0], [5, 5], 20)
    assert race.alpha_spent == pytest.approx(0.05)
    late = analysed(race, [0.0, 2.0], [5, 5], 30)
    assert late.ask() == ("a", "b")
    assert late.analyses == 3


def test_dropped_settings_may_be_missing_from_later_analyses():
    """Or be there with their earlier figures."""
    race = analysed(SettingRace(tuple("abc"), 40), [0.0, 2.0, 1.0], [2, 5, 8], 15)
    for rows in (2, 3):
        assert analysed(race, [0.0, 2.0, 1.0][:rows], [2, 5, 8][:rows], 20).analyses == 2
    with pytest.raises(ValueError, match="'b'"):
        analysed(race, [0.0], [2.0], 20)


def test_a_cost_known_in_few_conversations_drops_none():
    """A price list for one conversation is none."""
    cost = np.full((2, 45), np.nan)
    cost[:, :3] = [[5.0] * 3, [9.0] * 3]
    quality = np.random.default_rng(0).normal([[2.0], [0.0]], 0.1, (2, 45))
    assert SettingRace(tuple("ab"), 40).tell(panel(cost), panel(quality)).dropped == ()


def test_a_ring_of_settings_drops_none_of_them():
    """Over different turns a may beat b, b beat c, and c beat a."""
    quality = np.random.default_rng(0).normal(0, 0.1, (3, 90))
    for at in range(3):
        quality[at, 30 * at : 30 * at + 30] = np.nan
        quality[(at + 1) % 3, 30 * at : 30 * at + 30] += 5
    race = SettingRace(tuple("abc"), 60).tell(panel(np.ones((3, 90))), panel(quality))
    assert race.ask() == tuple("abc")


def test_races_that_make_no_sense_are_named():
    """No conversations, no alpha, two settings of one name."""
    with pytest.raises(ValueError, match="at least 1"):
        SettingRace(("a",), 0)
    with pytest.raises(ValueError, match="alpha"):
        SettingRace(("a",), 10, alpha=0.0)
    with pytest.raises(ValueError, match="different names"):
        SettingRace(("a", "a"), 10)


@settings(deadline=None)
@given(st.floats(0, 2), st.floats(0, 2))
def test_alpha_is_spent_in_order_and_never_past_itself(first, second):
    """More data never gives alpha back."""
    low, high = sorted((first, second))
    assert 0 <= spent_alpha(0.05, low) <= spent_alpha(0.05, high) <= 0.05 + 1e-15
    assert spent_alpha(0.05, 0.5) == pytest.approx(0.05 * math.log(1 + (math.e - 1) / 2))


@pytest.mark.parametrize("world", ["judged", pytest.param("equal", marks=pytest.mark.slow)])
def test_a_best_setting_is_dropped_no_more_often_than_alpha(world):
    """Of 100 races with three analyses, at alpha .1, in at most 17: three errors above 10."""
    rate = drop_rate(WORLDS[world], 2, alpha=0.1, races=100, counts=(10, 16, 24))
    assert rate <= 0.17


@pytest.mark.slow
def test_a_best_setting_is_dropped_no_more_often_than_alpha_over_many_races():
    """Of 1,000 races with five analyses, at alpha .05."""
    counts = (10, 15, 20, 30, 40)
    assert drop_rate(WORLDS["judged"], 2, alpha=0.05, races=1_000, counts=counts) <= 0.05
