"""The servers that the real-model tests and benchmarks run against, as programs.

Each ends when its standard input is closed, so that none outlives its starter.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = ["ROOT", "cut_model", "environment_reason", "model_server", "simulated_server"]

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = Path(os.environ.get("MODEL_VENV", ROOT / ".venv-model")).absolute()
"""Where `make test-model` installs the server and the model."""

_SIMULATED = """
import asyncio, os, threading
from callwise.simulator import SimulatedSettings
from callwise.simulator.server import serve
threading.Thread(target=lambda: (os.read(0, 1), os._exit(0)), daemon=True).start()
asyncio.run(serve("127.0.0.1", 0, SimulatedSettings(), on_ready=print))
"""


def environment_reason() -> str:
    """Return why there is no real model here, or nothing when there is."""
    if (ENVIRONMENT / ".ready").exists():
        return ""
    return "no real model here: `make test-model` installs one"


@contextmanager
def _program(*command: str | Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Give the base URL that a program prints first; it is stopped at the end of the block."""
    process = subprocess.Popen(  # noqa: S603 - our own programs
        [str(part) for part in command],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        url = process.stdout.readline().strip() if process.stdout else ""
        if not url.startswith("http://"):
            raise RuntimeError(f"{command[1]} did not start; it printed {url!r}")
        yield url
    finally:
        process.kill()
        process.communicate()


def cut_model() -> Path:
    """Return the model with its first two layers only, which is written once."""
    path = ENVIRONMENT / "cut.gguf"
    if not path.exists():
        python = ENVIRONMENT / "bin" / "python"
        subprocess.run(  # noqa: S603 - our own program
            [str(python), "tests/model/server.py", "--cut", str(path)], cwd=ROOT, check=True
        )
    return path


@contextmanager
def model_server(*options: str | Path, port: int = 0) -> Iterator[str]:
    """Give the base URL of a llama.cpp server.

    Args:
        options: of `server.py`.
        port: where it listens; 0 takes a free one.
    """
    # A waiting thread that spins would take the only other core from the program under test.
    environment = {"OMP_WAIT_POLICY": "passive"}
    python, script = ENVIRONMENT / "bin" / "python", Path("tests/model/server.py")
    with _program(python, script, "--port", str(port), *options, environment=environment) as url:
        yield url


@contextmanager
def simulated_server(checkout: Path = ROOT) -> Iterator[str]:
    """Give the base URL of the simulated model as a checkout has it."""
    environment = {"PYTHONPATH": str(checkout)}
    with _program(sys.executable, "-c", _SIMULATED, environment=environment) as url:
        yield url
