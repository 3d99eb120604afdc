"""Figures that are gated, read from texts."""

import subprocess
import sys

import pytest

from callwise.calls.errors import ConfigError
from callwise.knobs.gates import Gates, parse_gates


def test_words_become_tolerances() -> None:
    """A share in per cent or as a number; a name alone allows nothing; the last one counts."""
    found = parse_gates(["tokens=5%", "usd=0.1", "rounds", "quality=0.05", "tokens = 6 %"])
    assert found == Gates(tokens=0.06, usd=0.1, rounds=0.0, quality=0.05)
    assert parse_gates([]) == Gates(calls=0.0)


@pytest.mark.parametrize("name", ["latency", "latency=5%", "seconds", "wall_seconds=1"])
def test_latency_is_never_gated(name: str) -> None:
    """A replayed call answers immediately: asking for its latency is an error with this reason."""
    with pytest.raises(ConfigError, match="replayed call answers immediately"):
        parse_gates([name])
    assert not {"latency", "seconds"} & set(Gates.__dataclass_fields__)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("token=5%", "there are: calls, degraded, unreadable, requests"),
        ("", "there are"),
        ("tokens=five", "expected a share"),
        ("tokens=-1%", "at least 0"),
        ("tokens=nan", "at least 0"),
        ("tokens=inf", "at least 0"),
        ("quality=5%", "own unit"),
        ("tokens=5", "rise of 500 %.* Write tokens=5% or tokens=0.05"),
    ],
)
def test_gates_that_cannot_work_say_what_can(text: str, said: str) -> None:
    """An unknown name lists the known ones; a tolerance is a share of at least 0."""
    with pytest.raises(ConfigError, match=said):
        parse_gates([text])


def test_the_gate_is_light_to_import() -> None:
    """A pytest plugin and a check in CI start often: no numpy, no graph, no client."""
    heavy = ["numpy", "langgraph", "langchain_core", "openai", "aiohttp", "pandas", "rich"]
    code = f"import sys, callwise.testing.gate; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
