"""Processor time of the steps before and after calls, in strict replays and in a sweep.

A strict replay of `balanced` on recorded answers: the time of each step per call, as
`ReplySession.statistics` shows them, and with `--base DIR` the processor time per turn compared
with another checkout, by turns in one run. Then a sweep of 100 settings on one recording, which
reads each answer once for all settings, compared with reading it for each.

    python -m benchmarks.call_steps --base ../base      writes benchmarks/results/call_steps.md
    python -m benchmarks.call_steps                     without a base; writes nothing
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import ROOT, Figure, Measured, markdown, provenance
from callwise.recordings import read_conversations
from callwise.recordings.app_protocol import TurnInput
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.recordings.conversation_files import first_turns
from callwise.recordings.counterfactual import evaluation
from callwise.recordings.replay_run import RunRequest, run_replay
from callwise.tuning.sweep import SweepRequest, sweep
from callwise.tuning.sweep_spec import SweepSpec
from graph.app import app

GRID = {
    "search.max_calls": [3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    "search.policy": ["listwise", "auto"],
    "search.max_passes": [2, 3, 4, 5, 6],
}
"""100 settings."""

__all__ = ["measure"]

RESULTS = ROOT / "benchmarks" / "results" / "call_steps.md"
ROUNDS = 5
REPEATS = 2
SWEEP_TURNS = 10

_REPLAYS = """
import asyncio, sys, tempfile, time
from pathlib import Path
from callwise.recordings import read_conversations
from callwise.recordings.app_protocol import TurnInput
from callwise.recordings.cassette import CassetteMode
from callwise.recordings.app_protocol import load_app
from callwise.recordings.replay_run import RunRequest, run_replay
app = load_app("graph.app:app")
talks = read_conversations([Path(sys.argv[1])]).conversations
with tempfile.TemporaryDirectory() as name:
    def run(folder, mode):
        request = RunRequest(
            app=app, app_target="graph.app:app", settings=app.settings("balanced"),
            conversations=talks, folder=Path(name) / folder, mode=mode,
            cassette=Path(name) / "calls.jsonl",
        )
        return len(asyncio.run(run_replay(request)).turns)
    run("first", CassetteMode.REWRITE)
    run("warm", CassetteMode.STRICT)
    best = 1e9
    for number in range(REPEATS):
        begun = time.process_time()
        turns = run(str(number), CassetteMode.STRICT)
        best = min(best, (time.process_time() - begun) / turns)
    print(best * 1e3)
"""
TALKS = ROOT / "notebooks" / "data" / "small_talks.jsonl"


def _replay_ms(checkout: Path) -> float:
    """Return the processor time per turn of strict replays by a checkout, in milliseconds."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", _REPLAYS.replace("REPEATS", str(REPEATS)), str(TALKS)],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def _range(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def _compared(base: Path) -> Iterator[Figure]:
    here, there = [], []
    for _ in range(ROUNDS):
        there.append(_replay_ms(base))
        here.append(_replay_ms(ROOT))
    yield Figure(
        "strict replay of `balanced`, ms of processor time per turn: base / this checkout",
        f"{_range(there)} / {_range(here)}",
        note=f"median (range) of {ROUNDS} rounds, each the best of {REPEATS} replays",
    )
    ratios = [mine / other for mine, other in zip(here, there, strict=True)]
    yield Figure("this checkout compared with the base, ratio by round", _range(ratios))


async def _steps() -> Iterator[Figure]:
    turns = [
        TurnInput(turn.conversation_id, turn.turn, turn.user_text)
        for talk in read_conversations([TALKS]).conversations
        for turn in talk.turns
    ]
    settings = app.settings("balanced")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for mode in (CassetteMode.REWRITE, CassetteMode.STRICT):
            (folder / mode).mkdir()
            with open_cassette(folder / "calls.jsonl", mode) as cassette:
                async with app.open(
                    settings,
                    folder=folder / mode,
                    recorder=cassette,
                    is_offline=mode is CassetteMode.STRICT,
                ) as session:
                    begun, calls = time.process_time(), 0
                    for turn in turns:
                        calls += (await session.run_turn(turn)).record["asked"]
                    seconds = time.process_time() - begun
                    steps = session.statistics()["steps"]
    figures = [
        Figure(
            f"step `{step}` in a strict replay, microseconds per run / part of the replay's time",
            f"{1e6 * found['seconds'] / found['runs']:.0f} / {found['seconds'] / seconds:.3f}",
            note=f"{found['runs']} runs in {len(turns)} turns of {calls} calls",
        )
        for step, found in steps.items()
    ]
    return iter(figures)


def _sweeps() -> Iterator[Figure]:
    kept: Callable[..., Any] = evaluation.answers_kept
    spec = SweepSpec.model_validate({"knobs": GRID})
    times: dict[bool, list[float]] = {True: [], False: []}
    talks = first_turns(list(read_conversations([TALKS]).conversations), SWEEP_TURNS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        request = RunRequest(
            app=app,
            app_target="graph.app:app",
            settings=app.settings("balanced", ["search.max_calls=11"]),
            conversations=list(talks),
            folder=folder / "recording",
        )
        asyncio.run(run_replay(request))
        for number, is_kept in product(range(REPEATS), (False, True)):
            evaluation.answers_kept = kept if is_kept else nullcontext
            begun = time.process_time()
            sweep(SweepRequest(request.folder, spec, folder / f"{number}-{is_kept}", jobs=1))
            times[is_kept].append(time.process_time() - begun)
    evaluation.answers_kept = kept
    yield Figure(
        "sweep of 100 settings, seconds of processor time: each answer read again / read once",
        f"{_range(times[False])} / {_range(times[True])}",
        note=f"median (range) of {REPEATS}, {SWEEP_TURNS} turns",
    )
    ratios = [mine / other for mine, other in zip(times[True], times[False], strict=True)]
    yield Figure("read once compared with read again, ratio by round", _range(ratios))


def measure(base: Path | None = None) -> Measured:
    """Return the figures, compared with another checkout where one is given."""
    figures = [*_compared(base)] if base is not None else []
    return Measured("call_steps", [*figures, *asyncio.run(_steps()), *_sweeps()])


def main() -> None:
    """Print the table, and write it where there is a base."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--base", type=Path, help="another checkout to compare with")
    base = parser.parse_args().base
    table = markdown([measure(base and base.resolve())])
    heading = "\n".join(f"- {name}: {value}" for name, value in provenance().items())
    text = f"- command: `python -m benchmarks.call_steps --base DIR`\n{heading}\n\n{table}"
    print(text)
    if base is not None:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
