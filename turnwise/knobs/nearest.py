"""Names that were probably meant."""

from collections.abc import Iterable
from difflib import SequenceMatcher

__all__ = ["nearest_names"]

_LEAST_LIKENESS = 0.6


def nearest_names(wanted: str, known: Iterable[str], *, max_names: int = 3) -> list[str]:
    """Return the known names most like a wanted one, best first.

    Dotted names are compared whole and by their last part; the better counts.

    Args:
        wanted: the name that is not known.
        known: names that are.
        max_names: at most how many; at least 0.
    """
    leaf = wanted.rpartition(".")[2]
    likeness = {
        name: max(_likeness(wanted, name), _likeness(leaf, name.rpartition(".")[2]))
        for name in known
    }
    # Of equally likely leaves, the one whose group fits is the better guess.
    order = sorted(likeness, key=lambda name: (-likeness[name], -_likeness(wanted, name), name))
    return [name for name in order if likeness[name] >= _LEAST_LIKENESS][:max_names]


def _likeness(first: str, second: str) -> float:
    return SequenceMatcher(None, first.lower(), second.lower(), autojunk=False).ratio()
