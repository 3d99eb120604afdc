"""The truth, where there is one: simulated replies, and pools that people have rated.

A simulated reply's quality stands in its own text and is read off it; it says how well a
sweep finds what is there to be found, and nothing about people. Its unit is the
within-prompt SD: over random replies to one prompt the mean is 0 and the SD 1.
"""

from collections.abc import Iterable
from pathlib import Path

from turnwise.simulator.phrases import true_quality
from turnwise.tune.quality.items import ReplyItem, distinct
from turnwise.tune.quality.labels import Labels, LabelTable
from turnwise.tune.quality.scores import Score
from turnwise.tune.row import TurnRow

__all__ = ["SIMULATED_TRUTH", "TRUTH_SCALE", "read_truth", "simulated_truth"]

SIMULATED_TRUTH = "truth:simulated"

TRUTH_SCALE = (-2.0, 2.0)
"""Two SD either way: a scale four wide. Single replies may lie outside of it."""


def simulated_truth(items: Iterable[ReplyItem], *, seed: int = 0) -> list[Score]:
    """Return the true quality of simulated replies, sorted.

    Args:
        items: replies that a simulated model gave. A person's reply has a quality here too,
            and it means nothing.
        seed: the seed of the simulated model that gave them; another likes other phrases.
    """
    low, high = TRUTH_SCALE
    return [
        Score(
            SIMULATED_TRUTH, *item.key, true_quality(item.reply, seed=seed), low, high, kind="truth"
        )
        for item in distinct(items)
    ]


def read_truth(
    path: Path, rows: Iterable[TurnRow], *, scale: tuple[float, float] | None = None
) -> Labels:
    """Return a pool's known qualities, from a CSV file in the form of `labels`.

    Args:
        path: the file.
        rows: the sweep's.
        scale: as for `read_labels`; values may lie outside of it.

    Raises:
        FormatError: when the file cannot be read; names the line.
    """
    return LabelTable(Path(path), rows).labels(f"truth:{Path(path).name}", "truth", scale)
