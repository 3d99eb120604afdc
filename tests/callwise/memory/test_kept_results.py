"""Results of retrieval that are kept: what ends them, and what they never change."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.memory import AgentUser, Embedding, TurnCommit
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.memory_errors import MemoryConflict
from callwise.memory.snapshot_memory import SnapshotBackend

ANN, BOB = AgentUser("agent", "ann"), AgentUser("agent", "bob")
USERS = (ANN, BOB, AgentUser("other", "ann"))


class Seconds:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        """Return the time."""
        return self.now


class SlowBackend(SnapshotBackend):
    """A backend whose every step lets others run some times, by a seed."""

    def __init__(self, seed):
        super().__init__()
        self._draw = random.Random(seed)

    async def _pause(self):
        for _ in range(self._draw.randrange(4)):
            await asyncio.sleep(0)

    async def state(self, agent_user):
        """Return a user's state."""
        await self._pause()
        state = await super().state(agent_user)
        await self._pause()
        return state

    async def turns(self, agent_user, *, after, upto):
        """Return turns."""
        await self._pause()
        return await super().turns(agent_user, after=after, upto=upto)

    async def append(self, agent_user, turn, state):
        """Store a turn."""
        await self._pause()
        await super().append(agent_user, turn, state)
        await self._pause()


def turn(agent_user, version, text):
    """Return a turn's commit."""
    return TurnCommit(agent_user, "c", version, text, "I see.", version)


async def say(memory, agent_user, text):
    """Commit the user's next turn, and return its version."""
    while True:
        snapshot = await memory.load(agent_user)
        try:
            return (await memory.commit(turn(agent_user, snapshot.version, text))).version
        except MemoryConflict:
            continue


def kept_versions(memory, agent_user):
    """Return the version of a user's index and how many results are kept of it."""
    known = memory._known.get(agent_user)
    return (0, 0) if known is None else (known.version, len(known.results))


async def test_a_result_is_found_once_until_the_next_turn_is_written():
    """The same question of the same memory is searched once; another one is not it."""
    memory = ConversationMemory(SnapshotBackend(), max_results=8)
    for text in ("the otter swims", "an owl flies", "the otter sleeps"):
        await say(memory, ANN, text)
    snapshot = await memory.load(ANN)
    first = await memory.retrieve(snapshot, "otter", 2)
    first_copy = list(first)
    first.clear()
    assert await memory.retrieve(snapshot, "otter", 2) == first_copy
    assert memory.statistics() == {"result_hits": 1, "result_misses": 1}
    vector = Embedding("m", (1.0, 0.0))
    others = [
        await memory.retrieve(snapshot, "owl", 2),
        await memory.retrieve(snapshot, "otter", 1),
        await memory.retrieve(snapshot, "otter", 2, skip_recent=1),
        await memory.retrieve(snapshot, "otter", 2, embedding=vector),
    ]
    assert others[0] != first_copy != others[1]
    assert memory.statistics() == {"result_hits": 1, "result_misses": 5}
    await say(memory, ANN, "an otter again")
    now = await memory.load(ANN)
    assert 4 in {each.entry.version for each in await memory.retrieve(now, "otter", 9)}
    assert await memory.retrieve(snapshot, "otter", 2) == first_copy


async def test_a_write_ends_the_results_of_its_user_and_of_no_other():
    """Those of another user, and of another agent's user of the same name, stay."""
    memory = ConversationMemory(SnapshotBackend(), max_results=8)
    for user in USERS:
        await say(memory, user, "the otter swims")
        await memory.retrieve(await memory.load(user), "otter", 2)
    await say(memory, ANN, "an owl flies")
    assert [kept_versions(memory, user) for user in USERS] == [(2, 0), (1, 1), (1, 1)]


async def test_a_result_ends_after_five_minutes_and_when_the_clock_is_set_back():
    """Then the memory is searched again, with the same result."""
    clock = Seconds()
    memory = ConversationMemory(SnapshotBackend(), max_results=8, now=clock)
    await say(memory, ANN, "the otter swims")
    snapshot = await memory.load(ANN)
    found = await memory.retrieve(snapshot, "otter", 2)
    for now, hits in ((299.0, 1), (300.0, 1), (310.0, 2), (5.0, 2)):
        clock.now = now
        assert await memory.retrieve(snapshot, "otter", 2) == found
        assert memory.statistics()["result_hits"] == hits, now


async def test_results_of_a_user_do_not_grow():
    """The one that was not used for longest goes first."""
    memory = ConversationMemory(SnapshotBackend(), max_results=2)
    await say(memory, ANN, "the otter swims")
    snapshot = await memory.load(ANN)
    for query in ("otter", "owl", "otter", "swims", "otter", "owl"):
        await memory.retrieve(snapshot, query, 2)
    assert memory.statistics() == {"result_hits": 2, "result_misses": 4}
    assert kept_versions(memory, ANN) == (1, 2)


class GatedBackend(SnapshotBackend):
    """A backend whose writes wait for a gate."""

    def __init__(self):
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, agent_user, turn, state):
        """Store a turn once the gate is open."""
        await self.gate.wait()
        await super().append(agent_user, turn, state)


async def test_a_write_ends_results_of_an_index_that_was_read_again_during_it():
    """The user was dropped from memory for another one, and asked again before the write ended."""
    backend = GatedBackend()
    memory = ConversationMemory(backend, max_results=8, max_users=1)
    await say(memory, ANN, "the otter swims")
    await say(memory, BOB, "an owl flies")
    await memory.load(ANN)
    backend.gate.clear()
    writing = asyncio.create_task(say(memory, ANN, "an owl flies"))
    await asyncio.sleep(0)
    await memory.load(BOB)
    await memory.retrieve(await memory.load(ANN), "otter", 2)
    assert kept_versions(memory, ANN) == (1, 1)
    backend.gate.set()
    assert await writing == 2
    assert kept_versions(memory, ANN) == (1, 0)


step = st.tuples(st.sampled_from(["say", "ask"]), st.integers(0, 2), st.integers(0, 1))
rounds_of_steps = st.lists(st.lists(step, max_size=6), max_size=6)


@given(rounds_of_steps, st.integers(0, 2**16), st.integers(1, 3))
def test_no_result_is_older_than_a_write_that_has_returned(rounds, seed, max_users):
    """Of two processes that write and ask concurrently, dropping users from memory meanwhile.

    When a write returns, nothing that its process keeps of the user is from before it; and what
    is found is always what a memory without kept results finds.
    """

    async def run():
        backend = SlowBackend(seed)
        memories = [
            ConversationMemory(backend, max_results=4, max_users=max_users) for _ in range(2)
        ]

        async def take(kind, user, process):
            memory, agent_user = memories[process], USERS[user]
            if kind == "say":
                version = await say(memory, agent_user, "the otter swims")
                known = memory._known.get(agent_user)
                for found in () if known is None else known.results.values():
                    assert max(each.entry.version for each in found.recalled) >= version
                return
            snapshot = await memory.load(agent_user)
            found = await memory.retrieve(snapshot, "otter", 99)
            assert found == await ConversationMemory(backend).retrieve(snapshot, "otter", 99)

        for steps in rounds:
            await asyncio.gather(*(take(*each) for each in steps))
        for memory in memories:
            for agent_user in USERS:
                snapshot = await memory.load(agent_user)
                found = await memory.retrieve(snapshot, "otter", 99)
                assert len(found) == snapshot.version

    asyncio.run(run())


@pytest.mark.parametrize("count", [0, 8])
async def test_nothing_is_kept_unless_it_is_asked_for(count):
    """Without a number of results no retrieval is counted."""
    memory = ConversationMemory(SnapshotBackend(), max_results=count)
    await say(memory, ANN, "the otter swims")
    snapshot = await memory.load(ANN)
    for _ in range(2):
        await memory.retrieve(snapshot, "otter", 2)
    assert memory.statistics() == {"result_hits": count // 8, "result_misses": count // 8}
