"""The shipped recording gives the same bytes on every supported Python.

Other interpreters are those of `make test-pythons`, `python3.12` and the like, and those that
CALLWISE_PYTHONS names (paths, separated as in PATH); each needs Callwise's dependencies.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from callwise.shipped import configs_folder

ROOT = configs_folder().parent
DATA = ROOT / "notebooks" / "data"
VERSIONS = ("3.11", "3.12", "3.13")
NAMED = os.environ.get("CALLWISE_PYTHONS", "")
"""Read before the tests' wall takes settings from outside away."""

CODE = "import sys, callwise, langgraph, numpy; print('%d.%d' % sys.version_info[:2])"


def _run(python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "random"}
    return subprocess.run(  # noqa: S603 - an interpreter of this machine
        [python, *arguments], env=environment, check=False, capture_output=True, text=True
    )


def _interpreter(version: str) -> str:
    """Return an interpreter of a version that can import Callwise, or skip."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    candidates = [name for name in NAMED.split(os.pathsep) if name]
    candidates += [str(path) for path in ROOT.glob(f".venv-{version}/bin/python")]
    candidates += filter(None, [shutil.which(f"python{version}")])
    for python in candidates:
        if _run(python, "-c", CODE).stdout.strip() == version:
            return python
    pytest.skip(f"no Python {version} with Callwise's dependencies; see `make test-pythons`")


def _digests(python: str, folder: Path) -> dict[str, str]:
    """Replay the shipped recording strictly, and return a digest of all that it writes."""
    done = _run(
        python, "-m", "callwise", "replay", str(DATA / "small_talks.jsonl"), "--preset",
        "balanced", "--set", "search.max_calls=11", "--cassette",
        str(DATA / "small_talks.cassette.jsonl.gz"), "--out", str(folder), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    totals = json.loads(done.stdout)
    totals.pop("wall_seconds")
    report = _run(python, "-m", "callwise", "report", str(folder), "--format", "json")
    assert report.returncode == 0, report.stderr
    texts = {
        "turns": (folder / "turns.jsonl").read_text(encoding="utf-8"),
        "rows": (folder / "ledger.jsonl").read_text(encoding="utf-8"),
        "totals": json.dumps(totals),
        "report": report.stdout,
    }
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}


@pytest.fixture(scope="module")
def own_digests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the digests under the Python that runs the tests."""
    return _digests(sys.executable, tmp_path_factory.mktemp("own") / "run")


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_the_shipped_recording_gives_the_same_bytes(
    version: str, own_digests: dict[str, str], tmp_path: Path
) -> None:
    """Turns, ledger rows, totals and report do not depend on the interpreter."""
    assert _digests(_interpreter(version), tmp_path / "run") == own_digests
