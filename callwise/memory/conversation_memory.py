"""Memory of conversations: load before a turn, retrieve during it, commit after it.

All turns of a user are read once per process and indexed; after that a turn reads one small
state, to notice commits of other processes, and only the new turns. Versions count turns,
so a missing one is noticed, and a commit on an old version is refused and not merged.

Invariant: an index has the turns 1 to its version, whole and in order, and adding a turn is
one step between awaits. So tasks of one event loop may share a memory; threads may not.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from callwise.calls.errors import ConfigError
from callwise.calls.kinds import KINDS, WorkKind
from callwise.memory.memory_errors import MemoryConflict, StoreDamaged, StoreFailed
from callwise.memory.retrieval import TurnIndex
from callwise.memory.stored_records import (
    AgentUser,
    ConversationSummary,
    Embedding,
    MemorySnapshot,
    Note,
    RecalledTurn,
    TranscriptEntry,
    TurnCommit,
)
from callwise.memory.stored_turns import (
    StorageBackend,
    StoredTurn,
    embedding_of,
    entry_of,
    json_copy,
    notes_of,
    stored_turn,
)

__all__ = [
    "OWNERS_FIELD",
    "CommitResult",
    "ConversationMemory",
    "UserIndex",
    "next_state",
    "version_of",
]

OWNERS_FIELD = "owners"
"""A state without this field is of an older release, which named anonymous users."""

_MAX_INDEXED_CHARS = 10_000
"""Length of the beginning of a text that is indexed. A very long text is stored whole, but
indexing all of it would block every other conversation."""


_Question = tuple[str, int, int, Embedding | None]
"""A question, how many turns it asks for, how many last ones it leaves out, and its vector."""


class _Found(NamedTuple):
    """The result of a retrieval from a whole index, and when it was found."""

    found_at_seconds: float
    recalled: tuple[RecalledTurn, ...]


@dataclass(slots=True)
class UserIndex:
    """Turns 1 to `version`, whole and in order.

    `state` is the one that the last turn made; `notes` are of each turn; `version_of_turn` is
    by conversation and turn; `results` are of this version.
    """

    state: Mapping[str, Any] = field(default_factory=dict)
    entries: list[TranscriptEntry] = field(default_factory=list)
    notes: list[tuple[Note, ...]] = field(default_factory=list)
    index: TurnIndex = field(default_factory=TurnIndex)
    version_of_turn: dict[tuple[str, int], int] = field(default_factory=dict)
    results: dict[_Question, _Found] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """The number of known turns."""
        return len(self.entries)

    def add(self, turn: StoredTurn) -> None:
        """Add the next turn, which ends the results that were kept; a known one is ignored."""
        if turn.version <= self.version:
            return
        self.results.clear()
        entry, notes = entry_of(turn), notes_of(turn)
        texts = (entry.user_text, entry.reply, *(note.text for note in notes))
        self.index.add(
            "\n".join(text[:_MAX_INDEXED_CHARS] for text in texts),
            conversation_id=entry.conversation_id,
            time=entry.time,
            embedding=embedding_of(turn),
        )
        self.entries.append(entry)
        self.notes.append(notes)
        self.version_of_turn.setdefault((entry.conversation_id, entry.turn), turn.version)


def version_of(state: Mapping[str, Any]) -> int:
    """Return a stored state's version; 0 for an empty one.

    Raises:
        StoreDamaged: when it is no number from 0.
    """
    version = state.get("version", 0)
    if not isinstance(version, int) or version < 0:
        raise StoreDamaged(f"a stored state has version={version!r} where a count was expected")
    return version


def next_state(state: Mapping[str, Any], commit: TurnCommit, version: int) -> dict[str, Any]:
    """Return the state that a commit makes, with the one before it inside."""
    previous = {name: content for name, content in state.items() if name != "previous"}
    changed: dict[str, Mapping[str, Any] | None] = {
        "profile": commit.profile,
        "relationship": commit.relationship,
        "summary": None,
    }
    if commit.summary is not None:
        changed["summary"] = {"text": commit.summary, "version": version}
    return {
        "version": version,
        OWNERS_FIELD: "typed",
        "last_turn": [commit.conversation_id, commit.turn],
        **{name: previous.get(name) if new is None else dict(new) for name, new in changed.items()},
        "previous": previous,
    }


_TURNS_WITHOUT_BREAK = 32
"""Turns that are indexed before other tasks may run: about 5 ms."""


class CommitResult(NamedTuple):
    """The version that the turn made, and whether this commit made it or an earlier one."""

    version: int
    was_new: bool


class ConversationMemory:
    """The memory of agents about users, stored in a backend.

    Args:
        backend: stores turns and states.
        max_users: most users whose indexes stay in memory; the longest unused is dropped
            first, and read again when it is needed. At least 1.
        max_results: most results of retrieval that are kept for a user, each until that user's
            next turn is written; 0 keeps none.
        result_seconds: longest time for which one is kept.
        now: returns seconds of any clock.
    """

    def __init__(
        self,
        backend: StorageBackend,
        *,
        max_users: int = 256,
        max_results: int = 0,
        result_seconds: float = KINDS[WorkKind.VECTOR_SEARCH].cache_ttl_seconds,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_users < 1:
            raise ConfigError(f"max_users is {max_users}. Use a number of at least 1")
        self._backend = backend
        self._max_users = max_users
        self._max_results = max_results
        self._result_seconds = result_seconds
        self._now = now
        self._result_hits = self._result_misses = 0
        self._known: OrderedDict[AgentUser, UserIndex] = OrderedDict()

    async def load(
        self,
        agent_user: AgentUser,
        *,
        max_turns: int = 8,
        max_notes: int = 50,
        before_turn: tuple[str, int] | None = None,
    ) -> MemorySnapshot:
        """Return the memory of an agent about a user.

        Args:
            agent_user: the owner of the memory.
            max_turns: most of the last turns; at least 0.
            max_notes: most of the last notes; at least 0.
            before_turn: conversation and number of the turn that is about to run. If it was
                committed last (a run that was interrupted right after the commit is
                repeated), the snapshot that it started from is returned.

        Raises:
            StoreFailed: when the store cannot be read.
        """
        known = await self._refreshed(agent_user)
        state, version = self._start(agent_user, known, before_turn)
        recent_notes: list[Note] = []
        for notes in reversed(known.notes[:version]):
            if len(recent_notes) >= max_notes:
                break
            recent_notes[:0] = notes
        summary = state.get("summary")
        return MemorySnapshot(
            agent_user=agent_user,
            version=version,
            profile=json_copy(state.get("profile") or {}),
            relationship=json_copy(state.get("relationship") or {}),
            transcript=tuple(known.entries[max(version - max_turns, 0) : version]),
            summary=ConversationSummary(summary["text"], summary["version"]) if summary else None,
            notes=tuple(recent_notes[max(len(recent_notes) - max_notes, 0) :]),
            names_anonymous=version > 0 and OWNERS_FIELD not in state,
        )

    def _start(
        self,
        agent_user: AgentUser,  # noqa: ARG002 - for subclasses
        known: UserIndex,
        before_turn: tuple[str, int] | None,
    ) -> tuple[Mapping[str, Any], int]:
        """Return the state and the version from which a turn starts."""
        if before_turn is not None and known.version_of_turn.get(before_turn) == known.version:
            return known.state.get("previous") or {}, known.version - 1
        return known.state, known.version

    async def retrieve(
        self,
        snapshot: MemorySnapshot,
        query: str,
        k: int,
        *,
        embedding: Embedding | None = None,
        skip_recent: int = 0,
    ) -> list[RecalledTurn]:
        """Return at most k turns for a question, most relevant first.

        Reads no disk while the user's index is in memory. Later commits than the snapshot
        have no effect, so a turn that is repeated recalls the same.

        Args:
            snapshot: as `load` returned it.
            query: the question; usually the user's message.
            k: most turns; 0 finds nothing.
            embedding: the question's vector, to fuse in a dense ranking.
            skip_recent: number of last turns to leave out because the prompt has them
                already; at least 0.

        Raises:
            StoreFailed: when the store cannot be read.
        """
        known = self._known.get(snapshot.agent_user)
        if known is None or known.version < snapshot.version:
            known = await self._refreshed(snapshot.agent_user)
        question = (query, k, skip_recent, embedding)
        keeps = self._max_results > 0 and known.version == snapshot.version
        kept = self._kept(known, question) if keeps else None
        if kept is not None:
            return list(kept)
        upto = max(snapshot.version - skip_recent, 0)
        hits = known.index.search(query, k, upto=upto, embedding=embedding)
        recalled = [
            RecalledTurn(known.entries[hit.position], known.notes[hit.position], hit.relevance)
            for hit in hits
        ]
        if keeps:
            known.results[question] = _Found(self._now(), tuple(recalled))
            if len(known.results) > self._max_results:
                del known.results[next(iter(known.results))]
        return recalled

    def statistics(self) -> Mapping[str, int]:
        """Return how many retrievals had a result that was kept, and how many could have."""
        return {"result_hits": self._result_hits, "result_misses": self._result_misses}

    def _kept(self, known: UserIndex, question: _Question) -> tuple[RecalledTurn, ...] | None:
        """Return a result that was kept and is not over; the latest used is dropped last."""
        found = known.results.pop(question, None)
        age_seconds = 0.0 if found is None else self._now() - found.found_at_seconds
        if found is None or not 0 <= age_seconds < self._result_seconds:
            self._result_misses += 1
            return None
        self._result_hits += 1
        known.results[question] = found
        return found.recalled

    async def commit(self, commit: TurnCommit) -> CommitResult:
        """Store a turn and all that it changes, all or nothing.

        The same turn of the same conversation is stored once: a repeated commit is no error
        and changes nothing, whatever its content.

        Raises:
            MemoryConflict: when another turn was committed since the snapshot.
            StoreFailed: when it could not be stored; nothing was committed.
        """
        agent_user, expected = commit.agent_user, commit.expected_version
        turn = (commit.conversation_id, commit.turn)
        known = self._known.get(agent_user)
        if known is None or known.version != expected:
            known = await self._refreshed(agent_user)
        if turn in known.version_of_turn:
            return CommitResult(known.version_of_turn[turn], was_new=False)
        if known.version != expected:
            raise MemoryConflict(agent_user, expected, known.version)
        if commit.embedding is not None:
            known.index.check(commit.embedding)
        stored = stored_turn(commit, expected + 1)
        state = json_copy(next_state(known.state, commit, stored.version))
        try:
            await self._backend.append(agent_user, stored, state)
        except MemoryConflict:
            known = await self._refreshed(agent_user)
            if turn in known.version_of_turn:
                return CommitResult(known.version_of_turn[turn], was_new=False)
            raise
        if known.version == expected:
            known.add(stored)
            known.state = state
        # The index may have been dropped and read again meanwhile, without this turn.
        current = self._known.get(agent_user)
        if current is not None and current.version < stored.version:
            current.results.clear()
        return CommitResult(stored.version, was_new=True)

    async def _refreshed(self, agent_user: AgentUser) -> UserIndex:
        """Return a user's index after reading new turns from the store.

        Raises:
            StoreFailed: when the store cannot be read, or has lost turns that this process
                committed or read. The next call reads everything again.
        """
        state = await self._backend.state(agent_user) or {}
        version = version_of(state)
        known = self._known.setdefault(agent_user, UserIndex())
        if version == known.version:
            self._check_last(agent_user, known, state.get("last_turn"))
            known.state = state
        elif version > known.version:
            await self._read_new(agent_user, known, version)
            if known.version == version:
                known.state = state
        elif version_of(await self._backend.state(agent_user) or {}) < known.version:
            # Read twice, since a commit of our own may have overtaken the first reading.
            self._forget(agent_user, "has fewer turns than were committed or read before")
        self._known[agent_user] = known
        self._known.move_to_end(agent_user)
        while len(self._known) > self._max_users:
            self._known.popitem(last=False)
        return known

    async def _read_new(self, agent_user: AgentUser, known: UserIndex, version: int) -> None:
        """Add the turns up to a version, after checking that the last known one is unchanged."""
        after = known.version
        turns = await self._backend.turns(agent_user, after=max(after - 1, 0), upto=version)
        if after:
            seen = turns[0].entry
            self._check_last(agent_user, known, [seen["conversation_id"], seen["turn"]], after)
        for place, turn in enumerate(turns):
            known.add(turn)
            if place % _TURNS_WITHOUT_BREAK == _TURNS_WITHOUT_BREAK - 1:
                await asyncio.sleep(0)  # a turn that another task adds meanwhile is skipped

    def _check_last(
        self, agent_user: AgentUser, known: UserIndex, stored: object, version: int | None = None
    ) -> None:
        """Raise if the store has another turn at a version than this process has read."""
        version = known.version if version is None else version
        if version == 0:
            return
        entry = known.entries[version - 1]
        if stored != [entry.conversation_id, entry.turn]:
            self._forget(
                agent_user,
                f"has {stored} as its turn {version}, where turn {entry.turn} of "
                f"{entry.conversation_id!r} was: another process has overwritten it",
            )

    def _forget(self, agent_user: AgentUser, problem: str) -> None:
        self._known.pop(agent_user, None)
        raise StoreFailed(f"the memory of {agent_user} {problem}")
