"""The measurement of planted secrets: with fewer agents, and each kind of crossing is found."""

import orjson
import pytest

from benchmarks.wake import secrets
from benchmarks.wake.planted import Verdict, embedding_of, planted
from benchmarks.wake.witness import Received, echo_of
from callwise.calls.errors import ConfigError
from callwise.wake import WakeReport, WakeStore
from callwise.wake.agents import check_agents
from callwise.wake.wake_prompts import agent_messages
from callwise.wake.wake_report import AgentReply

OF = planted(40, models=2)
ONE, OTHER = OF.agents[:2]


@pytest.mark.slow
def test_a_thousand_agents_have_no_crossing():
    """Over HTTP, with the caches of answers and embeddings on, and answers from both tiers."""
    figures = secrets.measure(1_000).figures
    assert [figure.what for figure in figures if figure.is_met is False] == []
    assert sum(figure.is_met is True for figure in figures) == 8


@pytest.fixture
def store(tmp_path):
    """Return a store with the planted notes."""
    with WakeStore(tmp_path / "wake.sqlite") as opened:
        OF.fill(opened, at=1.0)
        yield opened


def prompt(agent=ONE, **changes):
    """Return a conversation of an agent with its answer, its fields changed."""
    messages = agent_messages(
        agent, notes=OF.notes[agent.id], chat=[], agents={}, task={"event": "hour"}
    )
    rules, material = ({"role": each.role, "content": each.content} for each in messages)
    material["content"] = orjson.dumps(orjson.loads(material["content"]) | changes).decode()
    return Received("agent", [rules, material], echo_of([rules, material]))


def crossings(store, tmp_path, received, *replies):
    """Return the crossings that are found in a prompt and in replies."""
    verdict = Verdict(OF)
    ends = [AgentReply(agent.id, "published", text, "m", "") for agent, text in replies]
    report = WakeReport(0.0, "answered", (), replies=tuple(ends))
    verdict.check(store, tmp_path / "wake.sqlite", received, [report])
    verdict.check_store(store, tmp_path / "wake.sqlite", searches=False)
    return verdict.crossings


def test_a_prompt_with_what_is_its_own_has_none(store, tmp_path):
    """And its reply, in the report and in the log."""
    own = prompt()
    assert crossings(store, tmp_path, [own, prompt(OTHER)], (ONE, own.answer)) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"memory": list(OTHER.memory)},
        {"name": OTHER.name},
        {"notes": list(OF.notes[OTHER.id])},
        {"notes": [*OF.notes[ONE.id], OF.notes[OTHER.id][0]]},
        {"persona": f"{ONE.persona} {OTHER.persona}"},
        {"chat": [{"from": OTHER.name, "agent": OF.notes[OTHER.id][0]}]},
        {"task": {"event": "message", "message": "one for another agent"}},
        {"secret": "x"},
    ],
)
def test_anything_of_another_agent_in_a_prompt_is_found(store, tmp_path, changes):
    """In each field."""
    assert set(crossings(store, tmp_path, [prompt(**changes)])) == {"prompts"}


def test_another_agents_reply_is_found(store, tmp_path):
    """Although that agent was asked too."""
    own, others = prompt(), prompt(OTHER)
    found = crossings(store, tmp_path, [own, others], (ONE, others.answer))
    assert found == {"replies": 1}


def test_another_agents_text_vector_note_and_message_are_found(store, tmp_path):
    """In an embedding request, in the store, and in the chat's log."""
    texts = Received("texts", [ONE.persona], "")
    assert crossings(store, tmp_path, [texts]) == {"texts to embed": 1}
    note = OF.notes[ONE.id][0]
    store.notes.add(ONE.id, note, at=2.0, embedding=embedding_of(OF.notes[OTHER.id][0]))
    assert crossings(store, tmp_path, []) == {"stored vectors": 1}
    store.notes.add(OTHER.id, note, at=2.0, embedding=embedding_of(note))
    assert crossings(store, tmp_path, [])["stored notes"] == 2  # once in each of two readings
    store.rooms.say("main", ONE.id, prompt(OTHER).answer, id="x", at=1.0)
    assert crossings(store, tmp_path, [prompt(OTHER)])["the log"] == 1


def test_a_search_that_finds_a_note_of_another_agent_is_found(store, tmp_path, monkeypatch):
    """Each agent's searches have to find all of its notes, and no other."""
    verdict = Verdict(OF)
    verdict.check_store(store, tmp_path / "wake.sqlite", searches=True)
    assert (verdict.searches, verdict.crossings) == (40 * 4, {})
    right = store.notes.search

    def wrong(agent, query, **options):
        return right(OTHER.id if agent == ONE.id else agent, query, **options)

    monkeypatch.setattr(store.notes, "search", wrong)
    verdict.check_store(store, tmp_path / "wake.sqlite", searches=True)
    assert verdict.crossings == {"retrieval": 4}


def test_the_agents_are_easy_to_confuse_and_ids_that_differ_in_case_are_refused():
    """Ids that are beginnings of others, equal names, secrets that are ids."""
    ids = {agent.id for agent in OF.agents}
    assert {"a1", "a1.", "a1..", "a1-", "a1_"} <= ids
    assert len({agent.name for agent in OF.agents}) < len(ids)
    assert any(agent.persona.rpartition(", ")[2] in ids - {agent.id} for agent in OF.agents)
    with pytest.raises(ConfigError, match="A1"):
        check_agents([*OF.agents, ONE.model_copy(update={"id": "A1"})])
