"""Wakes whose notes are in a memory that was brought: prompts, failures, crashes, recordings."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore

from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Role
from callwise.calls.errors import CassetteMiss, ConfigError, FormatError
from callwise.memory.memory_errors import StoreFailed
from callwise.wake import Agent, WakeStore
from callwise.wake.agent_memory import StoredNotes
from callwise.wake.langgraph_memory import LangGraphMemory
from callwise.wake.memory_recording import RECALLED, PlayedMemory
from callwise.wake.memory_stores import MEMORY_URL, MemoryKnobs, opened_memory
from callwise.wake.recall import SEARCHED_TOGETHER
from callwise.wake.waiting_notes import MAX_FAILED, PUT_TOGETHER, add_waiting, put_waiting
from tests.callwise.wake.postgres_server import PASSWORD
from tests.callwise.wake.test_recorded_run import (
    Live,
    Seen,
    content,
    recorded,
    replayed,
    settings_of,
    shuffled,
)
from tests.callwise.wake.wake_world import START, World, everyone, five_agents, material_of

ROOT = Path(__file__).parents[3]
NAMES = sorted(agent.id for agent in five_agents())


class Memory(LangGraphMemory):
    """LangGraph's store in memory, which may be out of reach, or refuse the notes of an agent."""

    def __init__(self):
        self.store = InMemoryStore()
        super().__init__(self.store, blocks_loop=True)
        self.is_down, self.refused, self.asked = False, set(), []

    def _check(self, agent):
        self.asked.append(agent)
        if self.is_down or agent in self.refused:
            raise StoreFailed("the server is down")

    async def search(self, agent, query, **words):
        """Search, or fail."""
        self._check(agent)
        return await super().search(agent, query, **words)

    async def add(self, agent, texts, **words):
        """Add, or fail."""
        self._check(agent)
        await super().add(agent, texts, **words)


def in_world(steps, memory=None, **options):
    """Return what steps of a world return, in virtual time."""

    async def main():
        world = World(five_agents(), answer=everyone, brought=memory or Memory(), **options)
        return await steps(world)

    return run_in_virtual_time(main())


def prompts_of(world):
    """Return the material of the agents' prompts so far."""
    return [material_of(call) for call in world.client.calls if call.role is not Role.FAST]


async def notes_of(memory, agents=NAMES):
    """Return the notes of agents."""
    return {agent: await memory.search(agent, "", limit=99) for agent in agents}


def test_notes_go_to_the_memory_and_come_from_it():
    """Each in its own agent's prompt of the next hour; none is in the store's file."""
    memory = Memory()

    async def steps(world):
        first = await world.wake()
        assert world.store.waiting.count() == 0
        second = await world.wake(1)
        for material in prompts_of(world)[5:]:
            assert material["notes"] == [f"I wrote: I am {material['name']}."]
        rows = world.store._file._connection.execute("SELECT count(*) FROM agent_notes")
        return [first, second], rows.fetchone(), await notes_of(memory)

    reports, rows, notes = in_world(steps, memory)
    assert {each.outcome for report in reports for each in report.replies} == {"published"}
    assert {each.recall_problem for report in reports for each in report.replies} == {""}
    assert rows == (0,)
    assert {name: len(some) for name, some in notes.items()} == dict.fromkeys(NAMES, 2)


def test_a_memory_that_is_down_costs_notes_and_no_reply():
    """All speak, the reports name the reason, and the notes wait for the next wake."""
    memory = Memory()

    async def steps(world):
        await world.wake()
        memory.is_down = True
        down = await world.wake(1)
        waiting = world.store.waiting.count()
        memory.is_down = False
        up = await world.wake(2)
        prompts = prompts_of(world)
        return down, waiting, up, prompts[5:10], prompts[10:], world.store.waiting.count()

    down, waiting, up, prompts_down, prompts_up, left = in_world(steps, memory)
    assert {each.outcome for each in (*down.replies, *up.replies)} == {"published"}
    assert {each.recall_problem for each in down.replies} == {"StoreFailed: the server is down"}
    assert {each.recall_problem for each in up.replies} == {""}
    assert (waiting, left) == (5, 0)
    assert all("notes" not in each or not each["notes"] for each in prompts_down)
    assert {len(each["notes"]) for each in prompts_up} == {2}


def test_a_memory_that_is_down_is_asked_by_the_first_agents_of_a_wake_alone():
    """Each search may take as long as the memory may; the others report the same problem."""
    agents = [Agent(id=f"a{number}", persona="A baker.", model="dsv3") for number in range(150)]
    memory = Memory()
    memory.is_down = True

    async def main():
        world = World(agents, answer=everyone, brought=memory)
        return await world.wake()

    report = run_in_virtual_time(main())
    assert {each.recall_problem for each in report.replies} == {"StoreFailed: the server is down"}
    searches = len(memory.asked) - len(agents)
    assert searches == SEARCHED_TOGETHER


def test_one_agent_whose_notes_are_refused_harms_no_other():
    """Its notes wait, and theirs are put, also those that waited with it."""
    memory = Memory()

    async def steps(world):
        memory.refused = {"bob"}
        first = await world.wake()
        second = await world.wake(1)
        waiting = [each.agent for each in world.store.waiting.oldest(limit=9)]
        memory.refused = set()
        await world.wake(2)
        return first, second, waiting, await notes_of(memory)

    first, second, waiting, notes = in_world(steps, memory)
    for report in (first, second):
        failed = {each.agent for each in report.replies if each.recall_problem}
        assert failed == {"bob"}
        assert {each.outcome for each in report.replies} == {"published"}
    assert waiting == ["bob", "bob"]
    assert {len(some) for some in notes.values()} == {3}


def _add_waiting(store, count, agent="alice"):
    with store._file.writing() as connection:
        for number in range(count):
            add_waiting(connection, agent, [f"note {number}"], key=f"{agent}{number}", at=number)


async def test_what_waits_is_put_in_order_and_a_memory_that_is_down_is_not_asked_for_all(store):
    """After a set that failed with others and a few alone, the rest waits."""
    memory, count = Memory(), 2 * PUT_TOGETHER
    _add_waiting(store, count)
    memory.is_down = True
    assert "the server is down" in await put_waiting(store.waiting, memory)
    assert len(memory.asked) == PUT_TOGETHER + MAX_FAILED
    assert store.waiting.count() == count
    memory.is_down = False
    assert await put_waiting(store.waiting, memory) == ""
    assert store.waiting.count() == 0
    found = await memory.search("alice", "", limit=count)
    assert found == [f"note {number}" for number in reversed(range(count))]


async def test_two_processes_put_what_waits_once(path, store):
    """A note that both have read is there once; one that came later is not removed."""
    memory = Memory()
    _add_waiting(store, 10)
    with WakeStore(path) as other:
        await asyncio.gather(put_waiting(store.waiting, memory), put_waiting(other.waiting, memory))
        _add_waiting(other, 1, agent="bob")
        store.waiting.remove("alice", "alice9")
        assert [each.agent for each in store.waiting.oldest(limit=9)] == ["bob"]
    assert len(await memory.search("alice", "", limit=99)) == 10


def test_a_message_is_noted_at_once_and_waits_for_no_backlog():
    """What waits of other agents is put when an hour begins."""
    memory = Memory()

    async def steps(world):
        _add_waiting(world.store, 3, agent="eve")
        await world.service.say("Mia", "@bob are you up?", id="p1")
        assert world.store.waiting.count() == 3
        return await notes_of(memory, ["bob", "eve"])

    notes = in_world(steps, memory)
    assert notes == {"bob": ["Mia wrote: @bob are you up?\nI wrote: I am Bob."], "eve": []}


def test_the_notes_of_the_store_itself_are_the_default():
    """Given or not, they are written in the message's transaction; another store's are brought."""

    async def main():
        store = WakeStore(":memory:")
        world = World(five_agents(), answer=everyone, store=store, brought=StoredNotes(store.notes))
        await world.wake()
        other = WakeStore(":memory:")
        brought = World(
            five_agents(), answer=everyone, store=store, brought=StoredNotes(other.notes)
        )
        await brought.wake(1)
        own = [store.notes.search(name, "", limit=9) for name in NAMES]
        return [len(each) for each in own], [
            len(other.notes.search(name, "", limit=9)) for name in NAMES
        ]

    assert run_in_virtual_time(main()) == ([1] * 5, [1] * 5)


def test_embeddings_for_a_brought_memory_are_refused():
    """They would be paid for and not used."""
    with pytest.raises(ConfigError, match=r"Use wake\.retrieval=words"):
        in_world(None, retrieval="both")


def _killed(folder, step):
    return subprocess.run(  # noqa: S603 - this Python, and a file of the project
        [
            *(sys.executable, str(Path(__file__).with_name("killed_notes.py"))),
            *(str(folder / "wake.sqlite"), str(folder / "notes.sqlite"), str(step)),
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


STEPS = 15
"""Before and after each of five puts, and after its note has left the store."""


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 1, 2, 5, 9, STEPS - 1, STEPS])
def test_a_process_killed_between_publishing_and_putting_loses_no_note(tmp_path, step):
    """The next wake puts what is left, and each note is there once."""
    ended = _killed(tmp_path, step)
    assert ended.returncode == (0 if step == STEPS else -signal.SIGKILL), ended.stderr
    with sqlite3.connect(tmp_path / "notes.sqlite", isolation_level=None) as connection:
        notes = SqliteStore(connection)
        notes.setup()
        memory = LangGraphMemory(notes, blocks_loop=True)

        async def again():
            with WakeStore(tmp_path / "wake.sqlite") as store:
                world = World(five_agents(), answer=everyone, store=store, brought=memory)
                report = await world.wake()
                assert {each.recall_problem for each in report.replies} == {""}
                assert store.waiting.count() == 0
                return await notes_of(memory)

        found = run_in_virtual_time(again())
    assert found == {name: [f"I wrote: I am {name.title()}."] for name in NAMES}


# Recordings.


class Shuffled(Memory):
    """A memory that takes its time, fails now and then, and is changed by another program."""

    def __init__(self):
        super().__init__()
        self.lots = random.Random(5)

    async def search(self, agent, query, **words):
        """Search after a while, or fail."""
        await asyncio.sleep(self.lots.uniform(0.0, 2.0))
        self.is_down = self.lots.random() < 0.2
        if self.lots.random() < 0.5:
            value = {"text": f"news {len(self.asked)} for {agent}", "at": START}
            self.store.put(("callwise", "notes", f"{agent}_e"), f"x{len(self.asked)}", value)
        return await super().search(agent, query, **words)

    async def add(self, agent, texts, **words):
        """Add after a while, or fail."""
        await asyncio.sleep(self.lots.uniform(0.0, 2.0))
        self.is_down = self.lots.random() < 0.2
        await super().add(agent, texts, **words)


def test_a_replay_has_what_the_memory_has_answered(tmp_path):
    """The same bytes without the memory, failures and what another program has written among it."""
    memory, seen = Shuffled(), Seen()
    client = Live(shuffled(3))
    recorded(tmp_path / "run", client, hours=6, memory=memory, listener=seen)
    problems = [each.recall_problem for report in seen.reports for each in report.replies]
    assert 0 < problems.count("StoreFailed: the server is down") < len(problems)
    assert any("news" in str(material_of(call)) for call in client.calls)
    settings = settings_of(memory={"backend": "postgres"})
    replayed(tmp_path / "run", settings, out=tmp_path / "again")
    assert content(tmp_path / "run") == content(tmp_path / "again")


def test_a_search_that_is_not_recorded_ends_the_replay(tmp_path):
    """As a call that is not recorded does."""
    recorded(tmp_path / "run", Live(shuffled(3)), memory=Memory())
    path = tmp_path / "run" / RECALLED
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b'"search"' not in line))
    with pytest.raises(CassetteMiss, match="no such search in the notes of"):
        replayed(tmp_path / "run")


def test_a_recording_without_answers_is_not_replayed_with_a_memory(tmp_path):
    """Its notes are in the copy of the store."""
    recorded(tmp_path / "run", Live(shuffled(3)))
    with pytest.raises(ConfigError, match=r"Replay it with memory\.backend=sqlite"):
        replayed(tmp_path / "run", settings_of(memory={"backend": "postgres"}))


@pytest.mark.parametrize("line", [b"[1]", b"\xff", b'{"kind": "other"}', b'{"kind":"add"}'])
def test_a_damaged_line_of_answers_is_named(tmp_path, line):
    """With its number; a broken last line is left out."""
    path = tmp_path / RECALLED
    path.write_bytes(line + b"\n")
    with pytest.raises(FormatError, match="expected what a memory has answered"):
        PlayedMemory(path, print)
    path.write_bytes(line)
    PlayedMemory(path, print)


def test_settings_that_name_a_memory_need_one(tmp_path):
    """A run without it would use other notes."""
    settings = settings_of(memory={"backend": "postgres"})
    with pytest.raises(ConfigError, match="the run was given no memory"):
        recorded(tmp_path / "run", Live(shuffled(3)), settings)


# A real Postgres.


@pytest.mark.slow
async def test_a_postgres_that_stops_and_comes_back_has_each_note_once(postgres, tmp_path):
    """On the real clock, by the connections that were open before."""
    knobs = MemoryKnobs(backend="postgres", namespace=("test", "restart"))
    async with opened_memory(knobs, {MEMORY_URL: postgres.url}) as memory:
        world = World(five_agents(), answer=everyone, brought=memory)
        world.client.seconds = 0.0
        reports = [await world.service.wake(START)]
        postgres.stop()
        try:
            reports.append(await world.service.wake(START + 3600))
            assert world.store.waiting.count() == 5
        finally:
            postgres.start()
        reports.append(await world.service.wake(START + 7200))
        assert world.store.waiting.count() == 0
        notes = await notes_of(memory)
    problems = [{bool(each.recall_problem) for each in report.replies} for report in reports]
    assert problems == [{False}, {True}, {False}]
    assert {each.outcome for report in reports for each in report.replies} == {"published"}
    assert {len(some) for some in notes.values()} == {3}
    shown = " ".join(each.recall_problem for each in reports[1].replies)
    assert "AsyncPostgresStore" in shown
    assert PASSWORD not in shown


async def _opening(url, **knobs):
    async with opened_memory(MemoryKnobs(**knobs), {MEMORY_URL: url} if url else {}):
        raise AssertionError("it was opened")


async def test_a_wrong_password_is_refused_and_not_shown(postgres):
    """When the run begins."""
    with pytest.raises(ConfigError, match=r"cannot be used: .*authentication failed") as caught:
        await _opening(postgres.url_with("another-secret-word"), backend="postgres")
    assert "another-secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "backend", "problem"),
    [
        ("", "postgres", "CALLWISE_MEMORY_URL is not set"),
        ("redis://localhost/0", "postgres", "has no URL of such a server"),
        ("me:secret-of-mine@host/db", "redis", "has no URL of such a server"),
        ("postgresql://me:secret-of-mine@/db?host=/nowhere", "postgres", "Start it, or correct"),
        ("postgresql://me:secret-of-mine@[::1/db", "postgres", "has no URL of such a server"),
    ],
)
async def test_a_server_that_cannot_be_used_is_an_error_without_its_url(url, backend, problem):
    """It names the variable and the way out."""
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    with pytest.raises(ConfigError, match=problem) as caught:
        await _opening(url, backend=backend)
    assert "CALLWISE_MEMORY_URL" in str(caught.value)
    assert "secret-of" not in str(caught.value)


async def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    """As other extras are."""
    monkeypatch.setitem(sys.modules, "langgraph.store.postgres", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[postgres\]'"):
        await _opening("postgresql:///db", backend="postgres")
    monkeypatch.setitem(sys.modules, "langgraph.store.redis", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[redis-memory\]'"):
        await _opening("redis://localhost/0", backend="redis")


async def test_a_redis_without_the_modules_is_refused(tmp_path):
    """Debian's has no search: the error names what is needed."""
    pytest.importorskip("langgraph.store.redis", reason="the extra `redis-memory` is missing")
    fleet = pytest.importorskip("tests.callwise.budget.fleet.conftest")
    server = fleet.RedisServer(tmp_path)
    try:
        with pytest.raises(ConfigError, match="needs Redis 8, or one with the modules search"):
            await _opening(server.url, backend="redis")
    finally:
        server.stop()
