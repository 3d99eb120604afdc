"""KdConv."""

from collections.abc import Callable
from pathlib import Path

import pytest

from turnwise.calls.errors import FormatError
from turnwise.replay.conversation import RecordedTurn
from turnwise.replay.reading import read_conversations

Write = Callable[..., Path]


def test_speaker_a_is_the_user(write_lines: Write) -> None:
    """A's messages are the user's, B's the replies."""
    messages = [
        {"i": 0, "speaker": "A", "text": "你知道这座寺吗？"},
        {"i": 1, "speaker": "B", "text": "知道。"},
        {"i": 2, "speaker": "A", "text": "几点开门？"},
    ]
    path = write_lines({"dialogue_id": "travel-1", "messages": messages})

    (conversation,) = read_conversations([path]).conversations

    assert conversation.turns == (
        RecordedTurn("travel-1", 0, "你知道这座寺吗？", reply="知道。"),
        RecordedTurn("travel-1", 1, "几点开门？"),
    )


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"speaker": "C", "text": "x"}, "message 2: expected `speaker` A .* got 'C'"),
        ({"speaker": "B", "text": ""}, "message 2: expected `text` to be a text, it is empty"),
    ],
)
def test_a_bad_message(write_lines: Write, message: dict[str, str], words: str) -> None:
    """A third speaker and an empty text are errors."""
    path = write_lines({"messages": [{"speaker": "A", "text": "x"}, message]})

    with pytest.raises(FormatError, match=words):
        read_conversations([path])
