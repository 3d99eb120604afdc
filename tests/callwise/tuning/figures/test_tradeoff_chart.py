"""The places of labels."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.tuning.figures.tradeoff_chart import LabelBox, free_places

FRAME = LabelBox(0, 0, 100, 100)
SPOTS = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=12)


@settings(deadline=None)
@given(SPOTS)
def test_labels_never_cover_each_other_or_a_point(spots) -> None:
    """And none leaves the frame; one without a free place is left out."""
    marks = [LabelBox(x - 2, y - 2, 4, 4) for x, y in spots]
    places = free_places(spots, [(20, 6)] * len(spots), marks, [], FRAME, gap=3)
    drawn = [place for place in places if place is not None]
    assert len(places) == len(spots)
    assert not any(one.overlaps(other) for one, other in combinations(drawn, 2))
    assert not any(one.overlaps(mark) for one in drawn for mark in marks)
    assert all(one.lies_in(FRAME) for one in drawn)


def test_above_and_left_is_tried_first() -> None:
    """Unless something lies there that a label had better leave free."""
    first = free_places([(50, 50)], [(10, 5)], [], [], FRAME, gap=2)
    assert first == [LabelBox(38, 52, 10, 5)]
    second = free_places([(50, 50)], [(10, 5)], [], [LabelBox(30, 50, 20, 10)], FRAME, gap=2)
    assert second == [LabelBox(52, 43, 10, 5)]
