"""Where the boxes of a drawn tree stand."""

from lats.tidy_layout import Box, boxes_of

EDGES = [("top", None), ("a", "top"), ("b", "top"), ("a1", "a"), ("a2", "a")]


def _drawn(*, is_top_down: bool) -> dict[str, Box]:
    return boxes_of(EDGES, size=(100, 20), gaps=(30, 5), origin=(7, 9), is_top_down=is_top_down)


def test_leaves_take_slots_and_parents_stand_in_the_middle():
    """Depth grows to the right."""
    boxes = _drawn(is_top_down=False)
    assert [boxes[name].x for name in ("top", "a", "a1", "b")] == [7, 137, 267, 137]
    assert [boxes[name].y for name in ("a1", "a2", "b")] == [9, 34, 59]
    assert boxes["a"].y == (9 + 34) / 2
    assert boxes["top"].y == (boxes["a"].y + boxes["b"].y) / 2


def test_it_can_grow_downwards():
    """Then depth is y, and leaves stand side by side."""
    boxes = _drawn(is_top_down=True)
    assert [boxes[name].y for name in ("top", "a", "a1")] == [9, 59, 109]
    assert [boxes[name].x for name in ("a1", "a2", "b")] == [7, 112, 217]


def test_no_nodes_have_no_boxes():
    """An empty tree is no error."""
    assert boxes_of([], size=(1, 1), gaps=(1, 1), origin=(0, 0), is_top_down=False) == {}


def test_depth_is_no_danger():
    """A chain far deeper than Python's stack has its boxes."""
    chain = [(str(place), str(place - 1) if place else None) for place in range(5000)]
    boxes = boxes_of(chain, size=(1, 1), gaps=(1, 1), origin=(0, 0), is_top_down=False)
    assert boxes["4999"] == Box(9998.0, 0.0, 1, 1)
