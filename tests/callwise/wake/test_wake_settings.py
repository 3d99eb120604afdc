"""Settings of awake agents: what a file may have, and errors that list all of it."""

from itertools import pairwise

import pytest

from callwise.calls.errors import CallwiseError, ConfigError, FormatError
from callwise.knobs.presets import MAX_LARGE_CHARS
from callwise.wake import Agent, WakeSettings, read_wake_settings


def read(tmp_path, text, **given):
    """Return the settings of a file with a text."""
    path = tmp_path / "agents.yaml"
    path.write_text(text, encoding="utf-8")
    return read_wake_settings(path, environ={}, **given)


def test_a_file_lists_agents_in_order(tmp_path):
    """Overrides are laid over it."""
    settings = read(
        tmp_path,
        "models: {m: {}}\n"
        "agents:\n"
        "  - {id: alice, persona: A sailor., model: m, memory: [Her boat is red.]}\n"
        "  - {id: bob-2.x_y, name: 阿宝, persona: A cook., model: m}\n",
        overrides=["wake.variant=mixed"],
    )
    assert settings.agents == (
        Agent(id="alice", persona="A sailor.", model="m", memory=("Her boat is red.",)),
        Agent(id="bob-2.x_y", name="阿宝", persona="A cook.", model="m"),
    )
    assert settings.wake.variant == "mixed"


def test_an_error_lists_each_bad_agent(tmp_path):
    """All of them in one error, by number; no value can forge a line."""
    with pytest.raises(ConfigError) as caught:
        read(
            tmp_path,
            "models: {m: {}}\n"
            "agents:\n"
            "  - {id: fine, persona: p, model: m}\n"
            "  - {id: 'a/../b', persona: p, model: m}\n"
            "  - {id: carol, persona: '  ', model: m}\n"
            "  - {id: dan, persona: p}\n"
            '  - {id: "x\\nERROR forged", persona: p, model: m}\n'
            "  - text\n"
            "  - {id: eve, persona: p, model: m, colour: red}\n"
            '  - {id: fay, name: "F\\nay", persona: p, model: m}\n',
        )
    lines = str(caught.value).splitlines()
    for part in ("1.id", "2.persona", "3.model", "4.id", "agents.5", "6.colour", "7.name"):
        assert any(part in line for line in lines), (part, lines)
    assert len(lines) == 7


@pytest.mark.parametrize(
    "text",
    ["", "agents:", "agents: {a: b}", "- id: alice", "a: [", "!!set {}"],
)
def test_a_file_without_a_list_of_agents_is_refused(tmp_path, text):
    """It is an error of ours, which names the file or the knob."""
    with pytest.raises(CallwiseError, match=r"agents"):
        read(tmp_path, text)


def test_a_file_may_list_none(tmp_path):
    """An empty list is a list."""
    assert read(tmp_path, "agents: []").agents == ()


def test_a_file_that_is_no_text_is_refused(tmp_path):
    """It is not read as settings."""
    path = tmp_path / "agents.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CallwiseError, match=r"agents\.yaml"):
        read_wake_settings(path, environ={})


def test_models_and_authors_are_checked_against_the_agents():
    """Without a file too."""
    agent = {"id": "ann", "name": "Ann", "persona": "p", "model": "m"}
    with pytest.raises(ValueError, match="'m' \\(of ann\\)"):
        WakeSettings(agents=[agent])
    with pytest.raises(ValueError, match="author 'ANN' is an agent"):
        WakeSettings(models={"m": {}}, agents=[agent], messages=[{"author": "ANN", "text": "x"}])


@pytest.mark.parametrize("to", ["nobody-here", "Sam", "ann x"])
def test_a_message_for_no_agent_is_refused_at_the_start(to):
    """Also one for a name that two agents have."""
    agents = [
        {"id": name, "name": shown, "persona": "p", "model": "m"}
        for name, shown in [("ann", "Ann"), ("s1", "Sam"), ("s2", "Sam")]
    ]
    given = {"models": {"m": {}}, "agents": agents}
    with pytest.raises(ValueError, match=f"'{to}', which is no agent"):
        WakeSettings(**given, messages=[{"author": "Mia", "text": "x", "to": to}])
    assert WakeSettings(**given, messages=[{"author": "Mia", "text": "x", "to": " ANN "}])


def test_a_name_that_agents_share_is_no_persons_name():
    """Others could take such a person for one of them."""
    agents = [{"id": name, "name": "Sam", "persona": "p", "model": "m"} for name in ("s1", "s2")]
    with pytest.raises(ValueError, match="author 'sam' is an agent"):
        WakeSettings(models={"m": {}}, agents=agents, messages=[{"author": "sam", "text": "x"}])


def test_a_file_may_list_thousands_of_agents(tmp_path):
    """Of more than a million characters; aliases still may not expand without end."""
    agents = "".join(
        f"- {{id: a{number}, persona: '{'p*' * 9_000}', model: m}}\n" for number in range(60)
    )
    head = "models: {m: {}}\nagents:\n"
    assert len(read(tmp_path, head + agents).agents) == 60
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n"
        for before, name in pairwise("abcdefgh")
    )
    with pytest.raises(FormatError, match="expand to more than 2,000,000 values"):
        read(tmp_path, bomb + head + agents)


def test_a_longer_file_is_refused_with_its_size(tmp_path):
    """As it is, and not as far as it was read."""
    path = tmp_path / "agents.yaml"
    path.write_bytes(b"#" * (MAX_LARGE_CHARS + 12_345))
    with pytest.raises(FormatError, match="64,012,345 bytes, and at most 64,000,000 characters"):
        read_wake_settings(path, environ={})


def test_of_many_problems_the_first_are_listed():
    """And the others are counted."""
    agents = [{"id": "a", "persona": "p", "model": f"m{number}"} for number in range(4_000)]
    with pytest.raises(
        ConfigError, match=r"another one has the id 'a'\. Change one; and 3,979 more"
    ):
        WakeSettings(agents=agents)
    agents = [{**agent, "id": f"a{number}"} for number, agent in enumerate(agents)]
    with pytest.raises(ValueError, match=r"'m19' \(of a19\), and 3,980 more; it has none"):
        WakeSettings(agents=agents)
