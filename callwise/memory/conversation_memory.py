"""Memory of conversations: load before a turn, retrieve during it, commit after it.

All turns of a user are read once per process and indexed; after that a turn reads one small
state, to notice commits of other processes, and only the new turns. Versions count turns,
so a missing one is noticed, and a commit on an old version is refused and not merged.

Invariant: an index has the turns 1 to its version, whole and in order, and adding a turn is
one step between awaits. So tasks of one event loop may share a memory; threads may not.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from callwise.calls.errors import ConfigError
from callwise.memory.memory_errors import MemoryConflict, StoreDamaged, StoreFailed
from callwise.memory.records import (
    AgentUser,
    ConversationSummary,
    Embedding,
    MemorySnapshot,
    Note,
    RecalledTurn,
    TranscriptEntry,
    TurnCommit,
)
from callwise.memory.retrieval import TurnIndex
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
    "snapshot_of",
    "version_of",
]

OWNERS_FIELD = "owners"
"""Names the field of a state by which it is told that anonymous users have no name in it."""

_MAX_INDEXED_CHARS = 10_000
"""How much of a text it can be found by. A pasted book is kept whole, and is found by
its beginning: indexing all of it would hold up every other conversation.
"""


@dataclass(slots=True)
class UserIndex:
    """Turns 1 to `version`, whole and in order.

    Args:
        state: as it was last read or written; the one that the last turn made.
        entries: the turns.
        notes: each turn's notes.
        index: to find turns by.
        version_of_turn: which version a conversation's turn made.
    """

    state: Mapping[str, Any] = field(default_factory=dict)
    entries: list[TranscriptEntry] = field(default_factory=list)
    notes: list[tuple[Note, ...]] = field(default_factory=list)
    index: TurnIndex = field(default_factory=TurnIndex)
    version_of_turn: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """How many turns are known."""
        return len(self.entries)

    def add(self, turn: StoredTurn) -> None:
        """Take in the next turn; one that is known already is left as it is."""
        if turn.version <= self.version:
            return
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
        StoreDamaged: when it is no count.
    """
    version = state.get("version", 0)
    if not isinstance(version, int) or version < 0:
        raise StoreDamaged(f"a stored state has version={version!r} where a count was expected")
    return version


def next_state(state: Mapping[str, Any], commit: TurnCommit, version: int) -> dict[str, Any]:
    """Return the state that a commit makes, with the one before it inside."""
    previous = {name: content for name, content in state.items() if name != "previous"}
    following = {
        "version": version,
        OWNERS_FIELD: "typed",
        "last_turn": [commit.conversation_id, commit.turn],
        "profile": previous.get("profile"),
        "relationship": previous.get("relationship"),
        "summary": previous.get("summary"),
        "previous": previous,
    }
    if commit.profile is not None:
        following["profile"] = dict(commit.profile)
    if commit.relationship is not None:
        following["relationship"] = dict(commit.relationship)
    if commit.summary is not None:
        following["summary"] = {"text": commit.summary, "version": version}
    return following


_TURNS_AT_ONCE = 32
"""Turns that are indexed without letting others run: about 5 ms."""


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What a commit did.

    Args:
        version: the memory's version that the turn made.
        was_new: False when the turn had been committed before; then nothing changed.
    """

    version: int
    was_new: bool


def snapshot_of(
    known: UserIndex,
    agent_user: AgentUser,
    state: Mapping[str, Any],
    version: int,
    *,
    max_turns: int,
    max_notes: int,
) -> MemorySnapshot:
    """Return what was remembered when a version was the latest one.

    Args:
        known: at least the turns up to `version`.
        agent_user: whose memory, about whom.
        state: the one that the turn of `version` made.
        version: turns that it stands on; 0 for a stranger.
        max_turns: how many of the last turns; at least 0.
        max_notes: how many of the last notes; at least 0.
    """
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


class ConversationMemory:
    """What agents remember about users.

    Args:
        backend: where it is stored.
        max_users: how many users' indexes stay in memory; the longest unused goes
            first and is read again when it is wanted. At least 1.
    """

    def __init__(self, backend: StorageBackend, *, max_users: int = 256) -> None:
        if max_users < 1:
            raise ConfigError(f"max_users is at least 1, got {max_users}")
        self._backend = backend
        self._max_users = max_users
        self._known: OrderedDict[AgentUser, UserIndex] = OrderedDict()

    async def load(
        self,
        agent_user: AgentUser,
        *,
        max_turns: int = 8,
        max_notes: int = 50,
        before_turn: tuple[str, int] | None = None,
    ) -> MemorySnapshot:
        """Return what is remembered.

        Args:
            agent_user: whose memory, about whom.
            max_turns: how many of the last turns; at least 0.
            max_notes: how many of the last notes; at least 0.
            before_turn: conversation and number of the turn that is about to run.
                If it is the very turn that was committed last (a run that was cut
                off right after the commit is run again), what is returned is what
                it saw the first time.

        Raises:
            StoreFailed: when the store cannot be read.
        """
        known = await self._refreshed(agent_user)
        state, version = known.state, known.version
        if before_turn is not None and known.version_of_turn.get(before_turn) == version:
            state, version = state.get("previous") or {}, version - 1
        return snapshot_of(
            known, agent_user, state, version, max_turns=max_turns, max_notes=max_notes
        )

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

        Touches no disk while the user's index is in memory. What was committed after
        the snapshot has no part in it, so a turn that is run again recalls the same.

        Args:
            snapshot: as `load` returned it.
            query: the question; usually what the user just said.
            k: how many; 0 finds nothing.
            embedding: the question's vector, to fuse in a dense ranking.
            skip_recent: how many of the last turns to leave out, since they stand in
                the prompt already; at least 0.

        Raises:
            StoreFailed: when the store cannot be read.
        """
        known = self._known.get(snapshot.agent_user)
        if known is None or known.version < snapshot.version:
            known = await self._refreshed(snapshot.agent_user)
        upto = max(snapshot.version - skip_recent, 0)
        hits = known.index.search(query, k, upto=upto, embedding=embedding)
        return [
            RecalledTurn(known.entries[hit.position], known.notes[hit.position], hit.relevance)
            for hit in hits
        ]

    async def commit(self, commit: TurnCommit) -> CommitResult:
        """Keep a turn and all that it changes, all or nothing.

        The same turn of the same conversation is kept once: again is no error and
        changes nothing, whatever it holds.

        Raises:
            MemoryConflict: when another turn was committed since the snapshot.
            StoreFailed: when the store could not keep it; nothing was committed.
        """
        agent_user, turn = commit.agent_user, (commit.conversation_id, commit.turn)
        known = self._known.get(agent_user)
        if known is None:
            known = await self._refreshed(agent_user)
        if turn in known.version_of_turn:
            return CommitResult(known.version_of_turn[turn], was_new=False)
        if commit.embedding is not None:
            known.index.check(commit.embedding)
        kept = stored_turn(commit, commit.expected_version + 1)
        state = json_copy(next_state(known.state, commit, kept.version))
        conflict = await self._keep(known, commit, kept, state)
        if conflict is not None:
            known = await self._refreshed(agent_user)
            if turn in known.version_of_turn:
                return CommitResult(known.version_of_turn[turn], was_new=False)
            raise conflict
        if known.version == commit.expected_version:
            known.add(kept)
            known.state = state
        return CommitResult(kept.version, was_new=True)

    async def _keep(
        self, known: UserIndex, commit: TurnCommit, kept: StoredTurn, state: Mapping[str, Any]
    ) -> MemoryConflict | None:
        """Keep a turn, and return what is in the way if something is."""
        agent_user, expected = commit.agent_user, commit.expected_version
        if known.version != expected:
            return MemoryConflict(agent_user.agent_id, agent_user.user_id, expected, known.version)
        try:
            await self._backend.append(agent_user, kept, state)
        except MemoryConflict as conflict:
            return conflict
        return None

    async def _refreshed(self, agent_user: AgentUser) -> UserIndex:
        """Return what is known of a user, after reading what is new in the store.

        Raises:
            StoreFailed: when the store cannot be read, or no longer holds what this
                process committed or read. The next call starts over from the store.
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
            self._forget(agent_user, "holds fewer turns than were committed or read before")
        self._known[agent_user] = known
        self._known.move_to_end(agent_user)
        while len(self._known) > self._max_users:
            self._known.popitem(last=False)
        return known

    async def _read_new(self, agent_user: AgentUser, known: UserIndex, version: int) -> None:
        """Take in the turns up to a version, after seeing that the last known one stands."""
        after = known.version
        turns = await self._backend.turns(agent_user, after=max(after - 1, 0), upto=version)
        if after:
            seen = turns[0].entry
            self._check_last(agent_user, known, [seen["conversation_id"], seen["turn"]], after)
        for place, turn in enumerate(turns):
            known.add(turn)
            if place % _TURNS_AT_ONCE == _TURNS_AT_ONCE - 1:
                await asyncio.sleep(0)  # others may run; a turn that one of them adds is skipped

    def _check_last(
        self, agent_user: AgentUser, known: UserIndex, stored: object, version: int | None = None
    ) -> None:
        """Raise if the store has another turn at a version than this process knows."""
        version = known.version if version is None else version
        if version == 0:
            return
        entry = known.entries[version - 1]
        if stored != [entry.conversation_id, entry.turn]:
            self._forget(
                agent_user,
                f"has {stored} as its turn {version}, where turn {entry.turn} of "
                f"{entry.conversation_id!r} was: another process wrote over it",
            )

    def _forget(self, agent_user: AgentUser, problem: str) -> None:
        self._known.pop(agent_user, None)
        raise StoreFailed(
            f"the memory of agent {agent_user.agent_id!r} about user "
            f"{agent_user.user_id!r} {problem}"
        )
