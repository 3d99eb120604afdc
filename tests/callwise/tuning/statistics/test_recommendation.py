"""The cheapest setting that is not worse than the best by more than a margin."""

import numpy as np
import pytest

from callwise.calls.errors import ConfigError
from callwise.tuning.panel import Panel
from callwise.tuning.statistics.recommendation import recommend

NAMES = ("instant", "frugal", "balanced", "classic")
CALLS = (2.0, 5.0, 8.0, 16.0)


def panel(values, conversations, spread=None):
    """Return a panel of conversations of five turns each."""
    values = np.asarray(values, dtype=float)
    return Panel(
        settings=NAMES[: len(values)],
        conversations=tuple(f"c{at}" for at in range(conversations)),
        conversation_of=np.repeat(np.arange(conversations), 5),
        values=values,
        spread=np.zeros(values.shape) if spread is None else spread,
    )


def sweep(means, conversations=40, noise=0.1, seed=0):
    """Return cost and quality panels of as many settings as means."""
    rng = np.random.default_rng(seed)
    size = (len(means), conversations * 5)
    quality = np.array(means)[:, None] + rng.normal(0, noise, size) + rng.normal(0, 1, size[1])
    cost = np.repeat(np.array(CALLS[: len(means)])[:, None], size[1], axis=1)
    return panel(cost, conversations), panel(quality, conversations)


def test_the_cheapest_within_the_margin_is_chosen_and_shown():
    """Balanced is as good as classic; frugal is not."""
    cost, quality = sweep([0.0, 1.0, 2.0, 2.02])
    found = recommend(cost, quality, scale_width=10.0)
    assert (found.chosen, found.best, found.is_shown) == ("balanced", "classic", True)
    assert (found.needed, found.open_settings) == (None, ())
    assert found.margin == pytest.approx(0.1)
    assert -found.margin <= found.low < found.difference.mean < 0
    assert found.difference.low < found.difference.mean < found.difference.high
    assert (found.saving.mean, found.saving.low, found.saving.high) == (8.0, 8.0, 8.0)
    assert found.scale == "1 % of a scale 10 wide"
    assert found.sentence() == (
        "balanced is the cheapest shown to be within 0.1 of the best, at 95 % confidence; it saves "
        "8 calls per turn."
    )


def test_a_loss_that_rounds_to_zero_has_no_sign():
    """`-0 SD` would look like a loss."""
    found = recommend(*sweep([0.0, 1.0, 2.0, 2.02]), scale_width=4.0)
    assert [found.in_unit(each) for each in (-0.0003, -0.0007)] == ["0", "-0.001"]


def test_without_a_scale_the_margin_is_of_the_sweeps_own_gap_and_this_is_named():
    """The gap between the best and the worst mean."""
    cost, quality = sweep([0.0, 2.0])
    found = recommend(cost, quality)
    means = quality.values.mean(axis=1)
    assert found.scale_width == pytest.approx(means[1] - means[0])
    assert not found.is_scale_given
    assert found.scale.endswith("of the gap between this sweep's best and worst mean")
    assert (found.chosen, found.best) == ("frugal", "frugal")


def test_a_choice_that_is_not_shown_is_marked():
    """With noise, the cheapest not shown worse is named, and what a verdict would take."""
    cost, quality = sweep([0.98, 1.0], noise=1.0, conversations=10)
    found = recommend(cost, quality, scale_width=10.0)
    assert (found.chosen, found.is_shown) == ("instant", False)
    assert found.open_settings == ("instant",)
    assert found.needed.more_conversations is None or found.needed.more_conversations > 0
    assert found.sentence() == (
        "no setting is shown to be within 0.1 of the best; instant is the cheapest not shown to be "
        "worse."
    )


def test_a_cheaper_setting_that_is_still_open_is_named():
    """A verdict is kept, and more conversations might save more."""
    rng = np.random.default_rng(1)
    size = 40 * 5
    base = rng.normal(0, 1, size)
    wild = base + rng.normal(0.0, 2.0, size)
    quality = np.array([base - 9, wild, base + 0.001 * rng.normal(size=size), base])
    cost, _ = sweep([0.0] * 4)
    found = recommend(cost, panel(quality, 40), scale_width=10.0)
    assert found.chosen in {"frugal", "balanced"}
    if found.chosen == "balanced":
        assert found.open_settings == ("frugal",)


def test_simulated_results_say_so_first():
    """Whatever the verdict."""
    cost, quality = sweep([0.0, 2.0])
    assert recommend(cost, quality, is_simulated=True).sentence().startswith("Simulated: ")
    few = recommend(*sweep([0.0, 2.0], conversations=3), is_simulated=True)
    assert few.sentence().startswith("Simulated: no setting can be recommended")


@pytest.mark.parametrize("conversations", [1, 4])
def test_too_few_conversations_carry_no_recommendation(conversations):
    """The result names how many there are and how many are needed."""
    found = recommend(*sweep([0.0, 2.0], conversations=conversations))
    assert (found.chosen, found.saving, found.low) == (None, None, None)
    assert found.why_none.startswith(f"{conversations} conversation")
    assert found.way_out.startswith(f"record {5 - conversations} more conversation")
    assert "needs 5" in found.sentence()


def test_estimates_are_counted_and_named():
    """The share of turns on which both qualities were measured."""
    cost, quality = sweep([0.0, 2.0, 2.0])
    spread = np.zeros(quality.values.shape)
    spread[1, :50] = 0.1
    estimated = panel(quality.values, 40, spread)
    found = recommend(cost, estimated, scale_width=10.0)
    assert found.exact_share == pytest.approx(0.75)


def test_a_setting_without_a_price_can_be_best_and_is_not_chosen():
    """It is named among those left out."""
    cost, quality = sweep([0.0, 2.0, 2.0])
    values = cost.values.copy()
    values[2] = np.nan
    found = recommend(panel(values, 40), quality, scale_width=50.0)
    assert found.chosen == "frugal"
    assert found.left_out == ("balanced",)
    values[:] = np.nan
    assert "price the models" in recommend(panel(values, 40), quality).way_out


def test_equal_settings_leave_the_cheapest():
    """No gap, no margin, no loss."""
    cost, quality = sweep([1.0, 1.0, 1.0], noise=0.0)
    found = recommend(cost, quality)
    assert (found.chosen, found.is_shown, found.margin) == ("instant", True, 0.0)
    assert found.saving.mean == 0.0


def test_the_same_seed_gives_the_same_recommendation():
    """Nothing but the seed decides."""
    assert recommend(*sweep([0.0, 1.9, 2.0])) == recommend(*sweep([0.0, 1.9, 2.0]))


def test_what_makes_no_sense_names_the_way_out():
    """No quality, a margin in percent, a scale without width, other turns."""
    cost, quality = sweep([0.0, 2.0])
    with pytest.raises(ConfigError, match="let a referee judge"):
        recommend(cost, panel(np.full(quality.values.shape, np.nan), 40))
    with pytest.raises(ConfigError, match="margin 1"):
        recommend(cost, quality, margin_share=1)
    with pytest.raises(ConfigError, match="scale width 0"):
        recommend(cost, quality, scale_width=0)
    with pytest.raises(ValueError, match="same"):
        recommend(sweep([1.0, 2.0], conversations=9)[0], quality)


def test_a_choice_that_is_shown_is_truly_within_the_margin():
    """Of 60 sweeps with a loss past the margin, a wrong one is shown in few."""
    wrong = 0
    for seed in range(60):
        cost, quality = sweep([0.8, 1.0], conversations=12, noise=0.5, seed=seed)
        found = recommend(cost, quality, scale_width=10.0, seed=seed, draws=500)
        wrong += found.is_shown and found.chosen == "instant"
    assert wrong <= 6
