"""Turns as an application is given them, and those that are refused before anything is asked."""

from typing import Any

import pytest

from callwise.calls.errors import ConfigError
from callwise.recordings.app_protocol import MAX_TURN, TurnInput


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("turn", value) for value in (-1, MAX_TURN + 1, 10**30, 1.5, "1", True, float("nan"))),
        *(("conversation_id", value) for value in (None, 7, b"a", "")),
        *(("user_text", value) for value in (None, ["hi"])),
        *(("user_id", value) for value in (7, ("user", "ann"))),
        ("time", 7),
        *(("persona", value) for value in ("Nora", {"name": 7}, ["name"])),
    ],
    ids=repr,
)
def test_a_value_that_cannot_be_is_refused(field: str, value: Any) -> None:
    """The error names the field and the value; a turn is not begun with it."""
    given = {"conversation_id": "a", "turn": 0, "user_text": "Hi."}
    with pytest.raises(ConfigError, match=rf"`{field}`.*got ") as raised:
        TurnInput(**{**given, field: value})
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize("turn", [0, 5, MAX_TURN, None])
def test_a_turn_has_a_number_or_goes_on(turn: int | None) -> None:
    """None goes on after the last finished turn."""
    given = TurnInput("a", turn, "Hi.", user_id=" ", persona={"name": "Nora"})
    assert (given.turn, given.user_id) == (turn, None)
