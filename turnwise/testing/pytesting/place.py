"""Where a test stands."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

__all__ = ["BenchPlace"]


@dataclass(frozen=True, slots=True)
class BenchPlace:
    """Where a test stands.

    Args:
        test: its node id.
        name: its function's name; the conversation of calls outside of every turn.
        file: its file.
        folder: a folder of its own, for runs.
        today: the day, for the ends of quarantines.
    """

    test: str
    name: str
    file: Path
    folder: Path
    today: date
