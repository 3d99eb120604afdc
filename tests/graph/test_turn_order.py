"""Turns of one memory follow each other, also where a run of a graph server ends early."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from callwise.budget.ledger_row import LedgerRow
from callwise.calls import Call, CallError, Client, Reply
from callwise.memory import AgentUser, Identity
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.sqlite_backend import SqliteBackend
from graph.app import app
from graph.endpoints import endpoints_of
from graph.engine import Engine, TurnContext, make_engine
from graph.langgraph_app import ServedTurns, thread_graph
from graph.turn_order import TurnOrder
from tests.graph.conftest import simulated

ANN = AgentUser("agent", "ann")
LIMITED = ("budget.run.max_calls=200", "budget.turn.max_calls=30")
"""Limits, so that a turn holds calls back for its reply."""


@dataclass
class HangingClient:
    """A client that answers no call of one role while it hangs."""

    client: Client
    role: str = "main"
    is_simulated: bool = True
    is_hanging: bool = False
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(
        self, calls: Sequence[Call], *, model: str, on_sent: Any = None
    ) -> Sequence[Reply | CallError]:
        """Answer, or report the call as sent and hang."""
        if self.is_hanging and calls[0].role == self.role:
            if on_sent is not None:
                on_sent(0)
            self.was_asked.set()
            await asyncio.Event().wait()
        return await self.client.answer(calls, model=model, on_sent=on_sent)

    async def aclose(self) -> None:
        """Close the client."""
        await self.client.aclose()


@dataclass
class Served:
    """A graph server's graph, its engine, and what it has counted."""

    graph: Any
    engine: Engine
    client: HangingClient
    rows: list[LedgerRow]

    def stream(self, thread: str = "left", **options: Any) -> Any:
        """Return the stream of a turn of Ann's."""
        given = {"messages": ["I lost my job."], "user_id": "ann"}
        return self.graph.astream(given, {"configurable": {"thread_id": thread}}, **options)

    def check_nothing_is_left(self, thread: str = "left") -> None:
        """Check that the turn of a thread is closed, and its calls settled and counted once."""
        assert self.engine.turn_order.held(ANN) is None
        assert self.engine.turn(Identity("agent", "ann", thread)) is None
        scope = self.engine.budgeter.run
        assert scope.scope_limits.common_quotas()[0].left[0] == 200 - len(self.rows)
        assert scope.counts().as_dict()["asked"] == len(self.rows)
        self.engine.budgeter.ledger.check()


@asynccontextmanager
async def served(folder: Path, preset: str, *overrides: str) -> AsyncIterator[Served]:
    """Give a graph on threads, under limits."""
    settings = app.settings(preset, [simulated(), *LIMITED, *overrides])
    given = endpoints_of(settings)
    client = HangingClient(given["main"].client)
    endpoints = {role: replace(endpoint, client=client) for role, endpoint in given.items()}
    rows: list[LedgerRow] = []
    with SqliteBackend(folder / "memory.sqlite") as store:
        engine = make_engine(settings, endpoints, ConversationMemory(store), sinks=(rows.append,))

        async def context(_arm: str) -> TurnContext:
            return TurnContext(engine)

        graph = thread_graph(
            ServedTurns(context),
            overlap=settings.overlap,
            fuse=settings.fuse,
            checkpointer=InMemorySaver(),
        )
        yield Served(graph, engine, client, rows)
        engine.close()


async def _closed(stream: Any, node: str) -> None:
    async with aclosing(stream):
        async for update in stream:
            if node in update:
                break


async def _cancelled(stream: Any, node: str) -> None:
    """Cancel the task that reads, while it is doing something else than waiting for the stream."""
    has_seen, goes_on = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        async with aclosing(stream):
            async for update in stream:
                if node in update:
                    has_seen.set()
                    await goes_on.wait()

    reading = asyncio.create_task(read())
    await has_seen.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


Leave = Callable[[Any, str], Awaitable[None]]
"""Leaves a stream after the update of a node."""


@pytest.mark.parametrize("leave", [_closed, _cancelled])
@pytest.mark.parametrize("node", ["loader", "reasoner", "final_validator"])
@pytest.mark.parametrize("preset", ["classic", "classic_parallel", "balanced"])
async def test_a_stream_that_is_left_between_nodes_ends_its_turn(
    tmp_path: Path, preset: str, node: str, leave: Leave
) -> None:
    """The next turn of the same user begins immediately, and nothing is held back or lost."""
    async with served(tmp_path, preset) as pipeline:
        await leave(pipeline.stream(stream_mode="updates"), node)
        pipeline.check_nothing_is_left()
        before = len(pipeline.rows)
        async with asyncio.timeout(60):  # the turn that is waited for has 300 s
            again = [update async for update in pipeline.stream("other", stream_mode="updates")]
        assert [*again[-1]] == ["memory_writer"]
        assert len(pipeline.rows) > before
        pipeline.check_nothing_is_left("other")


async def test_a_stream_that_is_dropped_ends_its_turn(tmp_path: Path) -> None:
    """A reader who breaks off without closing the stream leaves it to the garbage collector."""
    async with served(tmp_path, "classic") as pipeline:
        stream = pipeline.stream(stream_mode="updates")
        async for update in stream:
            if "reasoner" in update:
                break
        del stream
        gc.collect()
        for _ in range(20):
            await asyncio.sleep(0)
        pipeline.check_nothing_is_left()


async def test_a_cancelled_call_is_settled_before_the_next_turn(tmp_path: Path) -> None:
    """A run that is cancelled while a call is under way: its row, its request, and no lease."""
    async with served(tmp_path, "classic") as pipeline:
        pipeline.client.is_hanging = True
        reading = asyncio.create_task(_closed(pipeline.stream(stream_mode="custom"), "never"))
        await pipeline.client.was_asked.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        pipeline.check_nothing_is_left()
        assert [row.outcome.value for row in pipeline.rows].count("cancelled") == 1
        pipeline.client.is_hanging = False
        async with asyncio.timeout(60):
            await _closed(pipeline.stream("other", stream_mode="updates"), "memory_writer")
        pipeline.check_nothing_is_left("other")


async def test_a_run_that_waits_for_its_turn_takes_none_away(tmp_path: Path) -> None:
    """A client that leaves while it waits for another one's turn ends nothing of that."""
    async with served(tmp_path, "classic") as pipeline:
        first = pipeline.stream(stream_mode="updates")
        await anext(first)
        waiting = asyncio.create_task(_closed(pipeline.stream("other"), "never"))
        for _ in range(50):
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        held = pipeline.engine.turn_order.held(ANN)
        assert held is not None
        assert held.run == "left"
        nodes = [node async for update in first for node in update]
        assert nodes[-1] == "memory_writer"
        pipeline.check_nothing_is_left()


async def test_a_late_end_of_a_run_leaves_a_later_turn_of_its_thread(tmp_path: Path) -> None:
    """A run whose thread was given to another one meanwhile ends nothing of that one's turn."""
    async with served(tmp_path, "classic") as pipeline:
        old = pipeline.stream(stream_mode="updates")
        await anext(old)
        new = pipeline.stream(stream_mode="updates")
        await anext(new)
        await old.aclose()
        held = pipeline.engine.turn_order.held(ANN)
        assert held is not None
        assert pipeline.engine.turn(Identity("agent", "ann", "left")) is not None
        nodes = [node async for update in new for node in update]
        assert nodes[-1] == "memory_writer"
        pipeline.check_nothing_is_left()


async def test_a_run_that_is_left_can_be_resumed(tmp_path: Path) -> None:
    """Its thread goes on at the node where it was left, and is broken off again likewise."""
    async with served(tmp_path, "classic") as pipeline:
        thread: Any = {"configurable": {"thread_id": "left"}}
        await _closed(pipeline.stream(stream_mode="updates"), "reasoner")
        again = pipeline.graph.astream(None, thread, stream_mode="updates")
        await _closed(again, "style")
        pipeline.check_nothing_is_left()
        nodes = [node async for update in pipeline.graph.astream(None, thread) for node in update]
        assert (nodes[0], nodes[-1]) == ("lats_search", "memory_writer")
        state = (await pipeline.graph.aget_state(thread)).values
        assert (state["turn"], bool(state["reply"])) == (0, True)
        pipeline.check_nothing_is_left()


async def test_a_paused_run_keeps_its_turn(tmp_path: Path) -> None:
    """A client that has paused its run goes on with the same turn, in the same scope."""
    async with served(tmp_path, "classic") as pipeline:
        stream = pipeline.stream(stream_mode="updates", interrupt_before=["style"])
        await _closed(stream, "never")
        scope = pipeline.engine.turn(Identity("agent", "ann", "left"))
        assert scope is not None
        thread: Any = {"configurable": {"thread_id": "left"}}
        assert (await pipeline.graph.ainvoke(None, thread))["reply"]
        assert scope.is_closed
        pipeline.check_nothing_is_left()


async def test_a_run_waits_for_the_one_before_as_long_as_it_may() -> None:
    """Turns of one memory have an order; one that never leaves is waited for in vain."""
    order = TurnOrder()
    await order.enter(ANN, "first")
    second = asyncio.create_task(order.enter(ANN, "second"))
    await asyncio.sleep(0)
    assert not second.done()
    order.leave(ANN, "other")  # which has no turn
    await asyncio.sleep(0)
    assert not second.done()
    order.leave(ANN, "first")
    await second
    await order.enter(ANN, "third", patience_seconds=0)
    held = order.held(ANN)
    assert held is not None
    assert held.run == "third"
