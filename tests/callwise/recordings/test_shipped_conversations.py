"""The conversations that ship with the project."""

from datetime import datetime
from pathlib import Path

import pytest

from callwise.recordings.conversation import Conversation
from callwise.recordings.conversation_files import read_conversations

FOLDER = Path(__file__).parents[3] / "configs" / "conversations"
CONVERSATIONS = read_conversations([FOLDER]).conversations


def test_all_are_there() -> None:
    """One English, one Chinese, one hostile and one vague conversation ship."""
    ids = {each.conversation_id for each in CONVERSATIONS}

    assert ids == {"moving-city", "night-shift", "hostile-customer", "vague-evenings"}


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda each: each.conversation_id)
def test_each_is_complete(conversation: Conversation) -> None:
    """Each has a whole persona, a user, 8 to 20 turns from 0 on, and times that only grow."""
    times = [datetime.fromisoformat(turn.time or "") for turn in conversation.turns]

    assert set(conversation.persona or {}) == {"name", "background", "speaking_style"}
    assert conversation.user_id
    assert [turn.turn for turn in conversation.turns] == list(range(len(times)))
    assert 8 <= len(times) <= 20
    assert times == sorted(times)


def test_the_hard_cases_are_in() -> None:
    """An injection, markup, an emoji alone, a single letter and two languages at once."""
    texts = [turn.user_text for each in CONVERSATIONS for turn in each.turns]

    assert any("Ignore all previous instructions" in text for text in texts)
    assert any("<script>" in text and "```json" in text for text in texts)
    assert {"🙄", "k", "…"} <= set(texts)
    assert any("机器人" in text and "answer me" in text for text in texts)
