"""The notebooks on an endpoint, found by its environment variables; and on one that dies."""

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from callwise.calls.errors import AuthFailed
from callwise.calls.owner_loop import OwnerLoop
from callwise.simulator import SimulatedSettings
from callwise.simulator.server import SimServer
from tests.notebooks.cells import Session, sources_of

pytest.importorskip("pandas", reason="the notebooks need the extra `tune`")


@contextmanager
def _serving(monkeypatch: pytest.MonkeyPatch, faults: list[str]) -> Iterator[SimServer]:
    """Run a server in another thread, since a cell blocks its own, and name it to the notebooks."""
    server, owner = SimServer(SimulatedSettings(), faults=faults), OwnerLoop(is_private=True)
    owner.wait(server.__aenter__)
    try:
        for name, value in {"BASE_URL": server.base_url, "MODEL": "m", "API_KEY": "k"}.items():
            monkeypatch.setenv(f"CALLWISE_{name}", value)
        yield server
    finally:
        owner.wait(server.__aexit__, None, None, None)
        owner.close()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [
        {"conversation_id": name, "turn": turn, "user_text": f"{name}, hour {turn}."}
        for name in ("Monday", "Tuesday")
        for turn in range(2)
    ]
    Path("mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def _cells(number: str) -> list[str]:
    shipped = "en_moving_city.jsonl" if number == "05" else "small_talks.jsonl"
    edits = {} if number == "01" else {f'cw.example_path("{shipped}")': '"mine.jsonl"'}
    return sources_of(number, edits)


@pytest.mark.parametrize(
    "number", ["02", *(pytest.param(each, marks=pytest.mark.slow) for each in ("01", "03", "05"))]
)
async def test_a_notebook_asks_the_endpoint_once(
    number: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the endpoint, runs to its end, and asks nothing when it runs again."""
    with _serving(monkeypatch, []) as server:
        await Session().run(_cells(number))
        shown = capsys.readouterr().out
        assert f"answers: m at {server.base_url}: every call is sent" in shown
        sent = len(server.log)
        assert sent > 0
        await Session().run(_cells(number))
        assert len(server.log) == sent


async def test_an_endpoint_that_dies_costs_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is short, has what is kept, and the same cell goes on from there."""
    # One conversation at a time: of another, a call might be on its way when the run breaks off.
    cells = [cell.replace("max_concurrency=4", "max_concurrency=1") for cell in _cells("02")]
    with _serving(monkeypatch, ["ok"] * 20 + ["401"]) as server:
        session = Session()
        with pytest.raises(AuthFailed) as caught:
            await session.run(cells)
        text = "".join(traceback.format_exception(caught.value))
        assert "of 4 turns are finished and kept in callwise-runs" in text
        assert len(text.splitlines()) < 30, text
        await session.run(cells)
        calls = [row for row in session.names["recorded"].rows if not row.is_refused]
        assert len(server.log) == len(calls) + 1
