"""Agents with secrets that are easy to confuse, and a check of where each of them is.

The texts of all agents are equal but for the secret at the end. Ids are beginnings of one another,
names are equal up to case or to the form of their Unicode; secrets are another agent's id, the
beginning of another's secret, or equal up to case, Unicode, or their last sign.

The check does not search for secrets: what an agent's prompt has must be its own or public, whole,
in each field. An agent is recognised by its persona.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from benchmarks.wake.witness import Received
from callwise.memory import Embedding
from callwise.safe_text import clipped
from callwise.simulator.model import embed, simulated_name
from callwise.wake import Agent, RoomMessage, WakeReport, WakeStore
from callwise.wake.note_vectors import NoteVectors, unit_vector
from callwise.wake.recall import MAX_NOTE_CHARS
from callwise.wake.store_file import decoded_text
from callwise.wake.wake_prompts import MAX_INTENT_LINE_CHARS, MAX_LINE_CHARS
from callwise.wake.wake_prompts import MAX_NOTE_CHARS as MAX_PROMPT_NOTE_CHARS

__all__ = ["QUESTION", "Planted", "Verdict", "embedding_of", "planted"]

FAMILIES = 5
"""Kinds of ids and of secrets."""

SHOWN_CROSSINGS = 5

QUESTION = "Which word is the word of the boat?"
"""A line of the chat, near to a note of every agent."""

SEARCHED_NOTES = 50
"""Notes that a search asks for: all that an agent has."""

_AGENT_FIELDS = {"persona", "name", "memory", "notes", "chat", "task"}
_INTENT_FIELDS = {"agents", "chat", "task"}

EVERY_LONG = 97
"""One of so many agents has a persona that is long before its secret."""

_ACUTE = ("\u00e9", "e\u0301")
_SUFFIXES = ("", ".", "-", "_", "..")
_NAMES = ("", "Åse", "ÅSE", "A\u030ase", "\uff21\u030ase")


class Planted(NamedTuple):
    """Agents, and the notes that each has before the first wake."""

    agents: tuple[Agent, ...]
    notes: Mapping[str, tuple[str, ...]]

    def fill(self, store: WakeStore, *, at: float) -> None:
        """Put the notes into a store, with their vectors."""
        for agent, texts in self.notes.items():
            for text in texts:
                store.notes.add(agent, text, at=at, embedding=embedding_of(text))


def embedding_of(text: str) -> Embedding:
    """Return the embedding that the server gives."""
    return Embedding(simulated_name("embed"), embed(text))


def _id(number: int) -> str:
    return f"a{number // FAMILIES}{_SUFFIXES[number % FAMILIES]}"


def _secret(kind: str, number: int, count: int) -> str:
    base, family = number // (2 * FAMILIES), number % FAMILIES
    is_second = number % (2 * FAMILIES) >= FAMILIES
    match family:
        case 0:
            return f"{kind}{number}"
        case 1:
            return _id((number + 1) % count) if kind == "word" else f"{kind}-{number}"
        case 2:
            word = f"{kind}wort{base}"
            return word.upper() if is_second else word
        case 3:
            return f"{kind}{_ACUTE[is_second]}{base}"
        case _:
            return f"{kind}{'x' * 40}{number}"


def planted(count: int, *, models: int, shift: int = 0) -> Planted:
    """Return agents with a secret each in persona, memory and two notes.

    Args:
        models: `m0`, `m1` and so on, over which they are spread.
        shift: the memory of each is that of the agent so many places later.
    """
    agents = []
    notes = {}
    for number in range(count):
        start = "The fog is back and the ferry waits. " * (60 if number % EVERY_LONG == 0 else 1)
        other = (number + shift) % count
        agent = Agent(
            id=_id(number),
            name=_NAMES[number % FAMILIES] or _id(number),
            persona=f"{start}You never tell your word, {_secret('word', number, count)}",
            model=f"m{number % models}",
            memory=(f"Your boat has a name, {_secret('boat', other, count)}",),
        )
        agents.append(agent)
        notes[agent.id] = tuple(
            f"{text}, {_secret(kind, number, count)}"
            for kind, text in (("note", "The word of the boat"), ("fog", "The word of the fog"))
        )
    return Planted(tuple(agents), notes)


class Verdict:
    """Counts of what was checked, and of what was where it must not be.

    Attributes:
        addressed: id of the agent that each message of a person is for, by its text.
        prompts: conversations of agents that were checked.
        agents: ids of those that they were of.
        intents, texts: intent calls, and texts to embed.
        replies: published messages; `messages` those of them that the log has.
        notes: notes with their vectors; `searches` of them.
        crossings: by place, in how many checks something was neither the agent's own nor public.
        examples: some of them.
    """

    def __init__(self, of: Planted) -> None:
        self._planted = of
        self._agents = {agent.id: agent for agent in of.agents}
        self._by_persona = {agent.persona: agent for agent in of.agents}
        if len(self._by_persona) != len(self._agents):
            raise ValueError("two agents have one persona")
        self._answers: defaultdict[str, set[str]] = defaultdict(set)
        self._public: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._rules: set[str] = set()
        self.addressed: dict[str, str] = {}
        self.agents: set[str] = set()
        self.prompts = self.intents = self.texts = 0
        self.replies = self.messages = self.notes = self.searches = 0
        self.crossings: Counter[str] = Counter()
        self.examples: list[str] = []

    def check(
        self,
        store: WakeStore,
        path: Path,
        received: Sequence[Received],
        reports: Sequence[WakeReport],
    ) -> None:
        """Check what a server has received, and what came of it, once wakes have ended.

        Args:
            path: of the store, whose notes and log are checked whole.
            received: since the check before.
            reports: of the wakes and messages since then.
        """
        log = store.rooms.messages("main")
        self._read_public(log)
        prompts = [self._checked_prompt(each) for each in received if each.kind == "agent"]
        for message in log:
            if message.author in self._agents:
                self.messages += 1
                self._check_reply("the log", message.author, message.text)
        for reply in (each for report in reports for each in report.replies):
            if reply.outcome == "published":
                self.replies += 1
                self._check_reply("replies", reply.agent, reply.text)
        stored = self._stored(path)
        for agent_id, notes in prompts:
            own = {clipped(note, MAX_PROMPT_NOTE_CHARS) for note in stored[agent_id]}
            self._expect(own.issuperset(notes), "prompts", f"notes of {agent_id}: {notes}")
        self._check_texts([each for each in received if each.kind == "texts"], stored)
        for each in received:
            if each.kind == "intent":
                self.intents += 1
                fields = orjson.loads(each.messages[-1]["content"])
                self._expect(fields.keys() <= _INTENT_FIELDS, "prompts", f"intent {[*fields]}")
                self._check_chat("", fields)

    def check_store(self, store: WakeStore, path: Path, *, searches: bool) -> None:
        """Check the vectors of all notes, and search those of each agent.

        Each agent's are searched for its own secret, for two of another, and for a public line.

        Args:
            path: of the store.
        """
        stored = self._stored(path, has_vectors=True)
        ids = [*stored] if searches else []
        for number, agent_id in enumerate(ids):
            other = ids[(number + 1) % len(ids)]
            for query in (
                *self._planted.notes[agent_id][:1],
                *self._planted.notes[other],
                QUESTION,
            ):
                found = store.notes.search(
                    agent_id, query, limit=SEARCHED_NOTES, embedding=embedding_of(query)
                )
                self.searches += 1
                is_own = len(found) == len(stored[agent_id]) and stored[agent_id] == set(found)
                self._expect(is_own, "retrieval", f"{agent_id}, {query}: {found}")

    def _read_public(self, log: Sequence[RoomMessage]) -> None:
        for message in log:
            agent = self._agents.get(message.author)
            name = message.author if agent is None else agent.name
            for most in (MAX_LINE_CHARS, MAX_INTENT_LINE_CHARS):
                self._public[name, clipped(message.text, most)].add(message.author)

    def _check_texts(self, received: Sequence[Received], stored: Mapping[str, set[str]]) -> None:
        """Check that a text to embed is a note of one agent, or lines of the chat."""
        notes = set().union(*stored.values())
        public = {text for _, text in self._public}
        for text in (text for each in received for text in each.messages):
            self.texts += 1
            is_known = text in notes or public.issuperset(text.split("\n"))
            self._expect(is_known, "texts to embed", text)

    def _expect(self, is_so: bool, place: str, what: str) -> None:
        if not is_so:
            self.crossings[place] += 1
            if len(self.examples) < SHOWN_CROSSINGS:
                self.examples.append(f"{place}: {what[:400]}")

    def _checked_prompt(self, received: Received) -> tuple[str, list[str]]:
        """Check all of a prompt but its notes; return the agent and these."""
        rules, material = received.messages
        self._rules.add(rules["content"])
        fields = orjson.loads(material["content"])
        agent = self._by_persona.get(fields["persona"])
        self.prompts += 1
        if agent is None or len(self._rules) > 1 or not fields.keys() <= _AGENT_FIELDS:
            self._expect(False, "prompts", f"{fields}")
            return next(iter(self._agents)), []
        self.agents.add(agent.id)
        self._answers[agent.id].add(received.answer)
        task = fields["task"]
        is_own = (fields["name"], fields["memory"]) == (agent.name, [*agent.memory])
        if task["event"] == "message":
            is_own = is_own and self.addressed.get(task["message"]) == agent.id
        self._expect(is_own, "prompts", f"{agent.id}: {fields}")
        self._check_chat(agent.id, fields)
        return agent.id, fields.get("notes", [])

    def _check_chat(self, own: str, fields: Mapping[str, Any]) -> None:
        for line in fields.get("chat", ()):
            (kind,) = line.keys() - {"from"}
            authors = self._public.get((line["from"], line[kind]), set())
            others = authors - {own}
            is_so = {
                "me": own in authors,
                "agent": bool(others & self._agents.keys()),
                "user": bool(others - self._agents.keys()),
            }
            self._expect(is_so[kind], "prompts", f"chat of {own or 'the intent'}: {line}")

    def _check_reply(self, place: str, agent: str, text: str) -> None:
        self._expect(text in self._answers[agent], place, f"{agent}: {text}")

    def _stored(self, path: Path, *, has_vectors: bool = False) -> dict[str, set[str]]:
        """Return the notes of each agent, each checked, and its vector too where that is asked."""
        stored: dict[str, set[str]] = {agent_id: set() for agent_id in self._agents}
        lines = {text for _, text in self._public}
        with closing(sqlite3.connect(path)) as connection:
            for agent_id in self._agents:
                rows = connection.execute(
                    "SELECT text FROM agent_notes WHERE agent = ? ORDER BY place", (agent_id,)
                )
                texts = [decoded_text(text) for (text,) in rows]
                vectors = NoteVectors.none().with_new(connection, agent_id)
                planted_ones = self._planted.notes[agent_id]
                answers = {clipped(text, MAX_NOTE_CHARS) for text in self._answers[agent_id]}
                for place, text in enumerate(texts):
                    cause, _, reply = text.rpartition("I wrote: ")
                    said = cause.partition(" wrote: ")[2].strip()
                    is_own = text in planted_ones or (reply in answers and said in {"", *lines})
                    self._expect(is_own, "stored notes", f"{agent_id}: {text}")
                    if not has_vectors:
                        continue
                    self.notes += 1
                    unit = unit_vector(embedding_of(text))
                    has_own = place < len(vectors.places) and np.allclose(
                        vectors.matrix[place], unit, atol=1e-6
                    )
                    self._expect(has_own, "stored vectors", f"{agent_id}: {text}")
                stored[agent_id] = set(texts)
        return stored
