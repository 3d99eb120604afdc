"""Routing tables: does `callwise tune --route` pick the cheapest within 1 % of the best?

A simulated world of three models and four purposes, whose truth is known (`tests/callwise/tuning/
routing/world.py`; every number in it is assumed), and a published pool of several systems'
answers with human scores. Nothing is sent. The search is that of the command, on panels.

    python -m benchmarks.routing
"""

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, Measured, markdown
from benchmarks.routing_pools import pool_figures
from tests.callwise.tuning.routing.picks import Pick, Truth, picked, truth_of
from tests.callwise.tuning.routing.world import RoutingWorld

__all__ = ["measure"]

RESULTS = Path(__file__).resolve().parent / "results" / "routing.md"
SEEDS = 100


@dataclass(frozen=True, slots=True)
class _Case:
    """A world, and the sizes of its recordings, in conversations of 3 to 15 turns."""

    name: str
    world: RoutingWorld
    sizes: tuple[int, ...]
    promised_at: int | None


CASES = (
    _Case("noise of a reply .05 of the scale", RoutingWorld(), (50, 100, 150, 200), 150),
    _Case("noise .1 of the scale", RoutingWorld(noise=0.1), (150, 600), None),
    _Case("losses that begin gradually", RoutingWorld(slope=0.4), (150, 600), None),
)


def _pick(world: RoutingWorld, truth: Truth, conversations: int, seed: int) -> Pick:
    return picked(world.record(np.random.default_rng(seed), conversations), truth)


def _figures(case: _Case) -> list[Figure]:
    truth, figures = truth_of(case.world), []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for size in case.sizes:
            work = partial(_pick, case.world, truth, size)
            picks = list(pool.map(work, range(SEEDS), chunksize=5))
            figures += _figures_of(case, size, picks)
    return figures


def _figures_of(case: _Case, size: int, picks: list[Pick]) -> list[Figure]:
    shown = [pick for pick in picks if pick.is_best is not None]
    best = sum(bool(pick.is_best) for pick in shown)
    within = sum(bool(pick.is_within) for pick in shown)
    excess = [pick.excess for pick in shown if pick.excess is not None]
    lower_limits = [pick.bound for pick in shown if pick.bound is not None]
    points = np.mean([pick.points for pick in picks], axis=0)
    is_promised = size == case.promised_at
    where = f"{size} conversations, about {9 * size:,} turns; {case.name}"
    return [
        Figure(
            f"picks the cheapest table within 1 % of the best, of {SEEDS} recordings of {where}",
            f"{best}; within 1 % of the best {within}; undecided {SEEDS - len(shown)}; "
            f"{np.mean(excess) if excess else 0:.1%} dearer than the cheapest",
            ">= 95" if is_promised else "",
            best >= 95 if is_promised else None,
        ),
        Figure(
            f"95 % intervals contain the truth, {where}",
            f"quality {points[0]:.1%}, difference from the strongest {points[1]:.1%}, gap "
            f"recovered {points[2]:.1%}; of the pick, chosen by the same data: difference "
            f"{np.mean([pick.difference for pick in shown]) if shown else 0:.1%}, limit "
            f"against the best {np.mean(lower_limits) if lower_limits else 0:.1%}",
        ),
    ]


def measure() -> Measured:
    """Return picks and coverage in the simulated worlds, and what a published pool gives."""
    figures = [figure for case in CASES for figure in _figures(case)]
    return Measured("routing", [*figures, *pool_figures()])


if __name__ == "__main__":
    began = time.perf_counter()
    table = markdown([measure()])
    heading = (
        "# Routing tables\n\n`python -m benchmarks.routing`. The worlds are simulated: three "
        "models, four purposes, 15 options each, 50,625 tables; their numbers are assumed. The "
        "pools are published data.\n\n"
    )
    RESULTS.write_text(heading + table, encoding="utf-8")
    sys.stdout.write(f"{table}\n{time.perf_counter() - began:.0f} s\n")
