"""The agent of another shape: what its ledger says."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from callwise.testing.fakes import ScriptedClient
from callwise.testing.fixture import CallwiseFixture

EXAMPLE = Path(__file__).parents[2] / "examples" / "react_agent.py"


@pytest.fixture
def example() -> ModuleType:
    """Return the example as a module."""
    spec = importlib.util.spec_from_file_location("react_agent", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_every_step_of_the_agent_is_a_call(example: ModuleType) -> None:
    """Two look-ups and the answer: three calls, each served once and priced."""
    answer, rows = await example.ask_agent()
    assert answer == "1201 km."
    assert [row.outcome for row in rows] == ["served"] * 3
    assert [row.requests for row in rows] == [1, 1, 1]
    assert [row.end_round for row in rows] == [1, 2, 3]
    assert [row.input_tokens for row in rows] == [60, 100, 140]
    assert {row.purpose for row in rows} == {"reason"}
    assert sum(row.usd for row in rows) == pytest.approx((300 * 0.5 + 45 * 1.5) / 1e6)


@pytest.mark.parametrize("limit", [0, 1, 2])
async def test_a_limit_stops_the_agent_before_it_sends(example: ModuleType, limit: int) -> None:
    """The call beyond the limit is refused and counted, and no request leaves."""
    answer, rows = await example.ask_agent(limit)
    assert f"max_calls={limit}" in answer
    assert [row.outcome for row in rows] == ["served"] * limit + ["refused"]
    assert sum(row.requests for row in rows) == limit


@pytest.mark.slow
def test_it_prints_its_ledger(tmp_path: Path) -> None:
    """As a script it prints a line for each call of both runs, in under 80 lines of code."""
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, str(EXAMPLE)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.count("  call ") == 6
    assert "refused" in done.stdout
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 80


@pytest.mark.max_calls(turn=3, main=3, think=3)
async def test_the_agent_asks_no_more_than_its_baseline(
    example: ModuleType, callwise: CallwiseFixture
) -> None:
    """The gate holds an agent that is not ours in shape: three calls, all of one node."""
    agent = example.build_agent(callwise.model(client=ScriptedClient(example.scripted)))
    with callwise.turn("leeds-to-lyon", 0):
        said = await agent.ainvoke({"messages": [example.QUESTION]})
    assert said["messages"][-1].text == "1201 km."
    assert callwise.calls.by_node == {"think": 3}
    callwise.check(None, "react_agent")
