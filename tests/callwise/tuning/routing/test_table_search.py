"""The search for routing tables, in a world whose best table is known."""

import numpy as np
import pytest

from callwise.tuning.panel import measured_panel
from callwise.tuning.routing.table_search import OptionPanels, propose_tables
from tests.callwise.tuning.routing.picks import picked, truth_of
from tests.callwise.tuning.routing.world import RoutingWorld


def _panels() -> OptionPanels:
    """Return two purposes on six conversations; the second one's option loses a lot."""
    of = [f"c{number}" for number in range(6)]
    quality = {
        "strong": [0.8, 0.7, 0.9, 0.8, 0.6, 0.7],
        "a": [0.8, 0.7, 0.9, 0.8, 0.6, 0.7],
        "b": [0.5, 0.3, 0.6, 0.4, 0.3, 0.3],
    }
    cost = {"strong": [10.0] * 6, "a": [6.0] * 6, "b": [5.0] * 6}
    options = {"detect": ["a"], "judge": ["b"]}
    return OptionPanels("strong", options, measured_panel(cost, of), measured_panel(quality, of))


def test_the_cheapest_table_that_loses_no_more_than_the_margin_is_proposed() -> None:
    """And none that loses more, however cheap; the reference is none of them."""
    (table,) = propose_tables(_panels(), margin=0.01)
    assert table.options == {"detect": "a", "judge": "strong"}
    assert (table.cost, table.quality) == (-4.0, 0.0)


def test_what_options_save_and_lose_is_added_up() -> None:
    """A budget of the curve is met by the best table at no more than that."""
    found = propose_tables(_panels(), margin=0.01, budgets=[-9.0])
    assert [dict(table.options) for table in found] == [
        {"detect": "a", "judge": "b"},
        {"detect": "a", "judge": "strong"},
    ]
    assert found[0].cost == pytest.approx(-9.0)
    assert found[0].quality == pytest.approx(-2.1 / 6)


def test_an_option_that_was_not_measured_is_an_error() -> None:
    """So that no table rests on a figure that is not there."""
    panels = _panels()
    lacking = OptionPanels("strong", {"detect": ["c"]}, panels.cost, panels.quality)
    with pytest.raises(ValueError, match="no setting 'c'"):
        propose_tables(lacking, margin=0.01)


@pytest.mark.slow
def test_the_cheapest_table_within_one_per_cent_is_picked_in_a_known_world() -> None:
    """A few recordings of 150 conversations; `benchmarks/results/routing.md` has 100."""
    world = RoutingWorld()
    truth = truth_of(world, conversations=2_000)
    picks = [picked(world.record(np.random.default_rng(seed), 150), truth) for seed in range(2)]
    assert all(pick.is_within for pick in picks)
    assert sum(bool(pick.is_best) for pick in picks) >= 1
