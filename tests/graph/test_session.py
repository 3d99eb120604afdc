"""A session: listeners, untrusted names, and going on in another process."""

import asyncio
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from callwise.budget.metrics.reporter import Reporter
from callwise.memory import Identity, StoreFailed
from callwise.recordings.app_protocol import TurnInput
from graph.app import app

OTHER_PROCESS = """
import asyncio, json, sys
from pathlib import Path
from graph.app import app
from callwise.memory import Identity, StoreFailed
from callwise.recordings.app_protocol import TurnInput

async def main(folder, texts):
    thread = Identity("agent", None, "talk").thread_id
    settings = app.settings("classic", ["search.early_exit.enabled=false"])
    async with app.open(settings, folder=Path(folder), keep_checkpoints=True) as session:
        for text in texts:
            turn = await session.run_turn(TurnInput("talk", None, text))
            state = await session.graph.aget_state({"configurable": {"thread_id": thread}})
            print(json.dumps([turn.record["turn"], turn.record["reply"], state.values["turn"]]))

asyncio.run(main(sys.argv[1], sys.argv[2:]))
"""


def _in_a_process(folder: Path, *texts: str) -> list[list[Any]]:
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", OTHER_PROCESS, str(folder), *texts],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
async def test_another_process_goes_on_where_one_stopped(
    tmp_path: Path, texts: tuple[str, ...], answer: Any, gates_shut: Any
) -> None:
    """Two turns in a process, the third in the next: its checkpoint and memory go on."""
    first = await asyncio.to_thread(_in_a_process, tmp_path, *texts[:2])
    second = await asyncio.to_thread(_in_a_process, tmp_path, texts[2])
    assert [turn for turn, _, _ in first + second] == [0, 1, 2]
    assert [kept for _, _, kept in first + second] == [0, 1, 2]
    assert (tmp_path / "checkpoints.sqlite").stat().st_size > 0


async def test_one_process_or_two_say_the_same(
    tmp_path: Path, texts: tuple[str, ...], answer: Any
) -> None:
    """A conversation that was taken up again is answered as if it had never stopped."""
    whole = await answer(texts=texts, keep_checkpoints=True)
    folder = tmp_path / "parted"
    parts = [
        *await answer(texts=texts[:1], folder=folder, keep_checkpoints=True),
        *await answer(texts=texts[1:], folder=folder, keep_checkpoints=True),
    ]
    assert [t.record["reply"] for t in parts] == [t.record["reply"] for t in whole]
    # Only the numbering of calls starts over with a session.
    for one, other in zip(parts, whole, strict=True):
        rows = [[{**row, "sequence": 0} for row in turn.rows] for turn in (one, other)]
        assert rows[0] == rows[1]


async def test_a_turn_that_broke_off_is_not_checkpointed(tmp_path: Path) -> None:
    """With durability at exit a checkpoint is a whole turn: a broken one leaves none."""
    config = {"configurable": {"thread_id": Identity("agent", None, "talk").thread_id}}
    async with app.open(app.settings("classic"), folder=tmp_path, keep_checkpoints=True) as session:

        async def broken(_reply: str, _bubbles: Any) -> None:
            raise OSError("the listener is gone")

        await session.run_turn(TurnInput("talk", None, "Hello."))
        before = await session.graph.aget_state(config)
        with pytest.raises(OSError, match="listener"):
            await session.run_turn(TurnInput("talk", None, "And now?"), on_reply=broken)
        turn = await session.run_turn(TurnInput("talk", None, "And now?"))
        after = await session.graph.aget_state(config)
    assert before.values["turn"] == 0
    assert turn.record["turn"] == after.values["turn"] == 1
    assert len(after.values["history"]) == 2


async def test_checkpoints_contain_plain_values_only(
    answer: Any, texts: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """No class of ours is in a checkpoint: any version, and strict readers, can read it."""
    await answer(texts=texts, keep_checkpoints=True)
    assert not [row.message for row in caplog.records if "Deserializing" in row.message]


@pytest.mark.parametrize("preset", ["classic", "balanced", "instant"])
async def test_checkpoints_change_nothing(answer: Any, texts: tuple[str, ...], preset: str) -> None:
    """With a checkpointer or without, turns are the same."""
    kept = await answer(texts=texts, preset=preset, keep_checkpoints=True)
    bare = await answer(texts=texts, preset=preset)
    assert [t.record for t in kept] == [t.record for t in bare]


async def test_the_reply_is_out_before_the_bookkeeping(tmp_path: Path) -> None:
    """The listener is given the reply when only the calls before it have been asked."""
    given: list[tuple[str, int]] = []
    async with app.open(app.settings("classic"), folder=tmp_path) as session:

        async def listen(reply: str, bubbles: Any) -> None:
            asked = session.engine.budgeter.ledger.counts().asked
            given.append((reply, asked))
            assert bubbles

        turn = await session.run_turn(TurnInput("talk", None, "Hello."), on_reply=listen)
    assert given == [(turn.record["reply"], turn.record["asked"] - 2)]


async def test_two_sessions_on_one_memory(tmp_path: Path) -> None:
    """Sessions of two processes that alternate see each other's turns; parallel ones fail."""
    settings = app.settings("classic")
    async with (
        app.open(settings, folder=tmp_path) as one,
        app.open(settings, folder=tmp_path) as other,
    ):
        turns = [
            await session.run_turn(TurnInput("talk", None, f"Message {n}."))
            for n, session in enumerate((one, other, other, one))
        ]
        assert [turn.record["turn"] for turn in turns] == [0, 1, 2, 3]
        at_once = await asyncio.gather(
            *(session.run_turn(TurnInput("talk", None, "And now?")) for session in (one, other)),
            return_exceptions=True,
        )
        kept = [turn for turn in at_once if not isinstance(turn, BaseException)]
        assert all(isinstance(turn, StoreFailed) for turn in at_once if turn not in kept)
        assert len(kept) >= 1
        again = await one.run_turn(TurnInput("talk", None, "Still here?"))
        assert again.record["turn"] == 5


async def test_users_do_not_share_memories(tmp_path: Path) -> None:
    """Two users of one agent, and one user's two conversations: who knows what."""
    async with app.open(app.settings("classic"), folder=tmp_path) as session:
        for user in ("ann", "bob"):
            await session.run_turn(TurnInput(f"{user}-1", None, "My cat is ill.", user_id=user))
        again = await session.run_turn(TurnInput("ann-2", None, "How is my cat?", user_id="ann"))
        stranger = await session.run_turn(TurnInput("eve-1", None, "How is my cat?", user_id="eve"))
    # A prompt that has a memory is longer than one that has none.
    plans = [
        next(row["input_tokens"] for row in turn.rows if row["purpose"] == "plan")
        for turn in (again, stranger)
    ]
    assert plans[0] > plans[1]


async def test_two_turns_of_one_conversation_do_not_mix(tmp_path: Path) -> None:
    """Conversations side by side keep their own rows, rounds and scopes."""
    settings = app.settings("classic_parallel")
    async with app.open(settings, folder=tmp_path) as session:
        turns = await asyncio.gather(
            *(
                session.run_turn(TurnInput(f"talk-{n}", None, "Hello.", user_id=f"user-{n}"))
                for n in range(6)
            )
        )
        session.engine.budgeter.ledger.check()
    for n, turn in enumerate(turns):
        assert {row["conversation"] for row in turn.rows} == {f"talk-{n}"}
        assert len(turn.rows) == turn.record["asked"]
        assert [row["sequence"] for row in turn.rows] == sorted(
            row["sequence"] for row in turn.rows
        )


async def test_the_loop_goes_on_while_metrics_are_closed(tmp_path, monkeypatch):
    """What is closed may wait for the loop, which takes the last numbers."""
    loop = asyncio.get_running_loop()
    answered = []

    def close(_reporter):
        is_answered = threading.Event()
        loop.call_soon_threadsafe(is_answered.set)
        answered.append(is_answered.wait(10))

    monkeypatch.setattr(Reporter, "close", close)
    settings = app.settings("instant", {"metrics.status": True})
    async with app.open(settings, folder=tmp_path):
        pass
    assert answered == [True]
