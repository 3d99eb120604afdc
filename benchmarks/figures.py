"""Figures of a benchmark with their targets, and the run that they are from."""

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["Figure", "Measured", "markdown", "provenance"]

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Args:
        what: what was measured, with its unit.
        figure: the figure as it is shown.
        target: what it must reach, as it is shown; empty when nothing was promised.
        is_met: whether it does; None without a target.
        note: how to read it.
    """

    what: str
    figure: str
    target: str = ""
    is_met: bool | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """One benchmark's figures.

    Args:
        name: its module.
        figures: what it found; empty when it was skipped.
        skipped: why nothing was measured, or empty.
    """

    name: str
    figures: Sequence[Figure] = ()
    skipped: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)


def provenance() -> dict[str, str]:
    """Return commit, date and machine of this run."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"],  # noqa: S607 - the user's git
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "commit": described.stdout.strip() or "unknown",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def markdown(results: Sequence[Measured]) -> str:
    """Return the figures as one Markdown table."""
    rows = ["| what | measured | target | met |", "| --- | --- | --- | --- |"]
    for result in results:
        if result.skipped:
            rows.append(f"| {result.name} | skipped: {result.skipped} | | |")
        for figure in result.figures:
            met = {None: "", True: "yes", False: "**no**"}[figure.is_met]
            rows.append(f"| {figure.what} | {figure.figure} | {figure.target} | {met} |")
    return "\n".join(rows) + "\n"
