"""Messages of people from a recorded chat: their times, their names, and the agents addressed."""

import pytest

from callwise.calls.errors import ConfigError
from callwise.recordings.group_chat import GroupChat, GroupLine
from callwise.wake import Agent
from callwise.wake.people import hours_of, said_lines

AGENTS = [
    Agent(id="alice", name="Alice B", persona="A sailor.", model="one"),
    Agent(id="b.ob", persona="A guard.", model="one"),
]


def lines_of(*lines, hours=3):
    """Return messages for lines of author, text and seconds."""
    chat = GroupChat(tuple(GroupLine(*line) for line in lines))
    return said_lines(chat, AGENTS, hours=hours, every_seconds=3600.0)


def test_lines_are_said_at_their_times_from_the_start():
    """In the order of the chat."""
    said = lines_of(("Mia", "one", 0.0), ("Jo", "two", 0.0), ("Mia", "three", 4000.0))
    assert [(each.author, each.text) for each in said] == [
        ("Mia", "one"),
        ("Jo", "two"),
        ("Mia", "three"),
    ]
    assert [each.after_seconds for each in said] == [0.0, 0.0, 4000.0]


def test_lines_without_times_are_spread_until_the_last_wake():
    """Evenly, and within the hours that are woken."""
    said = lines_of(*((str(number), "x", None) for number in range(4)), hours=3)
    assert [each.after_seconds for each in said] == [0.0, 1800.0, 3600.0, 5400.0]
    said = lines_of(*((str(number), "x", None) for number in range(4)), hours=1)
    assert [each.after_seconds for each in said] == [0.0, 900.0, 1800.0, 2700.0]


def test_a_line_without_a_time_comes_between_its_neighbours():
    """Before the first time and after the last one there is nothing to share."""
    said = lines_of(
        ("a", "x", None), ("b", "x", 0.0), ("c", "x", None), ("d", "x", None), ("e", "x", 90.0),
        ("f", "x", None),
    )  # fmt: skip
    assert [each.after_seconds for each in said] == [0.0, 0.0, 30.0, 60.0, 90.0, 90.0]


@pytest.mark.parametrize("author", ["alice", "ALICE", "Alice B", " alice b "])
def test_a_speaker_with_an_agents_name_gets_another_one(author):
    """Nothing that a person writes is taken for an agent's."""
    (said,) = lines_of((author, "hello", 0.0))
    assert said.author.casefold() in {"alice (person)", "alice b (person)"}


def test_a_name_that_only_its_other_label_has_is_no_agents_either():
    """Even where an agent is called as such a person would be."""
    agents = [*AGENTS, Agent(id="x", name="alice (person)", persona="Odd.", model="one")]
    chat = GroupChat((GroupLine("alice", "hello", 0.0),))
    (said,) = said_lines(chat, agents, hours=1, every_seconds=3600.0)
    assert said.author == "alice (person 2)"


def test_a_speaker_gets_a_name_whatever_agents_are_called():
    """Names that are cut to the longest length are different ones each time."""
    name = "n" * 32 + " […64…] erson) (person) (person)"
    agents = [Agent(id="a", name=name, persona="p", model="one")]
    chat = GroupChat((GroupLine(name, "hi"),))
    (said,) = said_lines(chat, agents, hours=1, every_seconds=3600.0)
    assert said.author != name
    assert said.author.endswith(" (person)") or said.author.endswith(" (person 2)")
    assert len(said.author) <= 64


def test_a_name_that_agents_share_is_no_speakers_name():
    """It mentions neither of them."""
    agents = [Agent(id=each, name="Sam", persona="p", model="one") for each in ("s1", "s2")]
    chat = GroupChat((GroupLine("SAM", "sam: hi"),))
    (said,) = said_lines(chat, agents, hours=1, every_seconds=3600.0)
    assert (said.author, said.to) == ("SAM (person)", "")


@pytest.mark.parametrize("author", ["a\nb", "\x00", "x" * 5000, "\u202eevil\x1b[2J", "值😀"])
def test_an_authors_name_is_one_printable_line_of_at_most_64_characters(author):
    """Whatever a file calls a speaker."""
    (said,) = lines_of((author, "hello", 0.0))
    assert 0 < len(said.author) <= 64
    assert said.author.isprintable()


@pytest.mark.parametrize(
    ("text", "to"),
    [
        ("alice: are you up?", "alice"),
        ("Alice B, look", "Alice B"),
        ("  ALICE : look", "ALICE"),
        ("b.ob: hello", "b.ob"),
        ("@alice: hello", "alice"),
        ("alices: hello", ""),
        ("I told alice: hello", ""),
        ("alice are you up?", ""),
        (": hello", ""),
        ("alice\n: hello", ""),
        ("", ""),
        ("x" * 1_000_000 + ":", ""),
        (" " * 1_000_000, ""),
    ],
)
def test_a_line_that_begins_with_a_name_and_a_colon_is_for_that_agent(text, to):
    """As members of group chats address each other; a comma will do."""
    (said,) = lines_of(("Mia", text or " ", 0.0))
    assert said.to == to


def test_a_chat_that_is_too_long_is_a_clear_error():
    """In days or in lines."""
    with pytest.raises(ConfigError, match="400 days"):
        lines_of(("a", "x", 0.0), ("a", "x", 400 * 86_400.0))
    with pytest.raises(ConfigError, match="100,001 lines"):
        lines_of(*[("a", "x", None)] * 100_001)


def test_a_run_has_a_wake_after_the_last_line():
    """The first wake is at the start."""
    for seconds, hours in [(0.0, 2), (3599.0, 2), (3600.0, 3)]:
        chat = GroupChat((GroupLine("a", "x", 0.0), GroupLine("a", "x", seconds)))
        assert hours_of(chat, every_seconds=3600.0) == hours
    assert hours_of(GroupChat((GroupLine("a", "x"),)), every_seconds=3600.0) is None
