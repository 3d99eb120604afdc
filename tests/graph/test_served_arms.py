"""Arms of an experiment behind a graph server: assignment, turns that are kept, and refusals."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from callwise.calls.errors import ConfigError
from callwise.knobs import assign
from callwise.memory import Identity
from callwise.recordings.app_protocol import TurnInput
from callwise.report import load_run
from callwise.report.live_status import read_status
from callwise.tuning.arms import arm_report
from graph.app import app
from graph.engine import TurnContext
from graph.langgraph_app import GraphServerContext

SHARES = {"control": 0.5, "small": 0.5}
CALLS = {"control": 8, "small": 5}
"""Calls of a turn of `balanced`, and with a search of at most 3."""


def _preset(
    folder: Path,
    *,
    unit: str = "conversation",
    shares: Mapping[str, float] = SHARES,
    knobs: str = "search.max_calls: 3",
    gone: str = "",
) -> str:
    text = (
        "extends: balanced\n"
        f"experiment:\n  name: caps\n  unit: {unit}\n  arms:\n"
        f"    control: {{share: {shares['control']}}}\n"
        f"    small: {{share: {shares['small']}, set: {{{knobs}}}}}\n"
    )
    (folder / "arms.yaml").write_text(text.replace(f"{gone}:", "other:") if gone else text)
    return str(folder / "arms.yaml")


async def _ask(graph: Any, thread: str, **given: Any) -> dict[str, Any]:
    inputs = {"user_text": "I lost my job.", **given}
    return dict(await graph.ainvoke(inputs, {"configurable": {"thread_id": thread}}))


def _rows(home: Path, name: str) -> list[Mapping[str, Any]]:
    (folder,) = (home / "runs").iterdir()
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


async def test_threads_are_split_and_their_turns_are_a_run(tmp_path: Path) -> None:
    """Each thread has the arm of its hash in every turn; turns and rows name it for reports."""
    home = tmp_path / "home"
    threads = [f"t{number}" for number in range(6)]
    async with aclosing(GraphServerContext(_preset(tmp_path), home)) as served:
        graph = served.graph(checkpointer=InMemorySaver())
        states = await asyncio.gather(*(_ask(graph, thread) for thread in threads))
        again = [await _ask(graph, thread) for thread in threads[:2]]
    arms = {thread: assign("caps", SHARES, thread) for thread in threads}
    assert {state["conversation_id"]: state["arm"] for state in states} == arms
    assert [state["arm"] for state in again] == [arms[thread] for thread in threads[:2]]
    assert set(arms.values()) == {"control", "small"}
    turns, rows = _rows(home, "turns.jsonl"), _rows(home, "ledger.jsonl")
    assert len(turns) == 8
    assert all(turn["arm"] == arms[turn["conversation_id"]] for turn in turns)
    assert {turn["arm"]: turn["asked"] for turn in turns} == CALLS
    assert all(row["scope"].startswith(f"run/arm:{row['arm']}/conv:") for row in rows)
    assert sorted(row["sequence"] for row in rows) == [*range(1, len(rows) + 1)]
    assert len(rows) == sum(turn["asked"] for turn in turns)
    (folder,) = (home / "runs").iterdir()
    run = load_run(folder)
    assert {turn.reply for turn in run.turns} >= {state["reply"] for state in states}
    assert arm_report(run).units == {arm: [*arms.values()].count(arm) for arm in SHARES}
    record = run.feedback(threads[0], 0, rating=5)
    assert record.reply


async def test_a_served_turn_is_that_of_a_session(tmp_path: Path) -> None:
    """Its record and its rows are those of `callwise run` with the same arms."""
    preset = _preset(tmp_path)
    async with aclosing(GraphServerContext(preset, tmp_path / "home")) as served:
        await _ask(served.graph(checkpointer=InMemorySaver()), "t1")
    (tmp_path / "session").mkdir()
    async with app.open(app.settings(preset), folder=tmp_path / "session") as session:
        result = await session.run_turn(TurnInput("t1", 0, "I lost my job."))
    assert _rows(tmp_path / "home", "turns.jsonl") == [json.loads(json.dumps(result.record))]
    assert _rows(tmp_path / "home", "ledger.jsonl") == json.loads(json.dumps(result.rows))


async def test_users_are_split_where_they_are_the_unit(tmp_path: Path) -> None:
    """All threads of a user have one arm; a thread without a user is its own user."""
    preset = _preset(tmp_path, unit="user")
    async with aclosing(GraphServerContext(preset, tmp_path / "home")) as served:
        graph = served.graph(checkpointer=InMemorySaver())
        ann = [await _ask(graph, f"t{number}", user_id="ann") for number in range(4)]
        alone = [await _ask(graph, f"alone{number}") for number in range(9)]
    assert {state["arm"] for state in ann} == {assign("caps", SHARES, "ann")}
    assert [s["arm"] for s in alone] == [assign("caps", SHARES, f"alone{n}") for n in range(9)]
    assert {state["arm"] for state in alone} == {"control", "small"}


async def test_a_server_that_begins_again_goes_on_with_its_run(tmp_path: Path) -> None:
    """Arms, numbers and turns go on; other shares are another run."""
    home = tmp_path / "home"
    for _ in range(2):
        async with aclosing(GraphServerContext(_preset(tmp_path), home)) as served:
            await _ask(served.graph(), "t", conversation_id="talk")
    turns, rows = _rows(home, "turns.jsonl"), _rows(home, "ledger.jsonl")
    assert [turn["turn"] for turn in turns] == [0, 1]
    assert len({turn["arm"] for turn in turns}) == 1
    assert [row["sequence"] for row in rows] == [*range(1, len(rows) + 1)]
    moved = _preset(tmp_path, shares={"control": 0, "small": 1})
    async with aclosing(GraphServerContext(moved, home)) as served:
        assert (await _ask(served.graph(), "t", conversation_id="talk"))["arm"] == "small"
    assert len([*(home / "runs").iterdir()]) == 2


async def test_a_turn_that_is_resumed_keeps_its_arm(tmp_path: Path) -> None:
    """Also where the shares were changed meanwhile; an arm that is gone is an error."""
    home, saver = tmp_path / "home", InMemorySaver()
    thread: Any = {"configurable": {"thread_id": "t"}}
    arm = assign("caps", SHARES, "t")
    async with aclosing(GraphServerContext(_preset(tmp_path), home)) as served:
        graph = served.graph(checkpointer=saver)
        await graph.ainvoke({"user_text": "Hi."}, thread, interrupt_before=["style"])
    moved = {name: float(name != arm) for name in SHARES}
    async with aclosing(GraphServerContext(_preset(tmp_path, shares=moved), home)) as served:
        graph = served.graph(checkpointer=saver)
        state = await graph.ainvoke(None, thread, interrupt_before=["evolver"])
        assert state["arm"] == arm
    served = GraphServerContext(_preset(tmp_path, gone=arm), home)
    async with aclosing(served):
        graph = served.graph(checkpointer=saver)
        with pytest.raises(ValueError, match=f"begun in arm '{arm}'.*no longer has"):
            await graph.ainvoke(None, thread)


async def test_turns_of_one_memory_in_two_arms_follow_each_other(tmp_path: Path) -> None:
    """A user's threads in different arms write one memory, and neither turn is lost."""
    async with aclosing(GraphServerContext(_preset(tmp_path), tmp_path / "home")) as served:
        graph = served.graph(checkpointer=InMemorySaver())
        names = [f"t{number}" for number in range(6)]
        states = await asyncio.gather(*(_ask(graph, name, user_id="ann") for name in names))
        assert {served.arm_of(Identity("agent", "ann", name)) for name in names} == {*SHARES}
    assert sorted(state["version"] for state in states) == [*range(6)]


def test_arms_of_different_orders_are_refused_when_the_server_begins(tmp_path: Path) -> None:
    """A graph server has one graph; the error names the arms and the knobs."""
    preset = _preset(tmp_path, knobs="overlap: false")
    with pytest.raises(ConfigError, match=r"'control' and 'small' run.*different.*`overlap`"):
        GraphServerContext(preset, tmp_path / "home").graph()
    assert not (tmp_path / "home").exists()


async def test_a_turn_that_cannot_be_kept_costs_no_reply(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The reply is there, and the log names the folder."""
    async with aclosing(GraphServerContext(_preset(tmp_path), tmp_path / "home")) as served:
        graph = served.graph(checkpointer=InMemorySaver())
        await _ask(graph, "t1")
        (folder,) = (tmp_path / "home" / "runs").iterdir()
        (folder / "turns.jsonl").unlink()
        assert (await _ask(graph, "t2"))["reply"]
    assert "is not in" in caplog.text
    assert "was deleted or replaced" in caplog.text


async def test_the_arms_of_a_server_are_watched_together(tmp_path: Path) -> None:
    """One status has the calls of all arms, as that of a run."""
    home = tmp_path / "home"
    served = GraphServerContext(_preset(tmp_path), home)
    served.settings = app.settings(_preset(tmp_path), ["metrics.status=true"])
    async with aclosing(served):
        graph = served.graph(checkpointer=InMemorySaver())
        states = await asyncio.gather(*(_ask(graph, f"t{number}") for number in range(6)))
    arms = [state["arm"] for state in states]
    assert set(arms) == set(CALLS)
    assert read_status(home / "status.json").asked == sum(CALLS[arm] for arm in arms)
    plain = GraphServerContext("instant", tmp_path / "plain")
    plain.settings = app.settings("instant", ["metrics.status=true"])
    async with aclosing(plain):
        await _ask(plain.graph(), "t")
    assert read_status(tmp_path / "plain" / "status.json").has_ended


async def test_a_first_client_that_leaves_does_not_begin_the_server_twice(tmp_path: Path) -> None:
    """What it began is what the next one gets."""
    made = 0

    class Counted(GraphServerContext):
        def _make(self) -> dict[str, TurnContext]:
            nonlocal made
            made += 1
            return super()._make()

    async with aclosing(Counted(_preset(tmp_path), tmp_path / "home")) as served:
        first = asyncio.create_task(served("small"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await served("small")).engine is (await served("small")).engine
    assert made == 1


async def test_the_arms_of_a_server_judge_answers_to_similar_calls(tmp_path: Path) -> None:
    """Their judges' calls are rows of the run, outside of turns."""
    served = GraphServerContext(_preset(tmp_path), tmp_path / "home")
    knobs = ["memory.history_turns=0", "cache.similar.fuse.check_share=1.0"]
    served.settings = app.settings(_preset(tmp_path), knobs)
    asked = ("How do I reset my password?", "Please, how can I reset my password?")
    async with aclosing(served):
        graph = served.graph(checkpointer=InMemorySaver())
        for number in range(16):
            await _ask(graph, f"t{number}", user_text=asked[number // 2 % 2], user_id="ann")
    rows = _rows(tmp_path / "home", "ledger.jsonl")
    checks = [row for row in rows if row["purpose"] == "check"]
    assert checks
    assert {row["turn"] for row in checks} == {None}
    assert sorted(row["sequence"] for row in rows) == [*range(1, len(rows) + 1)]
