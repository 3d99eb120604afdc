"""The notebooks' conversations: as many, as long and as mixed as their page says."""

import re
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from callwise.recordings import Conversation, read_conversations

DATA = Path(__file__).parents[2] / "notebooks" / "data"
CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def talks() -> tuple[Conversation, ...]:
    """Return the conversations, read as `callwise replay` reads them."""
    found = read_conversations([DATA / "small_talks.jsonl"])
    assert not found.skipped
    return found.conversations


def test_there_are_as_many_as_the_page_says(talks: tuple[Conversation, ...]) -> None:
    """Counts of conversations and turns agree with the README in the same folder."""
    turn_count = sum(len(talk.turns) for talk in talks)
    assert len(talks) == 24
    assert 90 <= turn_count <= 110
    page = (DATA / "README.md").read_text(encoding="utf-8")
    assert f"{turn_count} turns in all" in page
    assert f"{len(talks)} short conversations" in page


def test_every_conversation_has_its_own_user(talks: tuple[Conversation, ...]) -> None:
    """No memory is shared: as many users as conversations."""
    assert len({talk.user_id for talk in talks}) == len(talks)


def test_lengths_vary(talks: tuple[Conversation, ...]) -> None:
    """Each length from 3 to 6 turns occurs at least three times."""
    lengths = Counter(len(talk.turns) for talk in talks)
    assert set(lengths) == {3, 4, 5, 6}
    assert min(lengths.values()) >= 3


def test_a_quarter_is_chinese(talks: tuple[Conversation, ...]) -> None:
    """Six conversations are Chinese in every turn, the others in none."""
    chinese = [[bool(CHINESE.search(turn.user_text)) for turn in talk.turns] for talk in talks]
    assert sum(all(turns) for turns in chinese) == 6
    assert sum(any(turns) for turns in chinese) == 6


def test_only_the_users_side_is_written(talks: tuple[Conversation, ...]) -> None:
    """No reply is recorded, no text is above 60 words, and none occurs twice."""
    turns = [turn for talk in talks for turn in talk.turns]
    assert all(turn.reply is None for turn in turns)
    assert max(len(turn.user_text.split()) for turn in turns) <= 60
    texts = Counter(turn.user_text for turn in turns)
    assert max(texts.values()) == 1


def test_times_have_an_offset_and_go_forward(talks: tuple[Conversation, ...]) -> None:
    """A conversation's turns follow each other in time, whatever the clocks did."""
    for talk in talks:
        times = [datetime.fromisoformat(str(turn.time)) for turn in talk.turns]
        assert all(time.tzinfo is not None for time in times)
        assert times == sorted(set(times))
