"""Processes that are killed or stopped at drawn points: each message once, each credit once.

`benchmarks.wake.kills` has fifty points and ten.
"""

import asyncio
import os
from pathlib import Path

import pytest

from tests.callwise.wake.wake_kills import choose_points, run_at, survey

KILLS, STOPS, SEED = 5, 2, 14


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "waitid"), reason="needs waitid, to see that a process stops")
def test_killed_and_stopped_processes_lose_and_double_nothing(tmp_path: Path) -> None:
    """Messages, credits, notes and what a reader has seen are those of one process that lived."""

    async def run() -> None:
        statements, conversations = await survey(tmp_path / "whole.sqlite")
        points = choose_points(statements, conversations, kills=KILLS, stops=STOPS, seed=SEED)
        assert len(points) == KILLS + STOPS
        for number, point in enumerate(points):
            ended = await run_at(tmp_path / f"{number}.sqlite", point)
            assert ended.problems == [], f"{point}: {ended.problems}"

    asyncio.run(run())
