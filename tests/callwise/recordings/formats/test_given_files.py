"""Files of users in many formats, from a folder next to the project, each with its right turns."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import FormatError
from callwise.recordings.conversation_files import ReadOptions, read_conversations

DATA = Path(os.environ.get("CALLWISE_DATA", Path(__file__).parents[4] / "../shared/data"))
GIVEN = DATA.parent / "cases" / "conversations"
EXPECTED: dict[str, Any] = (
    json.loads((GIVEN / "expected.json").read_text(encoding="utf-8")) if GIVEN.is_dir() else {}
)
CHOICES = {
    "arena_pair.jsonl": ReadOptions(side="a"),
    "telegram.json": ReadOptions(agent="Bot"),
    "first_record_empty.jsonl": ReadOptions(skip_bad=True),
    "second_record_empty.jsonl": ReadOptions(skip_bad=True),
}
"""What a person has to say of a file."""

pytestmark = [pytest.mark.data, pytest.mark.skipif(not EXPECTED, reason=f"no files in {GIVEN}")]


@pytest.mark.parametrize("name", sorted(EXPECTED) or [""])
def test_a_given_file_comes_out_right(name: str) -> None:
    """Each conversation in the file has the right turns, as [user's text, reply]."""
    for conversation in read_conversations([GIVEN / name], options=CHOICES.get(name)).conversations:
        turns = [[turn.user_text, turn.reply] for turn in conversation.turns]
        assert turns == EXPECTED[name]["turns"]


@pytest.mark.parametrize("name", sorted(CHOICES))
def test_without_a_choice_the_error_is_clear(name: str) -> None:
    """What a person has to choose is not guessed, and the error has the option to give."""
    with pytest.raises(FormatError, match=r"--agent NAME|--side a|is empty"):
        read_conversations([GIVEN / name])


def test_times_come_with_them() -> None:
    """Times of messages, as ISO 8601 or unix seconds, are the turns' times."""
    iso = read_conversations([GIVEN / "openai_timestamps.jsonl"]).conversations[0]
    unix = read_conversations([GIVEN / "unix_times_native.jsonl"]).conversations[0]

    assert [turn.time for turn in iso.turns] == ["2024-05-01T10:00:00", "2024-05-01T10:00:02"]
    assert unix.turns[0].time == "2024-05-01T10:00:00+00:00"
