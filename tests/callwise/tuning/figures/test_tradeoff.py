"""The trade-off as data."""

from dataclasses import replace

import numpy as np
import pytest

from callwise.tuning import panel_of
from callwise.tuning.figures import CostAxis, tradeoff_of, tradeoff_of_front
from callwise.tuning.figures.whisker import Whisker
from callwise.tuning.row import Coverage
from callwise.tuning.statistics.front import pareto_front
from callwise.tuning.statistics.recommendation import recommend


def _rows(row, *settings):
    return [
        row(name, turn, asked=asked, quality=quality, conversation=conversation)
        for name, asked, quality in settings
        for conversation in ("one", "two")
        for turn in (0, 1)
    ]


def test_points_are_means_over_turns(row) -> None:
    """Without intervals the plain means are drawn, and no bar."""
    rows = [row("a", 0, asked=2, quality=0.0), row("a", 1, asked=4, quality=1.0)]
    point = tradeoff_of(rows).points[0]
    assert (point.cost, point.quality, point.turns) == (Whisker(3.0), Whisker(0.5), 2)


def test_the_front_has_what_nothing_dominates_and_equals_share_it(row) -> None:
    """Dearer and no better is off the front; the steps climb at each member's cost."""
    rows = _rows(row, ("b", 5, 0.6), ("a", 2, 0.2), ("off", 5, 0.5), ("twin", 2, 0.2), ("d", 9, 0))
    found = tradeoff_of(rows)
    assert [point.setting for point in found.front] == ["a", "twin", "b"]
    assert found.steps[-3:] == ((5.0, 0.2), (5.0, 0.6), (9.0, 0.6))
    assert found.caption.startswith("5 settings on 4 turns of 2 conversations. Simulated")


def test_given_intervals_are_drawn_in_both_directions(row) -> None:
    """Their means are drawn, too: statistics may know better than a plain mean."""
    found = tradeoff_of(_rows(row, ("a", 2, 0.2)), quality={"a": (0.3, 0.1, 0.4)},
                        costs={"a": (2.1, 2.0, 2.2)})  # fmt: skip
    assert found.points[0].quality == Whisker(0.3, 0.1, 0.4)
    assert found.points[0].cost == Whisker(2.1, 2.0, 2.2)
    assert "Bars: 95 % intervals over conversations." in found.caption


def test_unknown_usd_is_named_and_never_drawn_as_zero(row) -> None:
    """One unknown turn leaves its setting out; all unknown leave words."""
    rows = [row("a", 0, usd=0.1), row("a", 1), row("b", 0, usd=0.2), row("b", 1, usd=0.4)]
    found = tradeoff_of(rows, cost=CostAxis.USD)
    assert found.left_out == (("a", "USD not known on 1 of 2 turns"),)
    assert [point.cost.mean for point in found.points] == [pytest.approx(0.3)]
    assert "Left out: 1 (a: USD not known on 1 of 2 turns)." in found.caption
    none = tradeoff_of(rows[:2], cost=CostAxis.USD)
    assert none.points == none.steps == ()
    assert "USD is not known for any setting, and unknown is not 0." in none.problem


def test_estimates_are_marked(row) -> None:
    """Estimated calls or an estimated reply, on one turn, make a point partly estimated."""
    rows = [row("exact", 0), row("calls", 0, coverage=Coverage.BOUNDED, diverged_at=3),
            row("reply", 0, is_reply_exact=False)]  # fmt: skip
    found = tradeoff_of(rows)
    assert [point.is_exact for point in found.points] == [True, False, False]
    assert "Hollow" in found.caption


def test_groups_are_in_the_order_of_numbers(row) -> None:
    """A knob's values climb: 2 before 10, words last."""
    rows = _rows(row, ("a", 2, 0.2), ("b", 3, 0.3), ("c", 4, 0.4))
    found = tradeoff_of(rows, knob="k", knob_values={"a": "10", "b": "2", "c": "auto"})
    assert found.groups == ("2", "10", "auto")


@pytest.mark.parametrize(
    "expected",
    [{"knee": "x"}, {"recommended": "x"}, {"chance_on_front": {"x": 0.5}},
     {"quality": {"x": (1, 1, 1)}}],
)  # fmt: skip
def test_a_setting_without_rows_is_refused(row, expected) -> None:
    """A slip in a name is an error, not a mark that is missing."""
    with pytest.raises(ValueError, match=r"'x', which has no rows"):
        tradeoff_of([row("a")], **expected)


def test_a_chance_lies_between_0_and_1(row) -> None:
    """A percentage is no chance."""
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        tradeoff_of([row("a")], chance_on_front={"a": 95})


def test_nothing_to_draw_is_a_sentence(row) -> None:
    """No rows, or no quality: words for the figure, no error."""
    assert tradeoff_of([]).problem == "There are no rows to draw."
    unjudged = tradeoff_of([row("a", quality=None)])
    assert unjudged.problem == "No setting can be drawn: quality not known on any turn."


def test_a_front_of_statistics_is_taken_as_it_is(row) -> None:
    """Intervals, chances and knee are theirs, and both agree on who is on the front."""
    rng = np.random.default_rng(1)
    rows = [
        row(name, turn, conversation=f"c{c}", asked=asked, quality=float(rng.normal(mean, 0.3)))
        for name, asked, mean in (("a", 2, 0.0), ("b", 5, 1.0), ("c", 6, 0.2))
        for c in range(6)
        for turn in (0, 1)
    ]
    front = pareto_front(panel_of(rows, "asked"), panel_of(rows, "quality"), draws=300)
    choice = recommend(panel_of(rows, "asked"), panel_of(rows, "quality"), draws=300)
    found = tradeoff_of_front(rows, front, recommendation=choice)
    assert found.recommended == choice.chosen is not None
    assert (found.recommended_as == "recommended") == choice.is_shown
    unsure = tradeoff_of_front(rows, front, recommendation=replace(choice, is_shown=False))
    assert unsure.recommended_as == "cheapest not shown worse"
    assert found.knee == front.knee
    for point in found.points:
        theirs = front.points[point.setting]
        assert point.is_on_front == theirs.is_on_front
        assert point.chance_on_front == theirs.front_share
        assert (point.quality.low, point.quality.high) == (theirs.quality.low, theirs.quality.high)
