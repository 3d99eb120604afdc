"""`callwise wake` with the agents' notes in Postgres: no password in any output, and a replay."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from callwise.wake.memory_stores import MEMORY_URL, MemoryKnobs, opened_memory
from tests.callwise.wake.conftest import postgres  # noqa: F401 - a fixture
from tests.callwise.wake.postgres_server import PASSWORD, PostgresServer

AGENTS = """
models:
  one: {model: first}
memory: {backend: postgres, namespace: [test, cli]}
wake: {fallback: everyone, intent_daily_calls: 0}
agents:
  - {id: ann, persona: A baker., model: one}
  - {id: be.n, persona: A diver., model: one}
"""

FILES = ("wakes.jsonl", "messages.jsonl")


@pytest.fixture
def agents(tmp_path: Path) -> Path:
    """Return a file of two agents whose notes are in Postgres."""
    path = tmp_path / "agents.yaml"
    path.write_text(AGENTS, encoding="utf-8")
    return path


def test_a_recorded_run_with_postgres_is_replayed_without_it(
    cli: Any,
    agents: Path,
    tmp_path: Path,
    postgres: PostgresServer,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The notes are on the server, and the password is in no file of the recording."""
    monkeypatch.setenv(MEMORY_URL, postgres.url)
    recorded = cli("wake", agents, "--hours", 3, "--out", "run", "--chat")
    assert recorded.exit_code == 0, recorded.output
    assert "notes:" not in recorded.output

    async def notes() -> list[str]:
        knobs = MemoryKnobs(backend="postgres", namespace=("test", "cli"))
        async with opened_memory(knobs, {MEMORY_URL: postgres.url}) as memory:
            assert memory is not None
            return await memory.search("be.n", "", limit=9)

    assert len(asyncio.run(notes())) == 3
    monkeypatch.delenv(MEMORY_URL)
    again = cli("wake", agents, "--cassette", "run", "--out", "again", "--chat")
    assert again.exit_code == 0, again.output
    assert again.stdout == recorded.stdout
    for name in FILES:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    written = b"".join(path.read_bytes() for path in (tmp_path / "run").iterdir())
    assert PASSWORD.encode() not in written
    assert PASSWORD.replace("@", "%40").encode() not in written
    assert PASSWORD not in recorded.output


def test_without_the_variable_nothing_runs(cli: Any, agents: Path) -> None:
    """The error names it; the variants are not compared on one server."""
    ended = cli("wake", agents, "--hours", 1)
    assert ended.exit_code == 2
    assert "CALLWISE_MEMORY_URL is not set" in ended.output
    ended = cli("wake", agents, "--compare")
    assert ended.exit_code == 2
    assert "Use memory.backend=sqlite" in ended.output
