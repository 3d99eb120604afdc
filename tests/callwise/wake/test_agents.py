"""Agents: their values, and how a text mentions them."""

import pytest
from pydantic import ValidationError

from callwise.calls.errors import ConfigError
from callwise.wake import Agent
from callwise.wake.agents import MAX_SIGNS, Mentions, check_agents


def test_a_name_is_the_id_where_none_is_given():
    """And the memory is empty."""
    agent = Agent(id="alice", persona="A sailor.", model="dsv3")
    assert (agent.name, agent.memory) == ("alice", ())
    assert Agent(id="bob", name="阿宝", persona="A cook.", model="m").name == "阿宝"


def test_ids_that_differ_in_case_only_are_refused():
    """Each of them is listed."""
    agents = [Agent(id=name, persona="p", model="m") for name in ("ann", "ben", "ANN", "Ben")]
    with pytest.raises(ConfigError, match=r"'ANN'.*'ann'.*'Ben'.*'ben'"):
        check_agents(agents)
    assert check_agents(agents[:2]) == tuple(agents[:2])


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
        {"name": "\u200da"},
        {"name": "a\u200c"},
        {"name": "\u200d"},
        {"name": "a\u200bb"},
        {"name": "a\u202eb"},
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


@pytest.mark.parametrize("name", ["👩\u200d👩\u200d👧", "علی\u200cرضا", "क्\u200dष"])
def test_names_have_the_joiners_of_emoji_and_scripts(name):
    """They are mentioned with them, and no person is called so, with or without."""
    mentions = Mentions([Agent(id="a", name=name, persona="p", model="m")])
    assert mentions.find(f"hi @{name}!") == ("a",)
    assert mentions.agent_of(name) == "a"
    assert mentions.is_name(name.replace("\u200c", "").replace("\u200d", ""))
    assert Mentions(AGENTS).is_name("Al\u200dice")
    assert Mentions(AGENTS).agent_of("Al\u200dice") is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("@Иван, привет", ["ivan"]),
        ("@Ивановна, привет", []),
        ("@José!", ["jose"]),
        ("@Josée", []),
        ("@Jos\u00e9\u0323", []),
        ("@Ana\u0301", []),
        ("@Ana²", []),
        ("@Ana٣", []),
        ("@Ana你好 @AnaさんさんさんX", ["ana"]),
        ("@민수야", ["minsu"]),
        ("@דנה", ["dana"]),
        ("@דנהלה", []),
        ("@สมชายครับ", ["somchai"]),
        ("@Ana’s @Ana\u2026", ["ana"]),
        ("@Ana_ @Ana-Maria", []),
        ("@Ana😀", ["ana"]),
    ],
)
def test_a_mention_ends_where_a_word_ends_in_any_script(text, found):
    """Letters, digits and marks go on with it; words of scripts without spaces do not."""
    names = {
        "ivan": "Иван",
        "jose": "José",
        "ana": "Ana",
        "minsu": "민수",
        "dana": "דנה",
        "somchai": "สมชาย",
    }
    agents = [Agent(id=key, name=name, persona="p", model="m") for key, name in names.items()]
    assert list(Mentions(agents).find(text)) == found


def test_signs_without_end_are_not_read():
    """A message of a megabyte of them takes no longer than one of some hundred."""
    text = "@mallory " * 200_000 + "@alice"
    assert Mentions(AGENTS).find(text) == ()
    assert Mentions(AGENTS).find("@mallory " * (MAX_SIGNS - 1) + "@alice") == ("alice",)
    assert Mentions([]).find("@alice") == ()
