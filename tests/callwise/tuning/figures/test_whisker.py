"""Means with intervals, as figures take them."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from callwise.tuning.figures import CostAxis
from callwise.tuning.figures.whisker import Whisker, interval_words, whisker_of, whiskers_of
from callwise.tuning.statistics.bootstrap import Interval


def test_a_tuple_and_a_record_are_the_same() -> None:
    """Statistics give records, a notebook's user may give tuples."""
    record = Interval(2.0, 1.0, 4.0, level=0.9, conversations=9, turns=20)
    assert whisker_of((2, 1, 4)) == whisker_of(record) == Whisker(2.0, 1.0, 4.0)
    assert (Whisker(2.0, 1.0, 4.0).below, Whisker(2.0, 1.0, 4.0).above) == (1.0, 2.0)
    assert Whisker(2.0, 1.0, 4.0).words(1) == "2.0 (1.0 to 4.0)"


@pytest.mark.parametrize("ends", [(None, None), (math.nan, 3.0), (-math.inf, math.inf)])
def test_an_interval_without_ends_is_a_mean_alone(ends: tuple[Any, Any]) -> None:
    """No bar is drawn for what is not known."""
    found = whisker_of((2.0, *ends))
    assert found == Whisker(2.0)
    assert (found.below, found.above, found.has_interval, found.words()) == (0, 0, False, "2.00")


@pytest.mark.parametrize(
    "value", [(1.0, 2.0), 1.0, (None, 1, 2), (math.nan, 1, 2), (1.0, 3.0, 2.0), SimpleNamespace()]
)
def test_what_is_no_interval_is_refused(value: Any) -> None:
    """Too few parts, no mean, ends the wrong way round."""
    with pytest.raises(ValueError, match=r"expected"):
        whisker_of(value)


def test_an_interval_of_an_unknown_setting_is_refused() -> None:
    """A name with a slip is no setting without a bar."""
    with pytest.raises(ValueError, match=r"'x', which has no rows"):
        whiskers_of({"x": (1, 1, 1)}, {"a"}, what="the quality")


def test_a_record_without_a_mean_is_left_out() -> None:
    """Statistics know of no turn there, and neither does the figure."""
    empty = Interval(None, None, None, level=0.95, conversations=0, turns=0)
    assert whiskers_of({"a": empty}, {"a"}, what="the quality") == {}


def test_the_words_say_level_or_why_there_is_none() -> None:
    """A caption never claims 95 % for an interval of 90 %."""
    wide = Interval(2.0, 1.0, 4.0, level=0.9, conversations=9, turns=20)
    none = Interval(2.0, None, None, level=0.9, conversations=1, turns=2, why_none="too few")
    assert interval_words({"a": wide}) == "Bars: 90 % intervals over conversations."
    assert interval_words({"a": (1, 0, 2)}, None) == "Bars: 95 % intervals over conversations."
    assert interval_words({"a": none}) == "No intervals: too few."
    assert interval_words(None, {}) == ""


@pytest.mark.parametrize(
    ("cost", "value", "label"),
    [
        (CostAxis.CALLS, 3, "calls per turn"),
        (CostAxis.TOKENS, 100, "tokens per turn"),
        (CostAxis.USD, None, "USD per turn"),
        (CostAxis.ROUNDS, 2, "rounds to the reply"),
    ],
)
def test_each_cost_has_a_unit_and_reads_its_field(row, cost, value, label) -> None:
    """Tokens are input and output together; unknown USD stays unknown."""
    assert (cost.of(row()), cost.label) == (value, label)
