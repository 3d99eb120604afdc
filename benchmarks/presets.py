"""Usage of each preset on recorded user turns, and the quality of its replies: simulated.

Each preset replays the same user turns, answered by the simulated model. Its hidden quality
of a reply is in the text, so it can be read back: in standard deviations between
replies to one prompt. This proves counting and search arithmetic, nothing about language.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Figure, Measured
from benchmarks.search.intervals import mean_interval
from callwise.simulator.phrases import true_quality

__all__ = ["measure"]

COMMAND = Path(sys.executable).with_name("callwise")
ROOT = Path(__file__).resolve().parents[1]
PRESETS: Mapping[str, int] = {
    "classic": 17,
    "balanced": 8,
    "frugal": 5,
    "instant": 2,
    "thorough": 21,
}
"""Presets, and the most calls that a turn of each may ask."""


def _replayed(preset: str, source: Path, folder: Path) -> list[dict[str, Any]]:
    """Return the turns of one replay."""
    out = folder / preset
    subprocess.run(  # noqa: S603 - our own command
        [str(COMMAND), "replay", str(source), "--preset", preset, "--out", str(out)],
        check=True,
        capture_output=True,
    )
    lines = (out / "turns.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _quality(turns: Sequence[Mapping[str, Any]]) -> str:
    """Return the mean hidden quality, its interval over users rather than turns."""
    by_user: dict[str, list[float]] = defaultdict(list)
    for turn in turns:
        by_user[turn["user_id"]].append(true_quality(turn["reply"]))
    found = mean_interval(np.array([statistics.mean(each) for each in by_user.values()]))
    return f"{found.mean:+.2f} ({found.low:+.2f} to {found.high:+.2f})"


def measure() -> Measured:
    """Return calls, rounds and simulated quality of each preset."""
    data = Path(os.environ.get("CALLWISE_DATA", ROOT / "../shared/data"))
    source = data / "sample_memorybank_cn" / "turns.jsonl"
    if not source.is_file():
        return Measured("presets", skipped=f"no recorded conversations at {source.parent.name}")
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for preset, most in PRESETS.items():
            turns = _replayed(preset, source, Path(folder))
            asked = [turn["asked"] for turn in turns]
            rounds = statistics.mean(turn["rounds"]["reply"] for turn in turns)
            words = f"{statistics.mean(asked):.1f} (most {max(asked)}); {rounds:.1f} rounds"
            what = f"`{preset}`, {len(turns)} recorded user turns"
            figures += [
                Figure(
                    f"{what}: calls a turn; rounds to the reply",
                    words,
                    f"<= {most} calls",
                    max(asked) <= most,
                ),
                Figure(
                    f"{what}: simulated quality of the reply, in SD",
                    _quality(turns),
                    note="simulated",
                ),
            ]
    return Measured("presets", figures)


if __name__ == "__main__":
    for figure in measure().figures:
        print(figure)
