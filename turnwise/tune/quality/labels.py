"""People's labels from a CSV file, joined to the replies that a sweep has.

One label a row. Columns, in any order, further ones are passed over:

    conversation, turn     which turn
    reply_id               which reply to it; or its text as `reply`; or the `setting` that
                           gave it
    value                  the label, a number; higher is better
    rater                  who rated; optional
    scale                  such as `1-5` or `-2..2`; optional, one for the whole file

Several raters of one reply are kept as so many looks, and averaged where quality is joined.
Cells are text and numbers: nothing in them is ever run.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from turnwise.calls.errors import FormatError
from turnwise.report.table import unguarded
from turnwise.tune.quality.agreement import Agreement, agreement_of
from turnwise.tune.quality.csv_table import CsvRow, number_of, read_csv
from turnwise.tune.quality.scores import ReplyKey, Score, ScoreKind, reply_id
from turnwise.tune.row import TurnRow

__all__ = ["LabelTable", "Labels", "read_labels"]

_REPLY_COLUMNS = ("reply_id", "reply", "setting")
_SCALE = re.compile(r"\s*([+-]?[0-9.]+)\s*(?:\.\.|[-–:])\s*([+-]?[0-9.]+)\s*")


@dataclass(frozen=True, slots=True)
class Labels:
    """What a file of labels says of a sweep's replies.

    Args:
        by: `human:<file>`, or `truth:<file>`.
        scores: one a reply and rater, sorted; `repeat` is the rater's number, by name.
        agreement: how far raters agree; None where no two rated the same reply.
        unknown_turns: rows of turns that the sweep does not have.
        unknown_replies: rows of replies, or settings, that their turn does not have.
        notices: what a person should know, in words.
    """

    by: str
    scores: tuple[Score, ...]
    agreement: Agreement | None
    unknown_turns: int
    unknown_replies: int
    notices: tuple[str, ...]


def read_labels(
    path: Path, rows: Iterable[TurnRow], *, scale: tuple[float, float] | None = None
) -> Labels:
    """Return people's labels of a sweep's replies.

    Args:
        path: the file.
        rows: the sweep's; they say which turns and replies there are.
        scale: worst and best label; None takes the file's `scale`, else the labels' own range.

    Raises:
        FormatError: when the file cannot be read as labels; names the line.
    """
    return LabelTable(Path(path), rows).labels(f"human:{Path(path).name}", "label", scale)


class LabelTable:
    """A file of labels, held against a sweep's rows.

    Args:
        path: the file.
        rows: the sweep's.

    Raises:
        FormatError: when the file cannot be read, or has no column that names a reply.
    """

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

    def labels(self, by: str, kind: ScoreKind, scale: tuple[float, float] | None) -> Labels:
        """Return the labels under a name.

        Args:
            by: the name.
            kind: what the scores are.
            scale: as for `read_labels`.

        Raises:
            FormatError: for a cell that is no number, or a label off its scale.
        """
        table = self._table
        unknown_turns = unknown_replies = 0
        given: defaultdict[ReplyKey, defaultdict[str, list[float]]] = defaultdict(
            lambda: defaultdict(list)
        )
        low, high, how = self._scale(scale)
        for row in table.rows:
            value = table.number(row, "value")
            if not low <= value <= high and kind == "label":
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
        return Labels(
            by=by,
            scores=tuple(_scores(means, by=by, kind=kind, scale=(low, high))),
            agreement=agreement,
            unknown_turns=unknown_turns,
            unknown_replies=unknown_replies,
            notices=self._notices(len(means), unknown_turns, unknown_replies, how, agreement),
        )

    def _turn(self, row: CsvRow) -> tuple[str, int] | None:
        """Return the sweep's turn that a row is about, or None."""
        number = self._table.whole(row, "turn")
        cell = row.cells["conversation"]
        places = ((name, number) for name in (cell, unguarded(cell), cell.strip()))
        return next((place for place in places if place in self._replies), None)

    def _reply(self, row: CsvRow, turn: tuple[str, int]) -> str | None:
        """Return the id of the reply that a row is about, or None."""
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
        """Return the scale, and where it is from.

        Raises:
            FormatError: when a row's scale is none, or differs from those before.
        """
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
            found, how = own, "as the file says"
        if found is not None:
            return (*found, how)
        values = [table.number(row, "value") for row in table.rows]
        low, high = min(values, default=0.0), max(values, default=1.0)
        return low, (high if high > low else low + 1.0), "the range of its labels"

    def _notices(
        self,
        reply_count: int,
        unknown_turns: int,
        unknown_replies: int,
        how: str,
        agreement: Agreement | None,
    ) -> tuple[str, ...]:
        name = self._table.path.name
        said = []
        if how == "the range of its labels":
            said.append(f"{name}: states no scale; {how} is taken for it")
        if unknown_turns:
            said.append(f"{name}: {unknown_turns} rows are of turns that the sweep does not have")
        if unknown_replies:
            said.append(
                f"{name}: {unknown_replies} rows are of replies that no setting gave on their turn"
            )
        if not reply_count:
            said.append(f"{name}: no row is of a reply of this sweep")
        if agreement is not None:
            said.append(f"{name}: {agreement.sentence()}")
        return tuple(said)


def _rater(row: CsvRow, own: "defaultdict[str, list[float]]") -> str:
    """Return who gave a label; whoever is not named is somebody else each time."""
    name = row.cells.get("rater", "").strip()
    return name or f"\0{len(own):09d}"


def _scale_of(cell: str) -> tuple[float, float] | None:
    found = _SCALE.fullmatch(cell)
    if found is None:
        return None
    low, high = number_of(found.group(1)), number_of(found.group(2))
    return (low, high) if low is not None and high is not None and low < high else None


def _scores(
    means: "dict[ReplyKey, dict[str, float]]",
    *,
    by: str,
    kind: ScoreKind,
    scale: tuple[float, float],
) -> list[Score]:
    """Return a score a reply and rater; raters are numbered by name over the whole file."""
    number = {name: n for n, name in enumerate(sorted({r for own in means.values() for r in own}))}
    scores = [
        Score(by, *key, value, *scale, repeat=number[rater], kind=kind)
        for key, own in means.items()
        for rater, value in own.items()
    ]
    return sorted(scores, key=lambda score: score.key)
