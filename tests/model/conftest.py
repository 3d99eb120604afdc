"""The command line as a program, before a real server on this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.model.programs import (
    ROOT,
    cut_model,
    environment_reason,
    model_server,
    simulated_server,
)
from tests.model.proxy import Exchange, Proxy, answered_by

MODEL = "smollm2-cut"
MAX_OUTPUT_TOKENS = 16
"""Of the nonsense that is replaced anyway."""

Rows = list[dict[str, Any]]
Behind = Callable[..., Proxy]


def rows_of(path: Path) -> Rows:
    """Return a JSON Lines file's rows."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def choices_by_call(rows: Rows) -> list[tuple[str, str]]:
    """Return each call's key and choice, in an order that no server's speed changes."""
    return sorted((row["key"], json.dumps(row["choice"], sort_keys=True)) for row in rows)


def spent_in(log: Sequence[Exchange]) -> dict[str, int]:
    """Return what the proxy saw: requests and tokens."""
    return {
        "requests": len(log),
        "input_tokens": sum(each.input_tokens for each in log),
        "output_tokens": sum(each.output_tokens for each in log),
        "cached_tokens": sum(each.cached_tokens for each in log),
    }


def counted_in(rows: Rows) -> dict[str, int]:
    """Return the same by the ledger's rows, or by the turns'."""
    names = ("requests", "input_tokens", "output_tokens", "cached_tokens")
    return {name: sum(row[name] for row in rows) for name in names}


class CommandLine:
    """`callwise ...` in a folder, with nothing but the environment to tell it the endpoint.

    Args:
        folder: where it runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {}

    def use(self, base_url: str, **variables: str) -> None:
        """Set the endpoint, and further variables, as a user would."""
        self.environment = {
            "CALLWISE_BASE_URL": base_url,
            "CALLWISE_MODEL": MODEL,
            **variables,
        }

    def __call__(
        self, *arguments: object, stdin: str = "", code: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command.

        Args:
            arguments: after `callwise`.
            stdin: what is typed.
            code: the exit code that it must have; None takes any.
        """
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "callwise", *map(str, arguments)],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"} | self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done


@pytest.fixture
def command(tmp_path: Path) -> CommandLine:
    """Return the command line in a separate folder."""
    return CommandLine(tmp_path)


@pytest.fixture(scope="session")
def cut_server() -> Iterator[str]:
    """Give the base URL of the cut model, with four slots."""
    if reason := environment_reason():
        pytest.skip(reason)
    with model_server("--model", cut_model()) as url:
        yield url


@pytest.fixture(scope="session")
def simulated() -> Iterator[str]:
    """Give the base URL of the simulated model, whose answers replace the nonsense."""
    with simulated_server() as url:
        yield url


@pytest.fixture
def behind(cut_server: str, simulated: str) -> Iterator[Behind]:
    """Return a function that starts a proxy before the cut model, or another server."""
    with ExitStack() as stack:

        def start(upstream: str = cut_server, **options: Any) -> Proxy:
            chosen = {
                "stand_in": answered_by(simulated),
                "max_output_tokens": MAX_OUTPUT_TOKENS,
                **options,
            }
            return stack.enter_context(Proxy(upstream, **chosen))

        yield start


@pytest.fixture(scope="session")
def conversations() -> dict[str, Path]:
    """Return the shipped conversations by language."""
    folder = ROOT / "configs" / "conversations"
    return {"en": folder / "en_moving_city.jsonl", "zh": folder / "zh_night_shift.jsonl"}
