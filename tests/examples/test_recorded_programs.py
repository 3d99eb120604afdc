"""Two programs of another shape, each recorded, replayed and gated in at most twelve lines."""

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from callwise.testing.fakes import ScriptedClient
from callwise.testing.fixture import CallwiseFixture

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    """Return an example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


react_agent, supervisor = load("react_agent"), load("supervisor")


@pytest.mark.max_calls(turn=3, think=3)
async def test_the_react_agent(callwise: CallwiseFixture) -> None:
    """Recorded with `--callwise-record --callwise-update`; this is all that it takes."""
    callwise.cassette("cassettes/react_agent.jsonl")
    client = lambda: ScriptedClient(react_agent.scripted)  # noqa: E731 - asked to record only
    agent = react_agent.build_agent(callwise.model(client=client))
    with callwise.turn("leeds-to-lyon"):
        said = await agent.ainvoke({"messages": [react_agent.QUESTION]})
    assert said["messages"][-1].text == "1201 km."
    callwise.check(None, "recorded_react_agent")


@pytest.mark.max_calls(turn=5, **{"researcher/model": 1, "writer/model": 1})
async def test_the_supervisor(callwise: CallwiseFixture) -> None:
    """A call that changes from one sub-agent to the other is a finding."""
    callwise.cassette("cassettes/supervisor.jsonl")
    client = lambda: ScriptedClient(supervisor.scripted)  # noqa: E731 - asked to record only
    team = supervisor.build(callwise.model(client=client))
    with callwise.turn("cats"):
        said = await team.ainvoke({"messages": [supervisor.QUESTION]})
    assert said["messages"][-1].text == "Nobody is sure why. They purr at 25 to 150 Hz."
    callwise.check(None, "recorded_supervisor")


@pytest.mark.parametrize("test", [test_the_react_agent, test_the_supervisor])
def test_twelve_lines_are_enough(test: Any) -> None:
    """The mark, the signature and the docstring are among them."""
    assert len(inspect.getsource(test).splitlines()) <= 12
