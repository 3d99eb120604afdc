"""Where a test is, or the module or session whose fixture it uses."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

__all__ = ["BenchPlace"]


@dataclass(frozen=True, slots=True)
class BenchPlace:
    """Where a test is, or the module or session whose fixture it uses.

    Args:
        test: its node id; empty for the session.
        name: its function's name; the conversation of calls outside of every turn.
        file: its file; for the session, a file in pytest's root folder.
        folder: a folder of its own, for runs.
        today: the day, for the ends of quarantines.
    """

    test: str
    name: str
    file: Path
    folder: Path
    today: date
