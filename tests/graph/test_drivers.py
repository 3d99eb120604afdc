"""The compiled graph: what a node may return, and what parallel nodes add."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from langgraph.runtime import Runtime

from callwise.budget.budgeter import Budgeter
from callwise.memory import Identity
from callwise.recordings.app_protocol import TurnInput
from graph.app import app
from graph.drivers import _node, build_graph
from graph.engine import TurnContext
from graph.state import TurnState, collect_degraded
from nodes.records import Mode, Persona


async def test_a_key_that_the_state_lacks_is_an_error(tmp_path: Path) -> None:
    """LangGraph drops unknown keys without a word; the wiring names node and key."""

    async def misspelt(_state: TurnState, _context: TurnContext) -> Mapping[str, Any]:
        return {"replly": "hello", "reply": "hello"}

    state = TurnState(requested_turn=0)
    async with app.open(app.settings("classic"), folder=tmp_path) as session:
        session.engine.open_turn(state.identity, 0)
        run = _node("loader", misspelt, (), is_kept=False)
        with pytest.raises(KeyError, match=r"'loader' returned \['replly'\]"):
            await run(state, Runtime(context=TurnContext(session.engine)))


async def test_kept_channels_contain_plain_json(tmp_path: Path) -> None:
    """Records leave a node as plain values, so that any checkpointer can keep them."""

    async def step(_state: TurnState, _context: TurnContext) -> Mapping[str, Any]:
        return {"persona": Persona(name="Lin"), "mode": Mode.NORMAL, "bubbles": ()}

    state = TurnState(requested_turn=0)
    async with app.open(app.settings("classic"), folder=tmp_path) as session:
        session.engine.open_turn(state.identity, 0)
        run = _node("loader", step, (), is_kept=True)
        update = await run(state, Runtime(context=TurnContext(session.engine)))
    assert update == {
        "persona": {"name": "Lin", "background": "", "speaking_style": ""},
        "mode": "normal",
        "bubbles": [],
    }
    assert type(update["mode"]) is str


def test_an_unknown_input_is_an_error() -> None:
    """A caller's misspelt field is refused before any node runs."""
    with pytest.raises(ValueError, match="user_txt"):
        TurnState.model_validate({"user_txt": "hello"})


def test_degradations_are_kept_in_order_of_nodes() -> None:
    """Whichever branch was faster, the rows have the same order; None empties them."""
    rows = [{"node": "memory_manager"}, {"node": "evolver"}]
    assert (
        collect_degraded(None, rows)
        == collect_degraded([rows[0]], [rows[1]])
        == collect_degraded([rows[1]], [rows[0]])
    )
    assert collect_degraded(rows, None) == []


async def test_parallel_nodes_degrade_in_a_stable_order(answer: Any, simulated: Any) -> None:
    """When everything is nonsense, overlapped and serial turns list the same degradations."""
    broken = simulated(malformed_json_rate=1.0)
    (serial,) = await answer(broken)
    (overlapped,) = await answer(broken, preset="classic_parallel")
    rows = [row["node"] for row in overlapped.record["degraded"]]
    assert rows == sorted(rows)
    assert rows == [row["node"] for row in serial.record["degraded"]]
    assert {"detection", "inner_monologue", "reasoner", "lats_search", "evolver"} < set(rows)


async def test_a_turn_starts_without_what_the_last_one_left(answer: Any) -> None:
    """A thread's second turn shows none of the first one's notes, plan or degradations."""
    first, second = await answer(
        "budget.conversation.max_calls=1", texts=("Hello.", "Hello again."), keep_checkpoints=True
    )
    assert not first.record["is_fallback"]
    assert second.record["is_fallback"]
    assert second.record["search"]["rollouts_done"] == 0
    assert second.record["asked"] == len(second.rows) == second.record["outcomes"]["refused"]


async def test_a_node_that_fails_leaves_no_call_open(tmp_path: Path) -> None:
    """When a turn breaks off, its scopes close and the ledger still adds up."""

    async def broken(_reply: str, _bubbles: Any) -> None:
        raise OSError("the listener is gone")

    async with app.open(app.settings("classic_parallel"), folder=tmp_path) as session:
        with pytest.raises(OSError, match="listener"):
            await session.run_turn(TurnInput("talk", 0, "Hello."), on_reply=broken)
        assert session.engine.turn(Identity("agent", None, "talk")) is None
        budgeter: Budgeter = session.engine.budgeter
        assert budgeter.in_flight == 0
        budgeter.ledger.check()
        again = await session.run_turn(TurnInput("talk", 0, "Hello."))
        assert again.record["turn"] == 0
        assert len(again.rows) == again.record["asked"]


async def test_a_cancelled_turn_settles_and_can_be_run_again(tmp_path: Path) -> None:
    """Cancelling in the middle of a turn leaves no open call, and the turn runs again."""
    settings = app.settings("classic_parallel")
    async with app.open(settings, folder=tmp_path) as session:
        hanging = asyncio.Event()

        async def hang(_reply: str, _bubbles: Any) -> None:
            hanging.set()
            await asyncio.Event().wait()

        turn = asyncio.create_task(session.run_turn(TurnInput("talk", 0, "Hi."), on_reply=hang))
        await hanging.wait()
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
        session.engine.budgeter.ledger.check()
        again = await session.run_turn(TurnInput("talk", 0, "Hi."))
        assert again.record["reply"]
        assert len(again.rows) == again.record["asked"]


def test_building_needs_no_engine() -> None:
    """The graph compiles, and draws itself, without a model, a file or a key."""
    assert "lats_search" in build_graph(overlap=True).get_graph().draw_mermaid()


def test_sessions_share_a_graph_that_keeps_nothing() -> None:
    """Equal knobs give one graph, other knobs another."""
    assert build_graph(overlap=True) is build_graph(overlap=True)
    assert build_graph(overlap=True) is not build_graph(overlap=False)


def test_equal_settings_are_planned_once() -> None:
    """Settings made twice have one plan; a knob changed in one of them gives another."""
    first, again, other = (
        app.plan(app.settings("balanced", overrides))
        for overrides in ((), (), ("search.max_calls=3",))
    )
    assert first is again
    assert other.measured()[0].counts.asked < first.measured()[0].counts.asked
