"""Wakes that are killed at fifty points, or stopped at ten: what is lost, doubled or left held.

The processes, the points and what must be right after them are in
`tests.callwise.wake.wake_kills.py`; the server is on 127.0.0.1.
"""

import asyncio
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Figure, Measured
from tests.callwise.wake.wake_kills import Ended, Point, choose_points, run_at, survey

__all__ = ["measure"]

KILLS, STOPS, SEED = 50, 10, 14


async def _ended(kills: int, stops: int) -> tuple[int, list[tuple[Point, Ended]]]:
    """Return the conversations of a run that nothing disturbs, and the end of each other one."""
    with tempfile.TemporaryDirectory(prefix="callwise-") as name:
        statements, conversations = await survey(Path(name) / "whole.sqlite")
        points = choose_points(statements, conversations, kills=kills, stops=stops, seed=SEED)
        found = []
        for number, point in enumerate(points):
            found.append((point, await run_at(Path(name) / f"{number}.sqlite", point)))
            if found[-1][1].problems:
                print(point, found[-1][1].problems, file=sys.stderr, flush=True)
        return conversations, found


def _figure(what: str, conversations: int, ended: Sequence[tuple[Point, Ended]]) -> Figure:
    met = [each for _, each in ended if each.was_met]
    wrong = sum(bool(each.problems) for _, each in ended)
    again = [each.conversations - conversations for _, each in ended]
    kinds = sum(point.kind == "statement" for point, _ in ended)
    return Figure(
        f"processes {what} at {kinds} statements of the store and {len(ended) - kinds} "
        "conversations at the server: reached their point, runs with anything lost, doubled, "
        "held for ever or out of order",
        f"{len(met)} of {len(ended)}, {wrong}",
        "0 wrong",
        not wrong and len(met) >= 0.8 * len(ended),
        note=f"{what}: of {conversations} conversations, those under way were asked again after "
        f"it: {sum(again) / len(again):.1f} a run, {max(again)} at most; "
        f"{sum(each.was_locked for _, each in ended)} times a process that took over met the lock "
        "of one that was stopped within a transaction, ended with that error, and was run again",
    )


def measure(kills: int = KILLS, stops: int = STOPS) -> Measured:
    """Return what came of all runs, each on its own store, until all was done."""
    conversations, found = asyncio.run(_ended(kills, stops))
    killed = [each for each in found if each[0].signal == signal.SIGKILL]
    stopped = [each for each in found if each[0].signal == signal.SIGSTOP]
    return Measured(
        "kills",
        [
            _figure("killed (SIGKILL)", conversations, killed),
            _figure("stopped (SIGSTOP) and revived", conversations, stopped),
        ],
    )
