"""Scores of replies, their table `scores.csv`, and the quality of a sweep's rows that they give.

A referee, people and a known truth give the same record. The same text on the same turn is one
reply: it is judged once, and every setting that gave it shares the score.

Invariant: sources are never mixed. One is chosen for all rows, and a row that it did not judge
has no quality, whatever another source gave it.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from statistics import fmean
from typing import Literal, get_args

import numpy as np

from callwise.calls.errors import ConfigError
from callwise.report.table import unguarded
from callwise.tuning.judge.csv_table import (
    CsvRow,
    CsvTable,
    bytes_of,
    decoded,
    read_csv,
    text_cell,
    whole_part,
)
from callwise.tuning.row import ReplyKey, TurnRow

__all__ = [
    "COLUMNS",
    "Order",
    "Score",
    "ScoreKey",
    "ScoreKind",
    "choose_source",
    "estimate_spread_of",
    "in_order",
    "mean_values",
    "read_scores",
    "scale_of",
    "sources_of",
    "with_quality",
    "write_scores",
]

ScoreKind = Literal["pointwise", "pairwise", "label", "truth"]
"""A mark for one reply, a comparison, a person's label, or a known truth."""

Order = Literal["", "first", "second"]
"""The position of the reply when two were compared; empty where it was alone."""

ScoreKey = tuple[str, str, int, str, str, str, int, str]
"""The identity of a score; see `Score.key`."""


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one pass over one reply.

    Args:
        by: the source: `referee:<model>`, `human:<file>`, `truth:simulated`.
        value: in the unit of the scale; higher is better. Finite.
        scale_high: the best value; above `scale_low`.
        repeat: the number of the pass of this source over this reply; for labels, of the rater.
            Starts at 0.
        order: the position of the reply; set for pairwise scores with a call.
        against: for pairwise scores the id of the reply that it was compared with.

    Raises:
        ValueError: for a value that is not finite, a scale without width, or a count below 0.
    """

    by: str
    conversation: str
    turn: int
    reply_id: str
    value: float
    scale_low: float
    scale_high: float
    repeat: int = 0
    order: Order = ""
    kind: ScoreKind = "pointwise"
    against: str = ""

    def __post_init__(self) -> None:
        """Refuse values that no reader of scores expects."""
        if not math.isfinite(self.value):
            raise ValueError(f"a score is a finite number, got {self.value}")
        width = self.scale_high - self.scale_low
        if not (math.isfinite(width) and width > 0):
            raise ValueError(
                f"a scale runs from its low to its high end, got {self.scale_low:g} to "
                f"{self.scale_high:g}"
            )
        if self.turn < 0 or self.repeat < 0:
            raise ValueError(f"turn and repeat start at 0, got {self.turn} and {self.repeat}")

    @property
    def reply_key(self) -> ReplyKey:
        """The reply that it is of."""
        return self.conversation, self.turn, self.reply_id

    @property
    def source_kind(self) -> str:
        """The kind of its source, such as `referee`."""
        return self.by.partition(":")[0]

    @property
    def key(self) -> ScoreKey:
        """Its identity, and its place in a sorted table."""
        return (
            self.by,
            self.conversation,
            self.turn,
            self.reply_id,
            self.kind,
            self.against,
            self.repeat,
            self.order,
        )


def in_order(scores: Iterable[Score]) -> list[Score]:
    """Return the scores sorted by key; of two with one key the later one only."""
    latest = {score.key: score for score in scores}
    return [latest[key] for key in sorted(latest)]


COLUMNS = tuple(field.name for field in fields(Score))
"""The columns of `scores.csv`: the fields of `Score`, in order."""

_HEADER = f"{','.join(COLUMNS)}\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ReadScores:
    """The scores in a file.

    Args:
        scores: sorted, one per key; of two with one key the later.
    """

    scores: tuple[Score, ...]
    notices: tuple[str, ...] = ()


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return text_cell(value)
    return str(value) if isinstance(value, int) else repr(float(value))


def read_scores(path: Path) -> ReadScores:
    """Return the scores of a file. A last row that was cut off is left out, with a notice.

    Raises:
        FormatError: when the file is missing, or a whole row of it is no score; names the
            line.
    """
    data = bytes_of(path)
    ended = data[: data.rfind(b"\n") + 1]  # a killed write may end inside a character
    if not ended and _HEADER.encode().startswith(data.removeprefix(_BYTE_ORDER_MARK)):
        return ReadScores(())
    text = decoded(path, ended or data)
    whole = whole_part(text) or text
    table = read_csv(path, COLUMNS, text=whole)
    scores = in_order(_score(table, row) for row in table.rows)
    mark_bytes = len(_BYTE_ORDER_MARK) if data.startswith(_BYTE_ORDER_MARK) else 0
    is_cut = mark_bytes + len(whole.encode("utf-8", "surrogatepass")) < len(data)
    notices = (f"{path.name}: the last row was cut off and is left out",) if is_cut else ()
    return ReadScores(tuple(scores), notices)


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Write a table: sorted, one row per key. An older one is replaced in one step.

    Raises:
        ConfigError: when it cannot be written.
    """
    lines = (f"{','.join(map(_cell, astuple(score)))}\n" for score in in_order(scores))
    data = f"{_HEADER}{''.join(lines)}".encode("utf-8", "surrogatepass")
    partial = path.with_name(f"{path.name}.part")
    try:
        partial.unlink(missing_ok=True)  # a link would be followed
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error


def _score(table: CsvTable, row: CsvRow) -> Score:
    cells = row.cells
    kind = next((each for each in get_args(ScoreKind) if each == cells["kind"]), None)
    if kind is None:
        raise table.problem(row, f"kind: expected one of {', '.join(get_args(ScoreKind))}")
    order = next((each for each in get_args(Order) if each == cells["order"]), None)
    if order is None:
        raise table.problem(row, "order: expected first, second, or nothing")
    try:
        return Score(
            by=unguarded(cells["by"]),
            conversation=unguarded(cells["conversation"]),
            turn=table.whole(row, "turn"),
            reply_id=unguarded(cells["reply_id"]),
            value=table.number(row, "value"),
            scale_low=table.number(row, "scale_low"),
            scale_high=table.number(row, "scale_high"),
            repeat=table.whole(row, "repeat"),
            order=order,
            kind=kind,
            against=unguarded(cells["against"]),
        )
    except ValueError as error:
        raise table.problem(row, str(error)) from error


SOURCE_ORDER = ("human", "referee", "truth")
"""Kinds of sources where none is named, the preferred first."""

_SCALE_WIDTHS_PER_SD = 4
"""The width of a scale in SD of a turn's replies, where too few are scored to estimate it."""


def sources_of(scores: Iterable[Score]) -> dict[str, int]:
    """Return the number of replies that each source scored, in order of the sources' names."""
    found = Counter(by for by, _ in {(score.by, score.reply_key) for score in scores})
    return dict(sorted(found.items()))


def choose_source(scores: Iterable[Score], by: str | None = None) -> str | None:
    """Return the one source that counts; None where there are no scores.

    Args:
        by: its name, or its kind: `human`, `referee` or `truth`. None takes people before
            referees and referees before truths. Of several of one kind the one that scored
            most replies counts, and of those the first by name.

    Raises:
        ConfigError: when `by` is none of those that scored; names them.
    """
    counts = sources_of(scores)
    if by in counts:
        return by
    kinds = SOURCE_ORDER if by is None else (by,)
    for kind in kinds:
        own = [name for name in counts if name.partition(":")[0] == kind]
        if own:
            return max(own, key=lambda name: counts[name])
    if by is None:
        return max(counts, key=lambda name: counts[name], default=None)
    known = ", ".join(counts) or "none"
    raise ConfigError(f"no quality was judged by {by!r}; sources with scores: {known}")


def mean_values(scores: Iterable[Score]) -> dict[ReplyKey, float]:
    """Return the mean score of each reply over passes, raters and orders, for one source."""
    values: defaultdict[ReplyKey, list[float]] = defaultdict(list)
    for score in scores:
        values[score.reply_key].append(score.value)
    return {key: fmean(values[key]) for key in sorted(values)}


def scale_of(scores: Iterable[Score]) -> tuple[float, float]:
    """Return the worst and the best value of the scale of one source.

    Raises:
        ConfigError: when there are none, or they are on several scales; names the sources.
    """
    scores = list(scores)
    found = Counter((score.scale_low, score.scale_high) for score in scores)
    if len(found) == 1:
        return next(iter(found))
    if not found:
        raise ConfigError("there are no scores, so there is no scale")
    scales = ", ".join(f"{low:g} to {high:g}" for low, high in sorted(found))
    names = ", ".join(sources_of(scores))
    raise ConfigError(
        f"scores by {names} are on several scales ({scales}): choose one source by its name"
    )


def estimate_spread_of(values: Mapping[ReplyKey, float], scale_width: float) -> float:
    """Return the SD of the difference between a stand-in reply's quality and the real one's.

    Where a setting's own reply is not recorded, another reply to the same turn takes its place. If
    both are drawn alike, their qualities differ by the square root of two times the SD of a
    turn's replies, which is pooled here over turns with several. The judge's noise is in it.

    Args:
        scale_width: how wide its scale is; a quarter of it is the SD where no turn has two
            replies.
    """
    by_turn: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for (conversation, turn, _), value in values.items():
        by_turn[conversation, turn].append(value)
    several = [own for own in by_turn.values() if len(own) >= 2]
    freedom = sum(len(own) - 1 for own in several)
    if not freedom:
        return math.sqrt(2.0) * scale_width / _SCALE_WIDTHS_PER_SD
    squares = math.fsum(float(np.var(own)) * len(own) for own in several)
    return math.sqrt(2.0 * squares / freedom)


def with_quality(
    rows: Sequence[TurnRow], scores: Iterable[Score], by: str | None = None
) -> list[TurnRow]:
    """Return the rows with the quality of their replies from one source.

    Rows whose reply it did not judge, and rows without a known reply, have none. The quality of a
    stand-in for the real reply (`is_reply_exact` is false) is an estimate and has a spread.

    Raises:
        ConfigError: when `by` scored nothing, or its scores are on several scales.
    """
    scores = list(scores)
    source = choose_source(scores, by)
    own = [score for score in scores if score.by == source]
    values = mean_values(own)
    low, high = scale_of(own) if own else (0.0, 0.0)
    spread = estimate_spread_of(values, high - low)
    joined = []
    for row in rows:
        key = row.conversation, row.turn, row.reply_id
        value = values.get(key) if row.has_reply else None
        is_estimate = value is not None and not row.is_reply_exact
        joined.append(
            replace(
                row,
                quality=value,
                quality_spread=spread if is_estimate else 0.0,
                quality_by=(source or "") if value is not None else "",
            )
        )
    return joined
