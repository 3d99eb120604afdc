"""A search's confidence against truth: `python -m benchmarks.search.chances`.

Each recorded prompt is searched by `listwise`. Its answer is right when no other candidate of that
search has a higher truth: what `Confidence.chance_best` is the chance of. A pool's calibration
is fitted on its tuning half and compared with the truth on its reporting half.
"""

import argparse
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from benchmarks.search.answering import Recorded
from benchmarks.search.pools import Half, Pool, PoolAbsent
from benchmarks.search.settings import POOLS, Entry, knobs_for
from lats.chance_calibration import ChanceCalibration, LabelledSearch, fit_calibration, labelled
from lats.search import PosteriorSearch

__all__ = ["Row", "curve_table", "label_searches", "main", "row_of", "table"]

CAP = 6
"""Requests of a search."""

FEW = 20
"""Labels of the calibration from few; each of another prompt."""

EDGES = (0.0, 0.5, 0.7, 0.85, 0.95, 1.0)
"""Ends of the curve's steps, in `chance_best`."""

KEYS = (
    "topical-all",
    "topical-rotating",
    "topical-weak",
    "summeval-gpt35",
    "summeval-llama",
    "summeval-all",
    "humaneval",
)
"""Recorded pools without steps."""


def label_searches(pool: Pool, half: Half, *, seeds: int) -> list[list[LabelledSearch]]:
    """Return labelled searches by seed, each on all prompts of a half that gave a confidence."""
    knobs = knobs_for(Entry("listwise", CAP), pool)
    found = []
    for seed in range(seeds):
        labels = []
        for prompt_id in pool.half(half):
            prompt = pool.prompt(prompt_id, seed)
            search = PosteriorSearch(knobs.model_copy(update={"seed": seed}))
            recorded = Recorded(prompt, search)
            while actions := search.ask():
                for action in actions:
                    search.tell(action.action_id, recorded.answer(action))
            result = search.result()
            truths = {}
            for node in result.tree.candidates:  # a truth closes its prompt
                fresh = pool.prompt(prompt_id, seed)
                fresh.generate(recorded.completions)
                truths[node.node_id] = fresh.truth(recorded.item_of(node.draft))
            if result.best is not None:
                is_right = truths[result.best.node_id] == max(truths.values())
                label = labelled(result, is_right=is_right)
                labels += [] if label is None else [label]
        found.append(labels)
    return found


@dataclass(frozen=True, slots=True)
class Row:
    """A pool's reporting half.

    Args:
        pool: its key.
        said: mean `chance_best`.
        right: share of searches whose answer is right.
        calibrated: mean `chance_right`, by all labels of the tuning half.
        losses: mean log loss: as it came, by `FEW` labels, and by all.
        chances: of each search, `chance_best`, `chance_right` by all labels, and the truth.
    """

    pool: str
    said: float
    right: float
    calibrated: float
    losses: tuple[float, float, float]
    chances: Sequence[tuple[float, float, bool]]


def _loss(pairs: Iterable[tuple[float, bool]]) -> float:
    """Return the mean log loss; a chance of 0 or 1 counts as .005 from there."""
    kept = [(min(max(chance, 0.005), 0.995), is_right) for chance, is_right in pairs]
    return -fmean(math.log(chance if is_right else 1 - chance) for chance, is_right in kept)


def row_of(
    key: str, tuning: Sequence[Sequence[LabelledSearch]], new: Sequence[LabelledSearch]
) -> Row:
    """Return a pool's row.

    Args:
        key: of the pool.
        tuning: labelled searches by seed; of each seed `FEW` are drawn for a calibration.
        new: labelled searches that no calibration sees.
    """

    def pairs(fitted: ChanceCalibration) -> list[tuple[float, bool]]:
        return [(fitted.chance_right(each.chance_best), each.is_right) for each in new]

    everything = pairs(fit_calibration([one for own in tuning for one in own], task=key))
    few = [
        fit_calibration(random.Random(place).sample(list(own), min(FEW, len(own))), task=key)
        for place, own in enumerate(tuning)
    ]
    return Row(
        pool=key,
        said=fmean(each.chance_best for each in new),
        right=fmean(each.is_right for each in new),
        calibrated=fmean(chance for chance, _ in everything),
        losses=(
            _loss((each.chance_best, each.is_right) for each in new),
            fmean(_loss(pairs(each)) for each in few),
            _loss(everything),
        ),
        chances=[
            (each.chance_best, chance, each.is_right)
            for each, (chance, _) in zip(new, everything, strict=True)
        ],
    )


def table(rows: Sequence[Row]) -> str:
    """Return the pools as a table in Markdown."""
    lines = [
        f"| pool | said | right | calibrated | log loss as it came | by {FEW} labels | by all |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = (row.said, row.right, row.calibrated, *row.losses)
        lines.append(f"| {row.pool} | " + " | ".join(f"{each:.2f}" for each in figures) + " |")
    return "\n".join(lines)


def curve_table(rows: Sequence[Row]) -> str:
    """Return the curve over all pools, each search with its own pool's calibration."""
    lines = ["| said | searches | mean said | right | calibrated |", "|---|---|---|---|---|"]
    every = [each for row in rows for each in row.chances]
    for low, high in pairwise(EDGES):
        step = [each for each in every if low <= each[0] < high or each[0] == high == 1]
        if step:
            figures = [fmean(each[place] for each in step) for place in (0, 2, 1)]
            shown = " | ".join(f"{each:.2f}" for each in figures)
            lines.append(f"| {low:.2f} to {high:.2f} | {len(step)} | {shown} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search.chances")
    parser.add_argument("--pools", nargs="*", choices=KEYS, default=KEYS, metavar="POOL")
    parser.add_argument("--seeds", type=int, default=10, help="shuffles of each prompt (10)")
    given = parser.parse_args(arguments)
    if given.seeds < 1:
        parser.error("--seeds is at least 1")
    rows = []
    for key in given.pools:
        try:
            pool = POOLS[key]()
        except PoolAbsent as error:
            print(f"{key} is left out: {error}")
            continue
        tuning = label_searches(pool, "tuning", seeds=given.seeds)
        reporting = label_searches(pool, "reporting", seeds=given.seeds)
        rows.append(row_of(key, tuning, [one for own in reporting for one in own]))
    print(table(rows), curve_table(rows), sep="\n\n")


if __name__ == "__main__":
    main()
