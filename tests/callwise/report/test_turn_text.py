"""A turn as text: its calls in time, and the tree of its search."""

from callwise.report.run_record import CallLine
from callwise.report.search_view import read_search
from callwise.report.turn_text import round_starts, search_lines, timeline_lines


def call(node, end_round, seconds, outcome="served"):
    """Return a row of the ledger."""
    return CallLine.model_validate(
        {
            "node": node,
            "role": "main",
            "purpose": "plan",
            "outcome": outcome,
            "end_round": end_round,
            "work_seconds": seconds,
        }
    )


def candidate(name, parent, score):
    """Return a candidate of a search's record."""
    return {"id": name, "parent_id": parent, "reply": f"reply {name}\nagain", "mean_score": score}


def test_a_round_begins_where_the_longest_call_before_it_ended():
    """Round 0 has no calls, and a round without one takes no time."""
    assert round_starts([(1, 2.0), (1, 3.0), (3, 1.0)]) == (0.0, 0.0, 3.0, 3.0, 4.0)
    assert round_starts([]) == (0.0, 0.0)


def test_calls_are_blocks_in_the_lane_of_their_node():
    """From left to right in time, neighbours in different blocks; a refused call has none."""
    rows = [
        call("look", 1, 1.0),
        call("search", 2, 2.0),
        call("search", 3, 1.0),
        call("keep", 4, 0.0, "refused"),
    ]
    lines = timeline_lines(rows, width=40)
    assert [line.split()[:2] for line in lines[:2]] == [["look", "1"], ["search", "2"]]
    assert [line.count("█") + line.count("▒") for line in lines] == [7, 22, 0]
    assert lines[0].index("█") < lines[1].index("█") < lines[1].index("▒")
    assert lines[2].split() == ["0", "4.0"]
    assert max(map(len, lines)) <= 40


def test_nothing_is_drawn_without_a_known_round():
    """As for a program that schedules its calls itself."""
    assert timeline_lines([call("look", None, 1.0)], width=40) == []
    assert timeline_lines([call("look", 1, 0.0, "refused")], width=40) == []


def test_a_tree_shows_scores_and_the_winner():
    """In the order of depth, lines cut to the width, untrusted text on one line."""
    record = {
        "search_record": 1,
        "best_id": "c",
        "candidates": [
            candidate("a", None, 0.5),
            candidate("b", "a", None),
            candidate("c", "b", 0.75),
            candidate("d", "a", 0.25),
        ],
    }
    lines = search_lines(read_search(record), width=40)
    assert [line.partition("reply")[0] for line in lines] == [
        "0.50  ",
        "├─    -  ",
        "│  └─ 0.75* ",
        "└─ 0.25  ",
    ]
    assert all(len(line) <= 40 and "\n" not in line for line in lines)
