"""The records of a conversation, and their digest."""

from dataclasses import replace

import pytest

from turnwise.replay.conversation import Conversation, RecordedTurn, conversation_digest

TURNS = tuple(RecordedTurn("a", number, f"text {number}") for number in range(3))
CONVERSATION = Conversation("a", "u", {"name": "Mira"}, TURNS)


def test_digest_is_stable() -> None:
    """The digest of the same conversation is the same in every process."""
    expected = "c00f8b5effa7670baab64345a831a54398d55d107581d1e707b25acaca78d1ed"

    assert conversation_digest([CONVERSATION]) == expected


@pytest.mark.parametrize(
    "changed",
    [
        replace(CONVERSATION, user_id=None),
        replace(CONVERSATION, persona={"name": "Mara"}),
        replace(CONVERSATION, opening="Hello."),
        replace(CONVERSATION, turns=TURNS[:2]),
        replace(CONVERSATION, turns=(*TURNS[:2], replace(TURNS[2], reply="Yes."))),
    ],
)
def test_digest_sees_every_field(changed: Conversation) -> None:
    """Whatever differs in a conversation changes its digest."""
    assert conversation_digest([changed]) != conversation_digest([CONVERSATION])


def test_digest_sees_the_order() -> None:
    """The same conversations in another order are another run."""
    other = replace(CONVERSATION, conversation_id="b")

    assert conversation_digest([CONVERSATION, other]) != conversation_digest([other, CONVERSATION])


def test_digest_takes_any_text() -> None:
    """A lone surrogate, legal in Python and illegal in UTF-8, has a digest too."""
    odd = replace(CONVERSATION, turns=(RecordedTurn("a", 0, "\ud800"),))

    assert len(conversation_digest([odd])) == 64


def test_first_turns() -> None:
    """A conversation cut short keeps everything but its later turns."""
    assert CONVERSATION.first_turns(2) == replace(CONVERSATION, turns=TURNS[:2])
