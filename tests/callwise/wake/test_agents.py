"""Agents: what their file may have, and how a text mentions them."""

import pytest
from pydantic import ValidationError

from callwise.calls.errors import FormatError
from callwise.wake import Agent, read_agents
from callwise.wake.agents import MAX_SIGNS, Mentions


def written(tmp_path, text):
    """Return the path of a file of agents."""
    path = tmp_path / "agents.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_lists_agents_in_order(tmp_path):
    """The name is the id where none is given, and the memory is empty."""
    path = written(
        tmp_path,
        "agents:\n"
        "  - {id: alice, persona: A sailor., model: dsv3, memory: [Her boat is red.]}\n"
        "  - {id: bob-2.x_y, name: 阿宝, persona: A cook., model: qwen32b}\n",
    )
    assert read_agents(path) == (
        Agent(id="alice", persona="A sailor.", model="dsv3", memory=("Her boat is red.",)),
        Agent(id="bob-2.x_y", name="阿宝", persona="A cook.", model="qwen32b"),
    )
    assert [agent.name for agent in read_agents(path)] == ["alice", "阿宝"]


def test_an_error_lists_each_bad_agent(tmp_path):
    """All of them in one error, by number and id; no value can forge a line."""
    path = written(
        tmp_path,
        "agents:\n"
        "  - {id: fine, persona: p, model: m}\n"
        "  - {id: 'a/../b', persona: p, model: m}\n"
        "  - {id: carol, persona: '  ', model: m}\n"
        "  - {id: dan, persona: p}\n"
        "  - {id: FINE, persona: p, model: m}\n"
        '  - {id: "x\\nERROR forged", persona: p, model: m}\n'
        "  - text\n"
        "  - {id: eve, persona: p, model: m, colour: red}\n"
        '  - {id: fay, name: "F\\nay", persona: p, model: m}\n',
    )
    with pytest.raises(FormatError) as caught:
        read_agents(path)
    text = str(caught.value)
    for part in (
        "agent 2 ('a/../b'): id:",
        "agent 3 ('carol'): persona:",
        "agent 4 ('dan'): model: Field required",
        "agent 'FINE': another one has the id 'fine'",
        "agent 7: entry:",
        "agent 8 ('eve'): colour:",
        "agent 9 ('fay'): name:",
    ):
        assert part in text
    assert "\n" not in text
    assert "agent 1 " not in text


@pytest.mark.parametrize(
    "text",
    ["", "agents:", "agents: {a: b}", "- id: alice", "agents: []\nmodels: []", "a: [", "!!set {}"],
)
def test_a_file_without_a_list_of_agents_is_refused(tmp_path, text):
    """The error names the file."""
    with pytest.raises(FormatError, match=r"agents\.yaml"):
        read_agents(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    """One that is not there, and one that is no text."""
    with pytest.raises(FormatError, match="cannot be read"):
        read_agents(tmp_path / "none.yaml")
    path = tmp_path / "agents.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="cannot be read"):
        read_agents(path)


def test_a_file_may_list_none(tmp_path):
    """An empty list is a list."""
    assert read_agents(written(tmp_path, "agents: []")) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""},
        {"id": "a" * 65},
        {"id": "a b"},
        {"id": "a\n"},
        {"id": "é"},
        {"id": 7},
        {"persona": ""},
        {"persona": "p" * 20_001},
        {"model": ""},
        {"memory": ["x"] * 201},
        {"memory": [""]},
        {"name": "n" * 65},
        {"name": "a\x1b[31m"},
    ],
)
def test_values_out_of_their_range_are_refused(change):
    """Ids are parts of other ids and of scopes' names; a persona is never empty."""
    with pytest.raises(ValidationError):
        Agent(**{"id": "a", "persona": "p", "model": "m", **change})


AGENTS = [
    Agent(id=agent_id, name=name, persona="p", model="m")
    for agent_id, name in [
        ("alice", "Alice"),
        ("al", "Al"),
        ("bob", "Bob the Cook"),
        ("xm", "小明"),
        ("s1", "Sam"),
        ("s2", "Sam"),
        ("e.f", "E"),
    ]
]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("@alice", ["alice"]),
        ("hi @ALICE!", ["alice"]),
        ("(@al)", ["al"]),
        ("@alicette @al-x @al_", []),
        ("@bob the cook, and @bob", ["bob"]),
        ("@bob the baker", ["bob"]),
        ("@小明你好", ["xm"]),
        ("你好@小明", ["xm"]),
        ("@sam @s2", ["s2"]),
        ("@e.f. @e", ["e.f"]),
        ("me@alice.org", []),
        ("@ alice @", []),
        ("@@alice", ["alice"]),
        ("@bob @alice @bob", ["bob", "alice"]),
        ("alice, are you there?", []),
        ("@mallory\n@alice", ["alice"]),
        ("", []),
    ],
)
def test_a_text_mentions_agents_by_id_or_name(text, found):
    """In any letter case, whole, in order, each once; the longest name that fits."""
    assert list(Mentions(AGENTS).find(text)) == found


def test_signs_without_end_are_not_read():
    """A message of a megabyte of them takes no longer than one of some hundred."""
    text = "@mallory " * 200_000 + "@alice"
    assert Mentions(AGENTS).find(text) == ()
    assert Mentions(AGENTS).find("@mallory " * (MAX_SIGNS - 1) + "@alice") == ("alice",)
    assert Mentions([]).find("@alice") == ()
