"""Waterfalls as data."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.tuning.figures import ChainStep, FigureBasis, steps_between, waterfall_of
from callwise.tuning.figures.waterfall import KnobStep

BASIS = FigureBasis(4, 2, is_simulated=False)
KNOBS = st.recursive(
    st.integers(0, 2) | st.booleans() | st.none() | st.sampled_from(["x", "y"]),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
TREES = st.dictionaries(st.sampled_from("abc"), KNOBS, max_size=3)


def _chain(*calls: float) -> list[ChainStep]:
    return [ChainStep(KnobStep(f"k{n}", 1, 2), value) for n, value in enumerate(calls)]


def test_differing_knobs_are_listed_by_name() -> None:
    """Nested or not, in an order that does not depend on either file's."""
    a = {"z": 1, "s": {"cap": 6, "deep": {"x": True}}, "same": [1]}
    b = {"same": [1], "s": {"deep": {"x": False}, "cap": None}, "new": 3}
    assert steps_between(a, b) == (
        KnobStep("new", "not set", 3),
        KnobStep("s.cap", 6, None),
        KnobStep("s.deep.x", True, False),
        KnobStep("z", 1, "not set"),
    )


def test_a_mapping_that_is_a_value_is_changed_as_one() -> None:
    """Where one side is empty, or where the caller names it."""
    assert steps_between({"w": {}}, {"w": {"x": 1}}) == (KnobStep("w", {}, {"x": 1}),)
    a, b = {"w": {"x": 1}}, {"w": {"x": 2}}
    assert steps_between(a, b) == (KnobStep("w.x", 1, 2),)
    assert steps_between(a, b, whole={"w"}) == (KnobStep("w", {"x": 1}, {"x": 2}),)


def test_true_is_not_one() -> None:
    """A switch that became a number is a change, 1 that became 1.0 is none."""
    assert steps_between({"a": 1, "b": 1}, {"a": True, "b": 1.0}) == (KnobStep("a", 1, True),)


@settings(deadline=None)
@given(TREES, TREES)
def test_the_steps_mirror_each_other(a: dict, b: dict) -> None:
    """There and back are the same knobs; nothing differs from itself."""
    there, back = steps_between(a, b), steps_between(b, a)
    assert [(c.knob, c.old, c.new) for c in there] == [(c.knob, c.new, c.old) for c in back]
    assert steps_between(a, a) == ()
    assert [change.knob for change in there] == sorted({change.knob for change in there})


@settings(deadline=None)
@given(st.floats(0, 30), st.lists(st.floats(0, 30), max_size=6), st.floats(0, 30))
def test_bars_lead_from_the_first_to_the_last(start: float, calls: list, end: float) -> None:
    """Each begins where the one before it ended, and what is saved sums to the difference."""
    found = waterfall_of(("a", start), _chain(*calls), ("b", end), BASIS)
    levels = [start, *(bar.after for bar in found.bars)]
    assert all(abs(bar.before - level) < 1e-8
               for bar, level in zip(found.bars, levels, strict=False))  # fmt: skip
    assert all(one.after == next_one.before for one, next_one in pairwise(found.bars))
    assert sum(bar.saved.mean for bar in found.bars) == pytest.approx(start - end, abs=1e-6)


def test_a_chain_that_ends_at_the_setting_has_no_remainder() -> None:
    """A chain that does not ends with a bar for the remainder."""
    whole = waterfall_of(("a", 8.0), _chain(6.0, 6.0, 7.0), ("b", 7.0), BASIS)
    assert [(bar.label, bar.saved.mean) for bar in whole.bars] == [("k0", 2.0), ("k2", -1.0)]
    assert whole.idle == ("k1",)
    assert "Without effect: k1." in whole.caption
    assert "in another order" in whole.caption
    broken = waterfall_of(("a", 8.0), _chain(6.0), ("b", 5.0), BASIS)
    assert [bar.label for bar in broken.bars] == ["k0", "not explained"]


def test_an_interval_lies_where_the_bar_ends() -> None:
    """Saved 1 to 3 of 8 ends between 5 and 7."""
    chain = [ChainStep(KnobStep("k", False, None), 6.0, saved=(2.0, 1.0, 3.0))]
    found = waterfall_of(("a", 8.0), chain, ("b", 6.0), BASIS)
    end = found.bars[0].ends_at
    assert (end.mean, end.low, end.high) == (6.0, 5.0, 7.0)
    assert found.bars[0].detail == "off → none"
    assert "95 % intervals" in found.caption
