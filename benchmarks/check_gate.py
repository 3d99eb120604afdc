"""The gate: its time, whether it finds one call too many, and its false alarms.

One recording on the simulated model. Of it: how long `callwise check` takes, whether one
planted call is found and named for every node, and whether any of 200 strict replays, at
one to eight users side by side, alarms with every figure gated at no rise. For live runs:
how often runs without a change alarm, on simulated noise.

    python -m benchmarks.run check_gate
"""

import asyncio
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import orjson

from benchmarks.figures import ROOT, Figure, Measured
from callwise.recordings import Conversation, read_conversations
from callwise.recordings.app_protocol import load_app
from callwise.recordings.cassette import CassetteMode
from callwise.recordings.replay_run import RunRequest, run_replay
from callwise.shipped import configs_folder
from callwise.testing.gate import (
    Baseline,
    GateComparison,
    Gates,
    TurnFigures,
    baseline_of_run,
    compare,
    compare_live,
)

__all__ = ["measure"]

APP, PRESET = "graph.app:app", "classic"
COMMAND = Path(sys.executable).with_name("callwise")
CHECKS = 3
MAX_CHECK_SECONDS = 10.0
MAX_OWN_SECONDS = 40.0
REPLAYS = 200
TURNS_A_REPLAY = 3
"""Turns of each shipped conversation that are replayed 200 times."""
CONCURRENCIES = (1, 2, 3, 8)
EVERY = Gates(requests=0.0, rounds=0.0, tokens=0.0)
LIVE_PAIRS, LIVE_ALPHA = 10_000, 0.01
COPIES = 12
"""Number of times the shipped conversations are repeated where the recorded ones are absent."""


def _shipped() -> Sequence[Conversation]:
    return read_conversations([configs_folder() / "conversations"]).conversations


def _copies() -> Iterator[Conversation]:
    for copy in range(COPIES):
        for each in _shipped():
            name = f"{each.conversation_id}-{copy}"
            turns = tuple(replace(turn, conversation_id=name) for turn in each.turns)
            user = f"{each.user_id or each.conversation_id}-{copy}"
            yield replace(each, conversation_id=name, user_id=user, turns=turns)


def _conversations() -> Sequence[Conversation]:
    """Return recorded user turns, or the shipped conversations again and again."""
    data = Path(os.environ.get("CALLWISE_DATA", ROOT / "../shared/data"))
    recorded = data / "sample_memorybank_cn" / "turns.jsonl"
    return read_conversations([recorded]).conversations if recorded.exists() else [*_copies()]


def _run(
    conversations: Sequence[Conversation],
    folder: Path,
    cassette: Path,
    *,
    mode: CassetteMode = CassetteMode.NEW_EPISODES,
    max_concurrency: int = 1,
) -> Baseline:
    """Return what a run spent."""
    app = load_app(APP)
    request = RunRequest(
        app=app,
        app_target=APP,
        settings=app.settings(PRESET),
        conversations=conversations,
        folder=folder,
        cassette=cassette,
        mode=mode,
        max_concurrency=max_concurrency,
    )
    asyncio.run(run_replay(request))
    return baseline_of_run(folder)


def _check_time(run: Path, baseline: Path, turns: int) -> Figure:
    seconds = []
    for _ in range(CHECKS):
        began = time.perf_counter()
        subprocess.run(  # noqa: S603 - our own command
            [str(COMMAND), "check", str(run), "--baseline", str(baseline), "--gate", "tokens"],
            check=True,
            capture_output=True,
        )
        seconds.append(time.perf_counter() - began)
    found = median(seconds)
    return Figure(
        f"`callwise check` of {turns} turns, start included, median of {CHECKS}, seconds",
        f"{found:.2f}",
        f"<= {MAX_CHECK_SECONDS:g} s",
        found <= MAX_CHECK_SECONDS,
    )


def _names_it(drift: GateComparison, key: tuple[str, int], node: str) -> bool:
    """Return whether the only finding is one call more of this node in this turn."""
    if len(drift.failures) != 1:
        return False
    (found,) = drift.failures
    return (
        found.key == key
        and found.path is not None
        and found.path.node == node
        and found.change == 1
    )


def _planted(run: Path, baseline: Baseline, folder: Path) -> Figure:
    """Plant one call for every node, each in a separate turn, in the ledger on disk."""
    lines = (run / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    rows = [orjson.loads(line) for line in lines]
    nodes = sorted({row["node"] for row in rows})
    rng = random.Random(0)
    found = 0
    for node in nodes:
        place = rng.choice([n for n, row in enumerate(rows) if row["node"] == node])
        copy = folder / f"planted-{node}"
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("*.sqlite*", "cassette*"))
        (copy / "ledger.jsonl").write_bytes(b"".join([*lines, lines[place]]))
        key = rows[place]["conversation"], int(rows[place]["turn"])
        found += _names_it(compare(baseline, baseline_of_run(copy)), key, node)
        shutil.rmtree(copy)
    return Figure(
        f"one planted call, in each of {len(nodes)} nodes: found, with node, turn and count",
        f"{found} of {len(nodes)}",
        "all",
        found == len(nodes),
    )


def _replays(folder: Path) -> Figure:
    """Replay one recording 200 times, and count alarms."""
    talks = [replace(each, turns=each.turns[:TURNS_A_REPLAY]) for each in _shipped()]
    cassette = folder / "small.jsonl"
    baseline = _run(talks, folder / "small", cassette)
    alarms = 0
    for number in range(REPLAYS):
        again = folder / "again"
        users = CONCURRENCIES[number % len(CONCURRENCIES)]
        current = _run(talks, again, cassette, mode=CassetteMode.STRICT, max_concurrency=users)
        drift = compare(baseline, current, EVERY)
        alarms += drift.has_failed or bool(drift.gains)
        shutil.rmtree(again)
    return Figure(
        f"{REPLAYS} replays of one recording ({len(baseline.turns)} turns, "
        f"{', '.join(map(str, CONCURRENCIES))} users at once), "
        "calls, requests, rounds and tokens at no rise: alarms",
        str(alarms),
        "0",
        alarms == 0,
    )


def _noise(rng: np.random.Generator, means: np.ndarray) -> Baseline:
    """Return a live run of conversations with levels of their own and moods of the day."""
    moods = rng.gamma(8.0, 1 / 8.0, len(means))
    counts = 1 + rng.poisson((means * moods)[:, None], (len(means), 6))
    turns = tuple(
        TurnFigures.model_construct(
            conversation=f"c{talk:02}", turn=turn, asked={"search/main/expand": int(count)}
        )
        for talk, row in enumerate(counts)
        for turn, count in enumerate(row)
    )
    return Baseline.model_construct(app="noise", turns=turns)


def _false_alarms() -> Figure:
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(LIVE_PAIRS):
        means = rng.uniform(4.0, 16.0, 24)
        pair = _noise(rng, means), _noise(rng, means)
        alarms += compare_live(*pair, alpha=LIVE_ALPHA).has_failed
    rate = alarms / LIVE_PAIRS
    most = LIVE_ALPHA + 1.96 * math.sqrt(LIVE_ALPHA * (1 - LIVE_ALPHA) / LIVE_PAIRS)
    return Figure(
        f"live gate at {LIVE_ALPHA:.0%}, {LIVE_PAIRS:,} pairs of runs without a change: alarms",
        f"{rate:.2%}",
        f"<= {LIVE_ALPHA:.0%} (with its interval {most:.2%})",
        rate <= most,
        note="simulated noise, 24 conversations of 6 turns",
    )


def _own_gate() -> Figure:
    began = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(ROOT / ".ci" / "gate.py")], capture_output=True, check=False
    )
    seconds = time.perf_counter() - began
    is_green = done.returncode == 0
    return Figure(
        "the project's own gate, every preset on the shipped conversations, seconds",
        f"{seconds:.1f}, {'green' if is_green else 'red'}",
        f"<= {MAX_OWN_SECONDS:g} s, green",
        is_green and seconds <= MAX_OWN_SECONDS,
    )


def measure() -> Measured:
    """Return the gate's time, what it finds, and its false alarms."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run, committed = folder / "run", folder / "baseline.json"
        baseline = _run(_conversations(), run, folder / "recording.jsonl")
        baseline.write(committed)
        figures = [
            _check_time(run, committed, len(baseline.turns)),
            _planted(run, baseline, folder),
            _replays(folder),
            _false_alarms(),
            _own_gate(),
        ]
    return Measured("check_gate", figures)


if __name__ == "__main__":
    for figure in measure().figures:
        print(figure)
