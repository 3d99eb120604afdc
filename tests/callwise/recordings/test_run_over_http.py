"""A run against a real HTTP endpoint, and its replay when the endpoint is gone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import AuthFailed, BadResponse, ServerFailed
from callwise.recordings import read_conversations
from callwise.recordings.cassette import CassetteMode
from callwise.recordings.replay_run import FinishedRun, RunRequest, run_replay
from callwise.simulator import SimulatedSettings
from callwise.simulator.server import SimServer
from graph.app import app

KEY = "sk-a-key-that-nobody-may-see"
FAST_RETRIES = ("retry.first_wait_seconds=0", "retry.max_wait_seconds=0")


@pytest.fixture
def talk(write_lines: Callable[..., Path]) -> Path:
    """Return two short conversations of two users."""
    texts = (("I lost my job.", "Nobody knows."), ("我今天很难过。", "我还没有告诉任何人。"))
    return write_lines(
        *(
            {"conversation_id": f"talk-{n}", "turn": turn, "user_id": f"u{n}", "user_text": text}
            for n, both in enumerate(texts)
            for turn, text in enumerate(both)
        )
    )


def _request(talk: Path, folder: Path, *overrides: str, **changes: Any) -> RunRequest:
    return RunRequest(
        app=app,
        app_target="graph.app:app",
        settings=app.settings("classic_parallel", [*FAST_RETRIES, *overrides]),
        conversations=read_conversations([talk]).conversations,
        folder=folder,
        **changes,
    )


@pytest.fixture
def point_to(monkeypatch: pytest.MonkeyPatch) -> Callable[[SimServer], None]:
    """Return a function that sets a server as the endpoint, with a key."""

    def point(server: SimServer) -> None:
        monkeypatch.setenv("CALLWISE_BASE_URL", server.base_url)
        monkeypatch.setenv("CALLWISE_MODEL", "simulated")
        monkeypatch.setenv("CALLWISE_API_KEY", KEY)

    return point


def _same(run: FinishedRun) -> list[tuple[Any, ...]]:
    names = ("reply", "bubbles", "asked", "requests", "attempts", "rounds", "search")
    names += ("repairs", "unreadable", "degraded")
    return [tuple(turn[name] for name in names) for turn in run.turns]


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [(), ("budget.turn.max_calls=8",), ("budget.turn.max_seconds=0.3", "reply.held_seconds=0.15")],
    ids=["free", "calls", "seconds"],
)
@pytest.mark.parametrize("concurrency", [1, 8])
async def test_a_recording_plays_when_the_endpoint_is_gone(  # noqa: PLR0917 - fixtures
    talk: Path,
    tmp_path: Path,
    point_to: Callable[[SimServer], None],
    monkeypatch: pytest.MonkeyPatch,
    overrides: tuple[str, ...],
    concurrency: int,
) -> None:
    """Retries and repairs included, and no key is needed or written anywhere."""
    settings = SimulatedSettings(
        error_rate_429=0.1,
        error_rate_500=0.1,
        retry_after_seconds=0.0,
        malformed_json_rate=0.15,
        real_time_scale=0.02 if "budget.turn.max_seconds=0.3" in overrides else 0.0,
    )
    async with SimServer(settings) as server:
        point_to(server)
        overrides = (*overrides, "retry.server_failed_attempts=8")  # a call must not run out
        first = await run_replay(_request(talk, tmp_path / "first", *overrides))
        # A request that the deadline cuts as it leaves was sent, but a server may never read it.
        cut = sum(row["outcome"] in {"failed", "cancelled"} for row in first.rows)
        sent = sum(row["requests"] for row in first.rows)
        assert sent - cut <= len(server.log) <= sent
        assert cut == 0 or "budget.turn.max_seconds=0.3" in overrides
    monkeypatch.delenv("CALLWISE_API_KEY")
    again = await run_replay(
        _request(
            talk,
            tmp_path / "again",
            *overrides,
            cassette=first.folder / "cassette.jsonl",
            mode=CassetteMode.STRICT,
            max_concurrency=concurrency,
        )
    )
    assert _same(again) == _same(first)
    assert {row["outcome"] for row in again.rows} <= {"replayed", "refused"}
    for folder in (first.folder, again.folder):
        for path in folder.iterdir():
            assert KEY.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("fault", "error"), [("500", ServerFailed), ("401", AuthFailed), ("html", BadResponse)]
)
async def test_what_ended_a_run_does_not_end_it_again(
    talk: Path,
    tmp_path: Path,
    point_to: Callable[[SimServer], None],
    fault: str,
    error: type[Exception],
) -> None:
    """When server, key or gateway are mended the run goes on, and nothing is bought twice."""
    # From the second turn on: whichever call meets it, a later turn has no first draft.
    broken = [*["ok"] * 18, *[fault] * 200]
    async with SimServer(SimulatedSettings(), faults=broken) as server:
        point_to(server)
        with pytest.raises(error):
            await run_replay(_request(talk, tmp_path / "run"))
        served = sum(entry.fault == "ok" for entry in server.log)
        list(server._faults._script)  # the server is mended: the script is used up
        before = len(server.log)
        run = await run_replay(_request(talk, tmp_path / "run"))
        assert len(run.turns) == 4
        assert not any(turn["is_fallback"] for turn in run.turns)
        requests = sum(row["requests"] for row in run.rows)
        assert len(server.log) - before == requests - served


async def test_html_ends_the_run_and_leaves_what_was_finished(
    talk: Path, tmp_path: Path, point_to: Callable[[SimServer], None]
) -> None:
    """A gateway's page that stays is shown as text, and no rule hides it."""
    async with SimServer(SimulatedSettings(), faults=["html"] * 50) as server:
        point_to(server)
        with pytest.raises(BadResponse, match=r"(?i)html"):
            await run_replay(_request(talk, tmp_path / "run"))
        assert (tmp_path / "run" / "turns.jsonl").read_bytes() == b""


async def test_a_simulated_server_is_labelled(
    talk: Path, tmp_path: Path, point_to: Callable[[SimServer], None]
) -> None:
    """Reached over the network, simulated answers are called so, and in their replay too."""
    async with SimServer(SimulatedSettings()) as server:
        point_to(server)
        first = await run_replay(_request(talk, tmp_path / "first"))
    again = await run_replay(
        _request(
            talk,
            tmp_path / "again",
            cassette=first.folder / "cassette.jsonl",
            mode=CassetteMode.STRICT,
        )
    )
    for run in (first, again):
        assert all(turn["simulated"] for turn in run.turns)
        assert all(row["is_simulated"] for row in run.rows)


async def test_a_server_on_another_port_is_answered_from_the_recording(
    talk: Path, tmp_path: Path, point_to: Callable[[SimServer], None]
) -> None:
    """The address is no part of what was asked; nothing is sent, and a notice says so."""
    async with (
        SimServer(SimulatedSettings()) as server,
        SimServer(SimulatedSettings()) as other,
    ):
        assert other.base_url != server.base_url
        point_to(server)
        first = await run_replay(_request(talk, tmp_path / "first"))
        point_to(other)
        for mode in (CassetteMode.STRICT, CassetteMode.NEW_EPISODES):
            again = await run_replay(
                _request(
                    talk,
                    tmp_path / str(mode),
                    cassette=tmp_path / "first" / "cassette.jsonl",
                    mode=mode,
                )
            )
            assert _same(again) == _same(first)
            assert {row["sent"] for row in again.rows} == {0}
            assert any("answer for it" in notice for notice in again.notices)
        assert not list(other.log)
