"""Labels of people, and the known truth of simulated replies, joined to the replies of a sweep.

A CSV file has one label in each row. Columns, in any order; others are ignored:

    conversation, turn     which turn
    reply_id               which reply to it; or its text as `reply`; or the `setting` that
                           gave it
    value                  the label, a number; higher is better
    rater                  who rated; optional
    scale                  such as `1-5` or `-2..2`; optional, one for the whole file

Several raters of one reply are kept as so many passes, and averaged where quality is joined. Cells
are text and numbers and are never evaluated.

A simulated reply's quality is in its own text and is read from it. It measures how well a sweep
finds the best setting, and nothing about people. Its unit is the within-prompt SD: over random
replies to one prompt the mean is 0 and the SD 1.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from callwise.calls.errors import FormatError
from callwise.report.table import unguarded
from callwise.simulator.phrases import true_quality
from callwise.tuning.judge.csv_table import CsvRow, number_of, read_csv
from callwise.tuning.judge.items import ReplyItem, distinct
from callwise.tuning.judge.scores import Score
from callwise.tuning.quality_unit import TRUTH_SCALE
from callwise.tuning.row import ReplyKey, TurnRow, reply_id

__all__ = ["Labels", "agreement_of", "read_labels", "simulated_truth"]


@dataclass(frozen=True, slots=True)
class RaterAgreement:
    """Agreement of raters, over the replies that at least two of them rated.

    Args:
        equal_share: share of those pairs that are equal, in [0, 1].
        alpha: Krippendorff's alpha for interval data: 1 is full agreement, 0 is chance, below
            0 is worse than chance. None where all ratings are equal: then nothing varies
            that could be agreed on.
    """

    raters: int
    shared_replies: int
    pairs: int
    equal_share: float
    mean_distance: float
    alpha: float | None

    def sentence(self) -> str:
        """Return the figures in one line."""
        alpha = "not defined" if self.alpha is None else f"{self.alpha:.3f}"
        return (
            f"{self.raters} raters, {self.shared_replies} replies rated by two or more: "
            f"Krippendorff's alpha {alpha} (interval), {self.equal_share:.0%} of pairs equal, "
            f"mean distance {self.mean_distance:.3g}"
        )


def agreement_of(ratings: Mapping[ReplyKey, Mapping[str, float]]) -> RaterAgreement | None:
    """Return the agreement of raters; None where no two of them rated the same reply.

    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), the canonical
    form with missing data: alpha = 1 - D_observed / D_expected with squared distances, each
    rating of a reply weighted by one over the other ratings of that reply.
    """
    shared = [list(own.values()) for own in ratings.values() if len(own) >= 2]
    if not shared:
        return None
    distances = [abs(a - b) for values in shared for a, b in combinations(values, 2)]
    pooled = np.array([value for values in shared for value in values])
    observed = math.fsum(_squared(np.array(values)) / (len(values) - 1) for values in shared)
    expected = _squared(pooled) / (len(pooled) - 1)
    return RaterAgreement(
        raters=len({rater for own in ratings.values() for rater in own}),
        shared_replies=len(shared),
        pairs=len(distances),
        equal_share=float(np.mean([distance == 0 for distance in distances])),
        mean_distance=float(np.mean(distances)),
        alpha=None if expected <= 0 else float(1.0 - observed / expected),
    )


def _squared(values: NDArray[np.float64]) -> float:
    """Return the sum of squared distances over ordered pairs of values."""
    if np.ptp(values) == 0:
        return 0.0
    centred = values - values.mean()
    return float(2.0 * len(values) * np.sum(centred**2))


SIMULATED_TRUTH = "truth:simulated"


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a sweep's replies in a file.

    Args:
        scores: one for each reply and rater, sorted; `repeat` is the number of the rater.
    """

    by: str
    scores: tuple[Score, ...]
    agreement: RaterAgreement | None
    unknown_turns: int
    unknown_replies: int
    notices: tuple[str, ...]


_REPLY_COLUMNS = ("reply_id", "reply", "setting")
_OWN_RANGE = "the range of its labels"
_SCALE = re.compile(r"\s*([+-]?[0-9.]+)\s*(?:\.\.|[-–:])\s*([+-]?[0-9.]+)\s*")


def read_labels(
    path: Path, rows: Iterable[TurnRow], *, scale: tuple[float, float] | None = None
) -> Labels:
    """Return people's labels of a sweep's replies.

    Args:
        scale: worst and best label; None takes the file's `scale`, else the labels' own range.

    Raises:
        FormatError: when the file cannot be read as labels; names the line.
    """
    return _LabelTable(Path(path), rows).labels(scale)


def simulated_truth(items: Iterable[ReplyItem], *, seed: int = 0) -> list[Score]:
    """Return the true quality of simulated replies, sorted.

    Args:
        items: replies of a simulated model. Of other replies the result is meaningless.
        seed: of the simulated model that gave them; another prefers other phrases.
    """
    low, high = TRUTH_SCALE
    return [
        Score(
            SIMULATED_TRUTH, *item.key, true_quality(item.reply, seed=seed), low, high, kind="truth"
        )
        for item in distinct(items)
    ]


class _LabelTable:
    """A file of labels, matched with a sweep's rows."""

    def __init__(self, path: Path, rows: Iterable[TurnRow]) -> None:
        self._table = read_csv(path, ("conversation", "turn", "value"))
        named = [name for name in _REPLY_COLUMNS if name in self._table.columns]
        if not named:
            raise FormatError(
                path, 1, "expected one of the columns reply_id, reply (its text) or setting"
            )
        self._column = named[0]
        self._replies: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        self._reply_of: dict[tuple[str, int, str], str] = {}
        for row in rows:
            self._replies[row.conversation, row.turn].add(row.reply_id)
            self._reply_of[row.conversation, row.turn, row.setting] = row.reply_id

    def labels(self, scale: tuple[float, float] | None) -> Labels:
        """Return the labels as scores."""
        table = self._table
        unknown_turns = unknown_replies = 0
        given: defaultdict[ReplyKey, defaultdict[str, list[float]]] = defaultdict(
            lambda: defaultdict(list)
        )
        low, high, how = self._scale(scale)
        for row in table.rows:
            value = table.number(row, "value")
            if not low <= value <= high:
                raise table.problem(row, f"value: {value:g} is off the scale {low:g} to {high:g}")
            turn = self._turn(row)
            if turn is None:
                unknown_turns += 1
            elif (reply := self._reply(row, turn)) is None:
                unknown_replies += 1
            else:
                own = given[*turn, reply]
                own[_rater(row, own)].append(value)
        means = {
            key: {rater: fmean(values) for rater, values in own.items()}
            for key, own in given.items()
        }
        agreement = agreement_of(means)
        by = f"human:{table.path.name}"
        raters = sorted({rater for own in means.values() for rater in own})
        number = {name: place for place, name in enumerate(raters)}
        scores = [
            Score(by, *key, value, low, high, repeat=number[rater], kind="label")
            for key, own in means.items()
            for rater, value in own.items()
        ]
        notices = (
            (how == _OWN_RANGE, f"states no scale; {how} is taken for it"),
            (unknown_turns, f"{unknown_turns} rows are of turns that the sweep does not have"),
            (
                unknown_replies,
                f"{unknown_replies} rows are of replies that no setting gave on their turn",
            ),
            (not means, "no row is of a reply of this sweep"),
            (agreement, "" if agreement is None else agreement.sentence()),
        )
        return Labels(
            by=by,
            scores=tuple(sorted(scores, key=lambda score: score.key)),
            agreement=agreement,
            unknown_turns=unknown_turns,
            unknown_replies=unknown_replies,
            notices=tuple(f"{table.path.name}: {text}" for is_so, text in notices if is_so),
        )

    def _turn(self, row: CsvRow) -> tuple[str, int] | None:
        number = self._table.whole(row, "turn")
        cell = row.cells["conversation"]
        places = ((name, number) for name in (cell, unguarded(cell), cell.strip()))
        return next((place for place in places if place in self._replies), None)

    def _reply(self, row: CsvRow, turn: tuple[str, int]) -> str | None:
        cell = row.cells[self._column]
        if self._column == "setting":
            names = (cell, unguarded(cell), cell.strip())
            return next(
                (self._reply_of[*turn, n] for n in names if (*turn, n) in self._reply_of), None
            )
        if self._column == "reply_id":
            ids: Sequence[str] = (cell.strip().lower(),)
        else:  # a spreadsheet may have changed line ends and edges
            unix = cell.replace("\r\n", "\n")
            ids = [reply_id(text) for text in (cell, unix, unguarded(unix), unix.strip())]
        return next((found for found in ids if found and found in self._replies[turn]), None)

    def _scale(self, scale: tuple[float, float] | None) -> tuple[float, float, str]:
        table, found = self._table, scale
        how = "as given"
        for row in table.rows if "scale" in table.columns else ():
            cell = row.cells["scale"].strip()
            if not cell:
                continue
            own = _scale_of(cell)
            if own is None:
                raise table.problem(row, f"scale: expected one such as 1-5, found {cell[:40]!r}")
            if found is not None and own != found:
                raise table.problem(
                    row,
                    f"scale: {cell[:40]} differs from {found[0]:g}-{found[1]:g}; one file has one "
                    "scale, so put labels of another into another file",
                )
            found, how = own, "of the file"
        if found is not None:
            return (*found, how)
        values = [table.number(row, "value") for row in table.rows]
        low, high = min(values, default=0.0), max(values, default=1.0)
        return low, (high if high > low else low + 1.0), _OWN_RANGE


def _rater(row: CsvRow, own: "defaultdict[str, list[float]]") -> str:
    """Return the rater of a label; rows without one have different raters."""
    name = row.cells.get("rater", "").strip()
    return name or f"\0{len(own):09d}"


def _scale_of(cell: str) -> tuple[float, float] | None:
    found = _SCALE.fullmatch(cell)
    if found is None:
        return None
    low, high = number_of(found.group(1)), number_of(found.group(2))
    return (low, high) if low is not None and high is not None and low < high else None
