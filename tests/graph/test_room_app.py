"""Threads of a graph server as rooms of awake agents."""

import asyncio
import importlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from callwise.calls.errors import ConfigError
from callwise.simulator import SimulatedSettings
from callwise.simulator.model import SimulatedAnswer, SimulatedModel
from callwise.simulator.server import SimServer
from callwise.wake import WakeStore
from graph.room_app import MAX_SHOWN, RoomThreads, room_graph, room_of
from tests.callwise.report.traces.conftest import receiver

__all__ = ["receiver"]

START = 1_800_000_000.0
HOUR = 3600.0


class Room:
    """One thread of a graph, and the wall clock of its server.

    Attributes:
        now: what the wall clock shows.
    """

    def __init__(self, home: Path, file: Path | None = None, **environ: str) -> None:
        self.now = START + 60
        quick = {"CALLWISE__WAKE__BATCH_WAIT_SECONDS": "0"}
        self.threads = RoomThreads(file, home, environ={**quick, **environ}, wall=lambda: self.now)
        self.graph = room_graph(self.threads, checkpointer=InMemorySaver())

    async def run(self, thread: str = "t", /, **given: Any) -> dict[str, Any]:
        """Return the state after a run."""
        state = await self.graph.ainvoke(given, _thread(thread))
        return dict(state)


def _thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


def _lines(state: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(each.type, each.name) for each in state["messages"]]


def _names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def _numbers(state: Mapping[str, Any]) -> list[int]:
    return [each.additional_kwargs["sequence"] for each in state["messages"]]


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    """Give the shipped agents, on simulated models."""
    made = Room(tmp_path)
    async with aclosing(made.threads):
        yield made


async def test_runs_are_observed_as_their_settings_ask(tmp_path: Path, receiver: Any) -> None:
    """Spans go to the collector, and a text file has the calls."""
    pytest.importorskip("prometheus_client")
    textfile = tmp_path / "rooms.prom"
    knobs = {"TRACES__ENABLED": "true", "TRACES__OTLP_ENDPOINT": receiver.url}
    knobs |= {"METRICS__TEXTFILE": str(textfile), "METRICS__STATUS": "true"}
    made = Room(tmp_path, **{f"CALLWISE__{name}": value for name, value in knobs.items()})
    async with aclosing(made.threads):
        state = await made.run(author="Mia", text="@alice hello", id="m1")
    calls = state["report"]["calls"]
    assert len([span for span in receiver.spans if span.name.startswith("chat ")]) == calls == 1
    assert 'callwise_calls_total{outcome="served"' in textfile.read_text(encoding="utf-8")
    assert orjson.loads((tmp_path / "status.json").read_bytes())


async def test_a_message_is_answered_by_the_agents_that_it_addresses(
    room: Room, tmp_path: Path
) -> None:
    """Its state has the log, with authors and numbers, and what the answers cost."""
    state = await room.run(author="Mia", text="@alice and @bob, hello", id="m1")
    assert _lines(state) == [("human", "Mia"), ("ai", "alice"), ("ai", "bob")]
    assert _numbers(state) == [1, 2, 3]
    assert [each.id for each in state["messages"]] == ["m1", "t:@m1:alice", "t:@m1:bob"]
    report = state["report"]
    assert (report["calls"], report["requests"], report["is_simulated"]) == (2, 2, True)
    assert report["tokens"] > 0 < report["usd"]
    assert [each["outcome"] for each in report["replies"]] == ["published"] * 2
    orjson.dumps(report)
    later = await room.run(author="Jonas", text="Nothing for anyone.")
    assert _lines(later)[3:] == [("human", "Jonas")]
    assert later["report"] is None
    assert [each.name for each in (tmp_path / "rooms").glob("*.sqlite")] == ["t.sqlite"]


@pytest.mark.parametrize(
    "message",
    [
        HumanMessage("@alice hello", name="Mia", id="m1"),
        {"role": "user", "content": "@alice hello", "name": "Mia", "id": "m1"},
        {"type": "human", "content": [{"type": "text", "text": "@alice hello"}], "name": "Mia"},
        ("user", "@alice hello"),
        "@alice hello",
    ],
    ids=repr,
)
async def test_messages_are_read_as_chat_front_ends_send_them(room: Room, message: Any) -> None:
    """The last one is said; a front end that sends the whole chat again repeats nothing."""
    first = await room.run(messages=[message])
    author = "Mia" if "Mia" in str(message) else "user"
    assert _lines(first) == [("human", author), ("ai", "alice")]
    second = await room.run(messages=[*first["messages"], HumanMessage("@bob you?", name="Mia")])
    assert _lines(second)[2:] == [("human", "Mia"), ("ai", "bob")]
    assert _numbers(second) == [1, 2, 3, 4]


async def test_the_same_message_again_adds_nothing(room: Room) -> None:
    """By its id, however it is given; another text under that id is refused."""
    first = await room.run(author="Mia", text="@alice hello", id="m1")
    for again in (
        {"author": "Mia", "text": "@alice hello", "id": "m1"},
        {"messages": [HumanMessage("@alice hello", name="Mia", id="m1")]},
    ):
        state = await room.run(**again)
        assert state["messages"] == first["messages"]
        assert state["report"]["calls"] == 0
    with pytest.raises(ValueError, match="'m1' is that of another message"):
        await room.run(author="Mia", text="Something else", id="m1")


async def test_an_hour_is_woken_once(room: Room) -> None:
    """A second wake of the hour asks only for what is missing; the next hour is another."""
    await room.run(author="Mia", text="Good morning.")
    first = await room.run(wake=True)
    assert first["report"]["at"] == START
    assert sorted(name for _, name in _lines(first)[1:]) == sorted(first["report"]["woken"])
    times = [each.additional_kwargs["at"] - room.now for each in first["messages"]]
    assert times == sorted(times)
    assert all(5.0 <= time <= 30.0 for time in times[1:])
    room.now += 120
    second = await room.run(wake=True)
    assert second["messages"] == first["messages"]
    assert second["report"]["calls"] == 0
    room.now += HOUR
    third = await room.run(wake=True)
    assert third["report"]["at"] == START + HOUR
    assert len(third["messages"]) == len(first["messages"]) + len(third["report"]["woken"])


class DiesOnce(RoomThreads):
    """Threads whose process ends at its first answer, after everything is in the store."""

    has_died = False

    async def answer(self, thread_id: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Answer, and lose what was answered once."""
        update = await super().answer(thread_id, given)
        if not self.has_died:
            self.has_died = True
            raise RuntimeError("the process has ended")
        return update


@pytest.mark.parametrize("what", [{"author": "Mia", "text": "@alice hello"}, {"wake": True}])
async def test_a_run_that_is_resumed_repeats_no_message_and_no_payment(
    tmp_path: Path, what: dict[str, Any]
) -> None:
    """A message without an id has one from the checkpoint, an hour its time."""
    times = chain([START + HOUR - 1], repeat(START + HOUR + 1))
    async with aclosing(DiesOnce(None, tmp_path, environ={}, wall=lambda: next(times))) as threads:
        graph = room_graph(threads, checkpointer=InMemorySaver())
        with pytest.raises(RuntimeError, match="has ended"):
            await graph.ainvoke(what, _thread("t"))
        times = repeat(START + HOUR + 1)
        state = await graph.ainvoke(None, _thread("t"))
    with WakeStore(tmp_path / "rooms" / "t.sqlite") as store:
        assert [each.id for each in store.rooms.messages("t")] == [
            each.id for each in state["messages"]
        ]
        assert store.credits.total() == 0
        assert store.credits.open_holds() == []
    assert state["report"]["calls"] == 0
    assert {each["outcome"] for each in state["report"]["replies"]} == {"published before"}


class HeardModel(SimulatedModel):
    """A model that keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(settings=SimulatedSettings(boolean_true_rate=1.0))
        self.heard: list[str] = []

    def answer(
        self, body: Mapping[str, Any], sample: int = 0, *, digest: str | None = None
    ) -> SimulatedAnswer:
        """Answer a conversation."""
        self.heard.append(orjson.dumps(body["messages"]).decode())
        return super().answer(body, sample, digest=digest)


AGENTS = """
models: {m: {}}
wake: {room: ignored, delay_seconds: [500, 900], batch_wait_seconds: 0.0}
agents:
  - {id: ann, persona: A sailor., model: m}
  - {id: ben, persona: A baker., model: m}
"""


async def test_threads_side_by_side_never_see_one_another(tmp_path: Path) -> None:
    """Neither messages nor memories, credits or hours; checked on the wire."""
    (tmp_path / "agents.yaml").write_text(AGENTS, encoding="utf-8")
    model = HeardModel()
    names = [f"thread-{number}" for number in range(4)]
    async with SimServer(model=model) as server:
        room = Room(
            tmp_path,
            tmp_path / "agents.yaml",
            CALLWISE_BASE_URL=server.base_url,
            CALLWISE_MODEL="some",
        )

        async def goes_on(name: str) -> dict[str, Any]:
            await room.run(name, author="Mia", text=f"@ann the code is secret-{name}", id="m1")
            await room.run(name, wake=True)
            return await room.run(name, author="Mia", text="@ann @ben which code is it?", id="m2")

        async with aclosing(room.threads):
            states = await asyncio.gather(*map(goes_on, names))
    for name, state in zip(names, states, strict=True):
        assert _numbers(state) == [*range(1, 8)]
        assert [author for _, author in _lines(state)[:2]] == ["Mia", "ann"]
        texts = [str(each.content) for each in state["messages"]]
        assert f"secret-{name}" in texts[0]
        assert not state["report"]["is_simulated"]
    for body in model.heard:
        assert sum(f"secret-{name}" in body for name in names) == 1
    assert len(model.heard) == len(names) * (1 + 3 + 2)


@pytest.mark.parametrize(
    ("misfit", "problem"),
    [
        ({}, "there is nothing to do"),
        ({"text": "  "}, "there is nothing to do"),
        ({"messages": [("user", " ")]}, "there is nothing to do"),
        ({"text": "Hi", "wake": True}, "or two things"),
        ({"messages": ["Hi"], "wake": True}, "or two things"),
        ({"messages": ["Hi"], "text": "Hi"}, 'no "text" next to it'),
        ({"messages": [AIMessage("Hi")]}, 'one of type "human"'),
        (
            {"messages": [HumanMessage([{"type": "image_url", "image_url": {"url": "data:,"}}])]},
            "nothing",
        ),
        ({"messages": [7]}, "`messages` do not fit"),
        ({"messages": {"content": "Hi"}}, "`messages` do not fit"),
        ({"author": "Mia", "text": 7}, "`text` does not fit"),
        ({"author": ["Mia"], "text": "Hi"}, "`author` does not fit"),
        ({"author": "Mi\na", "text": "Hi"}, "`author` does not fit: a name is one line"),
        ({"author": "M" * 65, "text": "Hi"}, "`author` does not fit"),
        ({"wake": "yes"}, "`wake` does not fit"),
        ({"text": "x" * 1_000_000}, "`text` does not fit: the message has 1,000,000 bytes"),
        ({"messages": ["値" * 30_000]}, "`text` does not fit: the message has 90,000 bytes"),
        ({"author": "Alice", "text": "Hi"}, "author 'Alice' is an agent"),
        ({"messages": [HumanMessage("Hi", name="bob")]}, "author 'bob' is an agent"),
        ({"text": "Hi", "to": "zoe"}, "there is no agent 'zoe'"),
        ({"text": "Hi", "id": "../m1"}, "message id '../m1'"),
        ({"text": "Hi", "id": "t:@m1:alice"}, "message id 't:@m1:alice'"),
    ],
    ids=lambda value: repr(value)[:60],
)
async def test_an_input_that_does_not_fit_leaves_the_thread_usable(
    room: Room, misfit: dict[str, Any], problem: str
) -> None:
    """The error names the value and the way out, and no later run takes that message."""
    await room.run(author="Mia", text="Hello.")
    with pytest.raises(ValueError, match=re.escape(problem)) as raised:
        await room.run(**misfit)
    assert len(str(raised.value)) < 1_000
    state = await room.run(author="Mia", text="Are you there?")
    assert [str(each.content) for each in state["messages"]] == ["Hello.", "Are you there?"]


async def test_a_message_that_was_refused_may_be_sent_again(room: Room) -> None:
    """Corrected, under the same id."""
    with pytest.raises(ValueError, match="is an agent"):
        await room.run(messages=[HumanMessage("@bob hello", name="alice", id="m1")])
    state = await room.run(messages=[HumanMessage("@bob hello", name="Mia", id="m1")])
    assert _lines(state) == [("human", "Mia"), ("ai", "bob")]


async def test_the_state_shows_the_newest_messages(room: Room, tmp_path: Path) -> None:
    """A checkpoint does not grow with a room."""
    await room.run(author="Mia", text="Hello.")
    with WakeStore(tmp_path / "rooms" / "t.sqlite") as store:
        for number in range(MAX_SHOWN):
            store.rooms.say("t", "Mia", "Hm.", id=f"more-{number}", at=START)
    state = await room.run(author="Mia", text="Half an emoji \ud83d")
    assert _numbers(state) == [*range(3, MAX_SHOWN + 3)]
    assert state["messages"][-1].content == "Half an emoji \ufffd"


async def test_a_run_without_a_thread_is_an_error(tmp_path: Path) -> None:
    """Its room could never be asked again."""
    async with aclosing(RoomThreads(None, tmp_path, environ={})) as threads:
        with pytest.raises(ValueError, match="run the graph on one, with its `thread_id`"):
            await room_graph(threads).ainvoke({"text": "Hello."})
    assert _names(tmp_path) == set()


async def test_a_file_of_agents_that_is_not_there_is_named(tmp_path: Path) -> None:
    """In each run, and nothing is made."""
    room = Room(tmp_path / "home", tmp_path / "none.yaml")
    async with aclosing(room.threads):
        for _ in range(2):
            with pytest.raises(ConfigError, match=r"there is no file of agents .*none\.yaml"):
                await room.run(text="Hello.")
    assert _names(tmp_path) == set()


@pytest.mark.parametrize(
    "thread", ["../../up", "", "A", "a", "值", "x" * 400, "half \ud83d", ".", "sha256-a", "con "]
)
async def test_any_thread_id_is_a_room(room: Room, tmp_path: Path, thread: str) -> None:
    """Whose file is in the folder of rooms."""
    if thread:
        await room.run(thread, author="Mia", text="Hello.")
        (file,) = (tmp_path / "rooms").glob("*.sqlite")
        assert file.stem == room_of(thread)
    assert len(room_of(thread)) <= 64
    assert _names(tmp_path) <= {"rooms"}


@given(st.lists(st.text(max_size=70), unique=True, max_size=5))
def test_two_threads_are_two_rooms(threads: list[str]) -> None:
    """Whatever their ids are, in lower case too."""
    rooms = [room_of(thread) for thread in threads]
    rooms += [room_of(name) for name in rooms]
    assert len({name.casefold() for name in rooms[: len(threads)]}) == len(threads)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_") for name in rooms)


@pytest.fixture
def refusing() -> Iterator[Any]:
    """Refuse blocking calls on all loops, as `langgraph dev` does; it allows waiting for locks."""
    blockbuster = pytest.importorskip("blockbuster", reason="comes with langgraph-cli[inmem]")
    refuser = blockbuster.BlockBuster()
    for name in ("threading.Lock.acquire", "os.stat"):
        refuser.functions.pop(name).deactivate()
    yield refuser
    refuser.deactivate()


async def test_no_loop_makes_a_blocking_call(room: Room, refusing: Any) -> None:
    """Neither the server's nor the private one, to which calls are carried."""
    await room.run(author="Mia", text="@alice hello")
    refusing.activate()
    await room.run(author="Mia", text="@alice hello")
    state = await room.run(wake=True)
    assert {each["outcome"] for each in state["report"]["replies"]} == {"published"}


def test_importing_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the module makes no folder, no file and no thread."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALLWISE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CALLWISE_AGENTS", str(tmp_path / "none.yaml"))
    importlib.reload(importlib.import_module("graph.room_app"))
    assert list(tmp_path.iterdir()) == []
