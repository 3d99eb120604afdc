"""Items to judge, from a sweep's rows."""

from typing import Any

from callwise.tuning.judge.items import distinct, items_of, references_of
from callwise.tuning.row import Coverage

TURNS = [
    {
        "conversation_id": "talk",
        "turn": turn,
        "user_text": f"Say {turn}.",
        "reply": f"Oh {turn}.",
        "language": "en",
        **({"persona": {"name": "Nora", "age": 3}} if turn == 0 else {}),
    }
    for turn in (2, 0, 1)
]


def test_each_different_reply_is_one_item(row_of: Any) -> None:
    """Sorted by turn and id, so the order of settings is not in it."""
    rows = [row_of("b", "2" * 16, 2), row_of("a", "1" * 16, 2), row_of("c", "1" * 16, 2)]
    items, notices = items_of(rows, {"1" * 16: "One.", "2" * 16: "Two."}.get, TURNS)
    assert [(item.turn, item.reply, item.key[2]) for item in items] == [
        (2, "One.", "1" * 16),
        (2, "Two.", "2" * 16),
    ]
    assert notices == ()
    assert distinct(reversed([*items, *items])) == items


def test_a_text_on_two_turns_is_two_items(row_of: Any) -> None:
    """It answers something else each time."""
    rows = [row_of("a", "1" * 16, 1), row_of("a", "1" * 16, 2)]
    items, _ = items_of(rows, {"1" * 16: "One."}.get, TURNS)
    assert [item.user_text for item in items] == ["Say 1.", "Say 2."]


def test_the_lines_before_are_those_of_the_recording(row_of: Any) -> None:
    """The same for every reply of a turn, at most as many as were asked for; the persona stays."""
    rows = [row_of("a", "1" * 16, 2)]
    (item,), _ = items_of(rows, {"1" * 16: "One."}.get, TURNS)
    assert [line.text for line in item.history] == ["Say 0.", "Oh 0.", "Say 1.", "Oh 1."]
    assert [line.role for line in item.history] == ["user", "agent"] * 2
    assert item.persona == {"name": "Nora"}
    for most, expected in ((3, 3), (0, 0)):
        (short,), _ = items_of(rows, {"1" * 16: "."}.get, TURNS, max_history_lines=most)
        assert len(short.history) == expected


def test_replies_that_cannot_be_shown_are_counted(row_of: Any) -> None:
    """Of unknown turns, or without a kept text. A reply that is not known is none."""
    rows = [
        row_of("a", "1" * 16, 0),
        row_of("a", "2" * 16, 7),
        row_of("a", "3" * 16, 1),
        row_of("b", "", 1, coverage=Coverage.MISSING),
        row_of("b", "", 2),
    ]
    items, notices = items_of(rows, {"1" * 16: "One.", "2" * 16: "Two."}.get, TURNS)
    assert [(item.turn, item.reply) for item in items] == [(0, "One."), (2, "")]
    assert notices == (
        "1 replies are of no kept text: left out",
        "1 replies are of turns that the recording lacks: left out",
    )


def test_the_recorded_replies_are_the_references() -> None:
    """Turns without one have none."""
    turns = [*TURNS, {"conversation_id": "talk", "turn": 3, "user_text": "Bye.", "reply": ""}]
    assert references_of(turns) == {("talk", n): f"Oh {n}." for n in (2, 0, 1)}
