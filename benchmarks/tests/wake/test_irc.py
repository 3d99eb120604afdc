"""The part irc: agents take the names of those that lines address, and replays are equal."""

import pytest

from benchmarks.wake import irc
from callwise.recordings.group_chat import GroupChat, GroupLine


def chat_of(*lines: tuple[str, str]) -> GroupChat:
    """Return a chat with a line each ten minutes."""
    return GroupChat(tuple(GroupLine(*line, 600.0 * number) for number, line in enumerate(lines)))


LINES = (
    ("ann", "hello"),
    ("ben", "ann: hi"),
    ("cem", "Ann, are you there?"),
    ("ann", "ann: I talk to myself"),
    ("ann", "cem: yes"),
    ("ben", "note: this is no one"),
    ("ben", "did you see what cem: wrote"),
)


def test_agents_have_the_names_that_lines_of_others_begin_with() -> None:
    """The most often addressed first; words that are no speaker are none."""
    assert irc._most_addressed(chat_of(*LINES)) == ["ann", "cem"]


@pytest.mark.parametrize("variant", irc.VARIANTS)
def test_a_chat_is_replayed_with_equal_bytes(variant: str) -> None:
    """Each line that addresses an agent wakes it; each hour is one wake."""
    run = irc._run(chat_of(*LINES), variant)
    assert (run.is_equal, run.left) == (True, 0)
    assert len(run.hours) == 3
    assert len(run.mentions) == 4
    assert run.played == sum(each.calls for each in (*run.hours, *run.mentions))


def test_without_data_the_part_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason."""
    monkeypatch.setenv("CALLWISE_DATA", "/nowhere")
    assert "CALLWISE_DATA" in irc.measure().skipped
