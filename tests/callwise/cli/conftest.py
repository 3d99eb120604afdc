"""The command line in this process, and a simulated server next to it."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import typer.testing
from click.testing import Result
from typer.main import get_command
from typer.testing import CliRunner

from callwise.cli.main import callwise
from callwise.recordings import read_conversations
from callwise.recordings.app_protocol import load_app
from callwise.recordings.replay_run import RunRequest, run_replay
from callwise.simulator.server import SimServer
from tests.simulated_server import serving as running_server

Cli = Callable[..., Result]
Serving = Callable[..., Any]


def recorded_run(
    folder: Path, turns: Sequence[Mapping[str, Any]], preset: str, *knobs: str
) -> Path:
    """Record a run of the shipped app in a folder, and return the run's folder."""
    talks = folder / "talks.jsonl"
    talks.write_text("".join(json.dumps(turn) + "\n" for turn in turns), encoding="utf-8")
    app = load_app("graph.app:app")
    request = RunRequest(
        app=app,
        app_target="graph.app:app",
        settings=app.settings(preset, knobs),
        conversations=read_conversations([talks]).conversations,
        folder=folder / "run",
    )
    asyncio.run(run_replay(request))
    return request.folder


@pytest.fixture(scope="session", autouse=True)
def _command_is_built_once() -> Iterator[None]:
    """Build the command line from its options once, as a process does, and not for each run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", lru_cache(get_command))
        yield


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every command in an empty folder, as wide as a table needs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


@pytest.fixture
def cli() -> Cli:
    """Return a function that runs a command and returns its exit code and output."""

    def run(*arguments: object, stdin: str | None = None) -> Result:
        return CliRunner().invoke(callwise, [str(each) for each in arguments], input=stdin)

    return run


@pytest.fixture
def one_object() -> Callable[[Result], dict[str, Any]]:
    """Return a function that reads the one JSON object that a command printed."""

    def read(result: Result) -> dict[str, Any]:
        assert result.exit_code == 0, result.output
        assert result.stdout.endswith("\n")
        assert result.stdout.count("\n") == 1
        document = json.loads(result.stdout)
        assert isinstance(document, dict)
        return document

    return read


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """Return a conversation of three turns."""
    texts = ("I lost my job.", "Nobody knows yet.", "What would you do?")
    path = tmp_path / "talk.jsonl"
    lines = (
        {"conversation_id": "talk", "turn": turn, "user_text": text}
        for turn, text in enumerate(texts)
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    """Return a function that starts a simulated server and sets it as the endpoint."""
    with ExitStack() as stack:

        def start(*faults: str, **fields: Any) -> SimServer:
            server = stack.enter_context(running_server(list(faults), **fields))
            monkeypatch.setenv("CALLWISE_BASE_URL", server.base_url)
            monkeypatch.setenv("CALLWISE_MODEL", "simulated")
            return server

        yield start
