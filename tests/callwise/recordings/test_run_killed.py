"""A run that is killed, interrupted or runs out of disk loses no finished turn."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from callwise.recordings import read_conversations
from callwise.recordings.app_protocol import TurnResult
from callwise.recordings.replay_run import FinishedRun, RunRequest, run_replay
from callwise.recordings.run_folder import DiskFull, RunFolder
from callwise.simulator import SimulatedSettings
from callwise.simulator.server import SimServer
from graph.app import app

TURNS = 4
KILL_AFTER_REQUESTS = 40
"""In the third turn of four, each of 16 calls."""


def _variables(server: SimServer) -> dict[str, str]:
    return {"CALLWISE_BASE_URL": server.base_url, "CALLWISE_MODEL": "simulated"}


@pytest.fixture
async def server() -> AsyncIterator[SimServer]:
    """Run the simulated model over HTTP; request `KILL_AFTER_REQUESTS` is never answered.

    So the process always ends with that request in flight, however slow the machine.
    An answer on its way to a dead process would count as given, and the next differ.
    """

    async def sleep(_seconds: float) -> None:
        if len(running.log) == KILL_AFTER_REQUESTS:
            await asyncio.Event().wait()

    settings = SimulatedSettings(seed=3, real_time_scale=1.0)
    async with SimServer(settings, sleep=sleep) as running:
        yield running


@pytest.fixture
def talk(write_lines: Callable[..., Path]) -> Path:
    """Return a conversation of four turns."""
    texts = ("I lost my job.", "Nobody knows yet.", "What would you do?", "Thank you, really.")
    return write_lines(
        *(
            {"conversation_id": "talk", "turn": turn, "user_text": text}
            for turn, text in enumerate(texts)
        )
    )


async def _started(server: SimServer, talk: Path, out: Path) -> Process:
    """Start `callwise replay` in a separate process."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from callwise.cli.main import main; main()",
        "replay",
        str(talk),
        "--out",
        str(out),
        "--set",
        "search.early_exit.enabled=false",
        cwd=talk.parent,
        env={**os.environ, **_variables(server)},
        stdout=PIPE,
        stderr=PIPE,
    )


async def _finished(server: SimServer, talk: Path, out: Path) -> FinishedRun:
    """Run the same to its end in this process."""
    request = RunRequest(
        app=app,
        app_target="graph.app:app",
        settings=app.settings("classic", ["search.early_exit.enabled=false"]),
        conversations=read_conversations([talk]).conversations,
        folder=out,
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _variables(server).items():
            patch.setenv(name, value)
        return await run_replay(request)


def _told(run: FinishedRun) -> list[tuple[Any, ...]]:
    """Return what a run says of its turns, but for the time that they took."""
    same = ("turn", "reply", "bubbles", "stage", "mode", "asked", "search", "rounds", "notes")
    return [tuple(turn[name] for name in same) for turn in run.turns]


def _calls(run: FinishedRun) -> list[tuple[Any, ...]]:
    """Return its calls; their keys name the server's port, which differs."""
    same = ("sequence", "scope", "purpose", "requests", "input_tokens", "output_tokens")
    return [tuple(row[name] for name in same) for row in run.rows]


def _sent_twice(server: SimServer) -> int:
    """Return how many requests asked again for a sample that had been asked for."""
    sent = Counter((entry.body_digest, entry.sample) for entry in server.log)
    return sum(count - 1 for count in sent.values())


async def _whole(talk: Path, out: Path) -> FinishedRun:
    """Return the same run without interruption, against a separate server."""
    async with SimServer(SimulatedSettings(seed=3)) as server:
        run = await _finished(server, talk, out)
        assert len(server.log) == len(run.rows) == TURNS * 16
    return run


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
async def test_a_stopped_run_goes_on_and_buys_nothing_twice(
    server: SimServer, talk: Path, tmp_path: Path, ending: signal.Signals
) -> None:
    """After kill -9 or Ctrl-C finished turns stand, and only the call in flight is sent again."""
    process = await _started(server, talk, tmp_path / "run")
    async with asyncio.timeout(60):
        await server.log.reached(KILL_AFTER_REQUESTS)
        process.send_signal(ending)
        _, said = await process.communicate()
    if ending is signal.SIGINT:
        assert process.returncode == 130, said
        assert b"finished turns are kept" in said
    else:
        assert process.returncode == -signal.SIGKILL
    finished = (tmp_path / "run" / "turns.jsonl").read_bytes()
    assert [orjson.loads(line)["turn"] for line in finished.splitlines()] == [0, 1]

    run = await _finished(server, talk, tmp_path / "run")
    assert run.turns_before == 2
    assert (run.folder / "turns.jsonl").read_bytes().startswith(finished)
    whole = await _whole(talk, tmp_path / "whole")
    assert _told(run) == _told(whole)
    assert _calls(run) == _calls(whole)
    assert len(server.log) == TURNS * 16 + 1
    assert _sent_twice(server) == 1


def _result(turn: int) -> TurnResult:
    row = {"conversation": "talk", "turn": str(turn), "node": "detection", "sequence": 1}
    return TurnResult({"conversation_id": "talk", "turn": turn, "reply": "Hm."}, [row, row])


@pytest.mark.parametrize("full", ["_row_file", "_turn_file"])
def test_a_full_disk_is_said_and_finished_turns_stand(tmp_path: Path, full: str) -> None:
    """The turn that found the disk full is not finished; with space again it is written once."""
    folder = RunFolder(tmp_path / "run", identity={"app": "x"}, details={})
    folder.add(_result(0))
    real = getattr(folder, full)
    with open("/dev/full", "ab", buffering=0) as device:  # noqa: PTH123 - a device, not a path
        setattr(folder, full, device)
        with pytest.raises(DiskFull, match="1 finished turns are there"):
            folder.add(_result(1))
    setattr(folder, full, real)
    folder.close()

    again = RunFolder(tmp_path / "run", identity={"app": "x"}, details={})
    assert again.finished == {("talk", 0)}
    assert len(again.rows) == 2
    again.add(_result(1))
    again.finish([("talk", 0), ("talk", 1)])
    again.close()
    lines = (tmp_path / "run" / "ledger.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["sequence"] for line in lines] == [1, 2, 3, 4]
