"""Clients of a batch interface that are killed at 50 points: lines bought twice, lost, or wrong.

The provider is `tests/callwise/budget/batch_api/provider.py`, on 127.0.0.1; each client is a
process, killed by SIGKILL before or after a request or a write to its queue, and run again.
"""

import asyncio
import tempfile
from pathlib import Path

from benchmarks.figures import Figure, Measured, markdown
from tests.callwise.budget.batch_api.kills import KillCounts, kill_everywhere

__all__ = ["measure"]

LINES, MAX_LINES, KILLS = 10_000, 2_500, 50


def measure(lines: int = LINES, *, kills: int = KILLS) -> Measured:
    """Return the figures of both interfaces."""
    figures = []
    for api in ("openai", "openrouter"):
        with tempfile.TemporaryDirectory(prefix="callwise-") as name:
            counts = asyncio.run(
                kill_everywhere(
                    Path(name), api=api, lines=lines, max_lines=min(MAX_LINES, lines), kills=kills
                )
            )
        figures.append(_figure(api, counts, lines))
    return Measured("batch_kills", figures)


def _figure(api: str, counts: KillCounts, lines: int) -> Figure:
    bad = (counts.bought_twice, counts.not_bought, counts.wrong_answers)
    return Figure(
        f"{api}: of {lines:,} lines in each of {counts.killed} runs killed at one of "
        f"{counts.points} points: bought twice, never bought, wrong answer",
        ", ".join(map(str, bad)),
        "0, 0, 0",
        bad == (0, 0, 0) and counts.killed > 0,
    )


if __name__ == "__main__":
    print(markdown([measure()]))
