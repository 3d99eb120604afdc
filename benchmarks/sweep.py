"""A sweep of 100 settings on 100 recorded turns: time, memory, growth, and what was sent.

One recording of `balanced` with a search of 11 on the simulated model, then a grid over
the search's knobs, on all cores, each sweep in a separate process. What is reused and
what diverges is as it comes: the table shows how many turns are exact. The number of
connections is counted by the interpreter's own audit hook, in a sweep that stays in one
process.

    python -m benchmarks.run sweep
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import ROOT, Figure, Measured
from callwise.recordings import read_conversations
from callwise.recordings.app_protocol import load_app
from callwise.recordings.conversation_files import first_turns
from callwise.recordings.replay_run import RunRequest, run_replay
from callwise.tuning.sweep_record import load_sweep

__all__ = ["measure"]

APP = "graph.app:app"
TALKS = ROOT / "notebooks" / "data" / "small_talks.jsonl"
TURNS = 100
MAX_SECONDS, MAX_MEGABYTES, MAX_GROWTH = 60, 1000, 2.2

GRID: dict[str, list[Any]] = {
    "search.max_calls": [3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    "search.policy": ["listwise", "auto"],
    "search.max_passes": [2, 3, 4, 5, 6],
}
"""100 settings."""


def _grid(count: int) -> dict[str, list[Any]]:
    return {**GRID, "search.refine": [True, False]} if count > 100 else GRID


def _record(folder: Path) -> int:
    """Record the first turns, and return how many there are."""
    app = load_app(APP)
    conversations = first_turns(list(read_conversations([TALKS]).conversations), TURNS)
    request = RunRequest(
        app=app,
        app_target=APP,
        settings=app.settings("balanced", ["search.max_calls=11"]),
        conversations=list(conversations),
        folder=folder,
    )
    return len(asyncio.run(run_replay(request)).turns)


def _sweep_here(recording: Path, folder: Path, count: int, jobs: int) -> dict[str, Any]:
    """Run one sweep in this process, and return what it took."""
    from joblib.externals.loky import get_reusable_executor

    from callwise.tuning.sweep import SweepRequest, sweep
    from callwise.tuning.sweep_spec import SweepSpec

    connections = 0

    def watch(event: str, _: tuple[Any, ...]) -> None:
        nonlocal connections
        connections += event == "socket.connect"

    sys.addaudithook(watch)
    spec = SweepSpec.model_validate({"knobs": _grid(count)})
    began = time.perf_counter()
    finished = sweep(SweepRequest(recording, spec, folder, jobs=jobs))
    seconds = time.perf_counter() - began
    if jobs != 1:
        # Their memory is known once they have ended.
        get_reusable_executor().shutdown(wait=True)
    marks = Counter(str(row.coverage) for row in finished.rows)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "seconds": seconds,
        "settings": len(finished.settings),
        "rows": len(finished.rows),
        "marks": dict(marks),
        "exact_replies": sum(row.is_reply_exact for row in finished.rows),
        # Parent and every worker at its largest: an upper bound of what stood at one time.
        "megabytes": (own + (worker * (os.cpu_count() or 1) if jobs != 1 else 0)) / 1024,
        "connections": connections,
    }


def _sweep(recording: Path, folder: Path, count: int, jobs: int) -> dict[str, Any]:
    """Run one sweep in a separate process."""
    arguments = [str(recording), str(folder), str(count), str(jobs)]
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "benchmarks.sweep", *arguments],
        check=True,
        capture_output=True,
        cwd=ROOT,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _figures(folder: Path) -> Sequence[Figure]:
    recording = folder / "run"
    turns = _record(recording)
    hundred = _sweep(recording, folder / "100", 100, -1)
    double = _sweep(recording, folder / "200", 200, -1)
    alone = _sweep(recording, folder / "alone", 100, 1)
    is_same = list(load_sweep(folder / "100").rows) == list(load_sweep(folder / "alone").rows)
    growth = double["seconds"] / hundred["seconds"]
    named = f"{hundred['settings']} settings x {turns} turns"
    marks = ", ".join(f"{name} {count}" for name, count in sorted(hundred["marks"].items()))
    return [
        Figure(
            f"sweep of {named} from one recording, {os.cpu_count()} cores, seconds",
            f"{hundred['seconds']:.1f}",
            f"<= {MAX_SECONDS}",
            hundred["seconds"] <= MAX_SECONDS,
            note=f"turns: {marks}; replies exact on {hundred['exact_replies']}; simulated",
        ),
        Figure("the same in one process, seconds", f"{alone['seconds']:.1f}"),
        Figure(
            "connections opened in it (audit hook)",
            str(alone["connections"]),
            "0",
            alone["connections"] == 0,
        ),
        Figure(
            "rows of one process and of all cores",
            "the same" if is_same else "different",
            "the same",
            is_same,
        ),
        Figure(
            "memory, parent and workers at their largest together, MB",
            f"{hundred['megabytes']:.0f}",
            f"<= {MAX_MEGABYTES}",
            hundred["megabytes"] <= MAX_MEGABYTES,
        ),
        Figure(
            f"{double['settings']} settings compared with {hundred['settings']}, times as long",
            f"{growth:.2f}",
            f"<= {MAX_GROWTH}",
            growth <= MAX_GROWTH,
        ),
    ]


def measure() -> Measured:
    """Return what a sweep takes."""
    with tempfile.TemporaryDirectory() as folder:
        return Measured("sweep", list(_figures(Path(folder))))


if __name__ == "__main__":
    recording_path, folder_path, count_text, jobs_text = sys.argv[1:]
    result = _sweep_here(Path(recording_path), Path(folder_path), int(count_text), int(jobs_text))
    sys.stdout.write(json.dumps(result))
