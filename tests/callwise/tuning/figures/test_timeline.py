"""Timelines as data."""

import pytest

from callwise.tuning.figures import TimeScale, timeline_of


def test_a_call_is_drawn_in_the_round_that_it_ended_in(call) -> None:
    """Calls of one round are above each other, and the next takes the first free row."""
    rows = [call(3, end_round=2), call(1), call(2), call(4, end_round=3)]
    lane = timeline_of(rows).lanes[0]
    assert [(bar.call.sequence, bar.start, bar.end, bar.row) for bar in lane.bars] == [
        (1, 0, 1, 0),
        (2, 1, 2, 0),
        (3, 1, 2, 1),
        (4, 2, 3, 0),
    ]
    assert lane.rows == 2


def test_lanes_are_in_the_order_of_asking(call) -> None:
    """A call that no node asked has a lane, too."""
    rows = [call(2, node=None), call(1, node="z"), call(3, node="a"), call(4, node="z")]
    assert [lane.node for lane in timeline_of(rows).lanes] == ["z", "(no node)", "a"]


def test_in_seconds_a_round_waits_for_the_longest_before_it(call) -> None:
    """A short call leaves a gap behind it."""
    rows = [call(1, path_seconds=2.0), call(2, end_round=1, path_seconds=5.0),
            call(3, end_round=2, path_seconds=1.0)]  # fmt: skip
    found = timeline_of(rows, scale=TimeScale.SECONDS)
    assert [(bar.start, bar.end) for bar in found.lanes[0].bars] == [(0, 2), (0, 5), (5, 6)]
    assert found.end == 6
    assert "longest call before it" in found.caption
    assert found.axis_title == "seconds since the turn began (fewer is better)"
    rows = [{**row, "is_simulated": True} for row in rows]
    assert timeline_of(rows, scale=TimeScale.SECONDS).axis_title.startswith("seconds since")
    rows = [{**row, "endpoint": "simulated"} for row in rows]
    assert timeline_of(rows, scale=TimeScale.SECONDS).axis_title.startswith("virtual seconds")


def test_a_refused_call_takes_no_time(call) -> None:
    """It is drawn where it was asked: after the rounds before it."""
    rows = [call(1), call(2, end_round=1, outcome="refused", path_seconds=0.0)]
    for scale, at in ((TimeScale.ROUNDS, 1), (TimeScale.SECONDS, 2.0)):
        bar = timeline_of(rows, scale=scale).lanes[0].bars[1]
        assert (bar.start, bar.end, bar.call.is_refused) == (at, at, True)
    first = timeline_of([call(1, end_round=0, outcome="refused")]).lanes[0].bars[0]
    assert (first.start, first.end) == (0, 0)


def test_the_caption_explains_the_marks_that_are_there(call) -> None:
    """Speculative, repaired, refused and simulated, each only where it is."""
    plain = timeline_of([call(1)]).caption
    assert plain == "One turn, 1 call."
    marked = timeline_of([call(1, is_speculative=True, is_simulated=True), call(2, repair=1),
                          call(3, outcome="refused")]).caption  # fmt: skip
    assert all(word in marked for word in ("Dashed", "Framed", "Cross", "Simulated"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"end_round": -1}, "row 0: end_round"),
        ({"end_round": 10**9}, "row 0: end_round"),
        ({"path_seconds": float("nan")}, "row 0: path_seconds"),
        ({"purpose": None}, "row 0: purpose"),
    ],
)
def test_a_row_that_is_none_is_named(call, fields, message) -> None:
    """Which row, which field."""
    with pytest.raises(ValueError, match=message):
        timeline_of([call(1, **fields)])


def test_rows_of_two_turns_are_no_turn(call) -> None:
    """Each call has another sequence."""
    with pytest.raises(ValueError, match="same `sequence`"):
        timeline_of([call(1), call(1)])


def test_a_turn_without_calls_is_empty() -> None:
    """A turn that asked nothing has no lanes."""
    assert timeline_of([]).lanes == ()
