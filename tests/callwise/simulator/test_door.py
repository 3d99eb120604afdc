"""The public names of the simulator, and what their import costs."""

import subprocess
import sys

import callwise.simulator as door


def test_exports():
    """The package has four public names."""
    assert set(door.__all__) == {
        "SimulatedClient",
        "SimulatedModel",
        "SimulatedSettings",
        "true_quality",
    }
    assert all(hasattr(door, name) for name in door.__all__)


def test_nothing_heavy_is_imported():
    """A command that only needs the settings starts quickly."""
    code = (
        "import sys, callwise.simulator\n"
        "heavy = {'openai', 'aiohttp', 'numpy', 'langchain_core', 'langgraph', 'tiktoken'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
