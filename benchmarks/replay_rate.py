"""Turns per second of a strict replay, and whether it gives the same run.

One recording on the simulated model, then strict replays of it with one user at a time
and with eight, all with `classic` in this process. A replay is timed as `run_replay`
does it: opening the cassette, memory and graph, every turn, writing the run's files.
What it wrote must then be what the recorded run wrote: the replies byte for byte, and
the ledger row for row, but that each call was `replayed`.

    python -m benchmarks.run replay_rate
    python -m benchmarks.replay_rate --profile      # where a replay's time goes
"""

import argparse
import asyncio
import cProfile
import os
import pstats
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from benchmarks.figures import ROOT, Figure, Measured
from callwise.recordings import Conversation, read_conversations
from callwise.recordings.app_protocol import load_app
from callwise.recordings.cassette import CassetteMode
from callwise.recordings.replay_run import FinishedRun, RunRequest, run_replay
from callwise.shipped import configs_folder

__all__ = ["measure"]

APP, PRESET = "graph.app:app", "classic"
REPEATS = 3
CONCURRENCIES = (1, 8)
MIN_TURNS_PER_SECOND = 100
COPIES = 12
"""Number of times the shipped conversations are repeated where the recorded ones are absent."""

_DIFFERENT_FIELDS = ("outcome",)
"""Fields of a ledger row that differ between a recorded run and its replay, on purpose."""


def _conversations() -> tuple[Sequence[Conversation], str]:
    """Return what is replayed, and what to call it."""
    data = Path(os.environ.get("CALLWISE_DATA", ROOT / "../shared/data"))
    recorded = data / "sample_memorybank_cn" / "turns.jsonl"
    if recorded.exists():
        return read_conversations([recorded]).conversations, "sample_memorybank_cn"
    shipped = sorted((configs_folder() / "conversations").glob("*.jsonl"))
    found = read_conversations(shipped).conversations
    copies = [
        replace(
            each,
            conversation_id=f"{each.conversation_id}-{copy}",
            user_id=f"{each.user_id or each.conversation_id}-{copy}",
            turns=tuple(
                replace(turn, conversation_id=f"{each.conversation_id}-{copy}")
                for turn in each.turns
            ),
        )
        for copy in range(COPIES)
        for each in found
    ]
    return copies, f"the shipped conversations, {COPIES} times"


class _Bench:
    """Runs one set of conversations again and again, each time into a new folder."""

    def __init__(self, folder: Path, conversations: Sequence[Conversation]) -> None:
        self._folder = folder
        self._conversations = conversations
        self._app = load_app(APP)
        self._settings = self._app.settings(PRESET)
        self._runs = 0
        self.cassette = folder / "recording.jsonl"

    def run(self, mode: CassetteMode, max_concurrency: int) -> FinishedRun:
        """Return one finished run."""
        self._runs += 1
        request = RunRequest(
            app=self._app,
            app_target=APP,
            settings=self._settings,
            conversations=self._conversations,
            folder=self._folder / str(self._runs),
            cassette=self.cassette,
            mode=mode,
            max_concurrency=max_concurrency,
        )
        return asyncio.run(run_replay(request))


def _replies(run: FinishedRun) -> bytes:
    keys = ("conversation_id", "turn", "reply", "bubbles")
    return orjson.dumps([[turn[key] for key in keys] for turn in run.turns])


def _rows(run: FinishedRun) -> list[Mapping[str, Any]]:
    return [
        {name: value for name, value in row.items() if name not in _DIFFERENT_FIELDS}
        for row in run.rows
    ]


def _differences(recorded: FinishedRun, replayed: FinishedRun) -> list[str]:
    """Return the differences of a replay from its recording, as text."""
    found = []
    if _replies(recorded) != _replies(replayed):
        found.append("replies")
    outcomes = {row["outcome"] for row in replayed.rows}
    if outcomes != {"replayed"}:
        found.append(f"outcomes {sorted(outcomes)}")
    if len(recorded.rows) != len(replayed.rows):
        found.append(f"calls {len(recorded.rows)} and {len(replayed.rows)}")
    for mine, other in zip(_rows(recorded), _rows(replayed), strict=False):
        names = [name for name in mine if mine[name] != other[name]]
        if names:
            found.append(f"ledger row {mine['sequence']}: {', '.join(names)}")
            break
    return found


def _figures(runs: _Bench, named: str) -> Iterator[Figure]:
    recorded = runs.run(CassetteMode.REWRITE, 1)
    turns, calls = len(recorded.turns), len(recorded.rows)
    yield Figure(
        f"recording {PRESET} on the simulated model, turns a second",
        f"{turns / recorded.wall_seconds:.0f}",
        note=f"{named}: {turns} turns, {calls} calls",
    )
    for concurrency in CONCURRENCIES:
        began = time.process_time()
        replays = [runs.run(CassetteMode.STRICT, concurrency) for _ in range(REPEATS)]
        busy_seconds = (time.process_time() - began) / REPEATS
        rates = sorted(turns / replay.wall_seconds for replay in replays)
        yield Figure(
            f"strict replay, {PRESET}, {concurrency} users at a time, turns a second",
            f"{median(rates):.0f} ({rates[0]:.0f}-{rates[-1]:.0f})",
            f">= {MIN_TURNS_PER_SECOND}" if concurrency == 1 else "",
            median(rates) >= MIN_TURNS_PER_SECOND if concurrency == 1 else None,
            note=f"median (range) of {REPEATS}, {calls / turns:.1f} calls a turn, "
            f"{busy_seconds / turns * 1e3:.1f} ms of processor time a turn; {named}",
        )
        differences = sorted(
            {each for replay in replays for each in _differences(recorded, replay)}
        )
        yield Figure(
            f"what differs in it from the recorded run, {concurrency} users at a time",
            "; ".join(differences) or "nothing",
            "nothing",
            not differences,
            note=f"{turns} replies byte for byte, {calls} ledger rows field by field",
        )
    # Everything is played in this mode too, but by the graph: it might have to send.
    by_graph = runs.run(CassetteMode.NEW_EPISODES, 1)
    yield Figure(
        f"the same recording played through LangGraph, {PRESET}, 1 user at a time, turns a second",
        f"{turns / by_graph.wall_seconds:.0f}",
    )
    differences = _differences(recorded, by_graph)
    yield Figure(
        "what differs in it from the recorded run",
        "; ".join(differences) or "nothing",
        "nothing",
        not differences,
    )


def measure() -> Measured:
    """Return the rate of a replay, and what differs in it."""
    conversations, named = _conversations()
    with tempfile.TemporaryDirectory() as folder:
        return Measured("replay_rate", list(_figures(_Bench(Path(folder), conversations), named)))


def _print_profile() -> None:
    """Print where the time of one strict replay goes, by function."""
    conversations, _ = _conversations()
    with tempfile.TemporaryDirectory() as folder:
        runs = _Bench(Path(folder), conversations)
        runs.run(CassetteMode.REWRITE, 1)
        profile = cProfile.Profile()
        profile.runcall(runs.run, CassetteMode.STRICT, 1)
    statistics = pstats.Stats(profile)
    statistics.sort_stats("tottime").print_stats(40)
    statistics.sort_stats("cumtime").print_stats(60)


def main() -> None:
    """Print the figures, or a profile."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--profile", action="store_true")
    if parser.parse_args().profile:
        _print_profile()
        return
    for figure in measure().figures:
        print(figure)


if __name__ == "__main__":
    main()
