"""The table of scores on disk: `scores.csv`, appended to as judging goes on.

One process writes it at a time. Rows are appended whole; when the process is killed in the
middle of one, the next opening drops that row and says so. At the end the table is written
anew beside the old one and takes its place: sorted, so equal scores give equal bytes
however they came in.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, get_args

from turnwise.calls.errors import ConfigError
from turnwise.replay.held_files import private_opener, try_lock
from turnwise.report.table import unguarded
from turnwise.tune.quality.csv_table import (
    CsvRow,
    CsvTable,
    bytes_of,
    decoded,
    read_csv,
    whole_part,
    written,
)
from turnwise.tune.quality.scores import Order, Score, ScoreKey, ScoreKind, in_order
from turnwise.tune.sweeps.appended_file import AppendedFile

__all__ = ["COLUMNS", "ReadScores", "ScoreFile", "read_scores", "scores_csv", "write_scores"]

COLUMNS = tuple(field.name for field in fields(Score))
"""The columns of `scores.csv`: the fields of `Score`, in order."""

_HEADER = f"{','.join(COLUMNS)}\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ReadScores:
    """Scores as they stand in a file.

    Args:
        scores: sorted, one a key; of two with one key the later.
        notices: what a person should know about the reading, in words.
    """

    scores: tuple[Score, ...]
    notices: tuple[str, ...] = ()


def scores_csv(scores: Iterable[Score]) -> str:
    """Return rows of CSV, without the header, in the order given."""
    return "".join(
        f"{','.join(written(getattr(score, name)) for name in COLUMNS)}\n" for score in scores
    )


def read_scores(path: Path) -> ReadScores:
    """Return the scores of a file. A last row that was cut off is left out, and that is said.

    Raises:
        FormatError: when the file is missing, or a whole row of it is no score; names the
            line.
    """
    read, _ = _read(Path(path))
    return read


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Write the table anew: sorted, one row a key. The old one stands until the new is whole."""
    data = f"{_HEADER}{scores_csv(in_order(scores))}".encode("utf-8", "surrogatepass")
    partial = path.with_name(f"{path.name}.part")
    partial.unlink(missing_ok=True)  # a link would be followed
    partial.write_bytes(data)
    partial.replace(path)


def _read(path: Path) -> tuple[ReadScores, int]:
    """Return the scores, and how many bytes of the file are whole rows."""
    data = bytes_of(path)
    ended = data[: data.rfind(b"\n") + 1]  # a killed write may end inside a character
    if not ended and _HEADER.encode().startswith(data.removeprefix(_BYTE_ORDER_MARK)):
        return ReadScores(()), 0
    text = decoded(path, ended or data)
    whole = whole_part(text) or text
    table = read_csv(path, COLUMNS, text=whole)
    scores = in_order(_score(table, row) for row in table.rows)
    mark_bytes = len(_BYTE_ORDER_MARK) if data.startswith(_BYTE_ORDER_MARK) else 0
    whole_bytes = mark_bytes + len(whole.encode("utf-8", "surrogatepass"))
    is_cut = whole_bytes < len(data)
    notices = (f"{path.name}: the last row was cut off and is left out",) if is_cut else ()
    return ReadScores(tuple(scores), notices), whole_bytes


def _score(table: CsvTable, row: CsvRow) -> Score:
    cells = row.cells
    if cells["kind"] not in get_args(ScoreKind):
        raise table.problem(row, f"kind: expected one of {', '.join(get_args(ScoreKind))}")
    if cells["order"] not in get_args(Order):
        raise table.problem(row, "order: expected first, second, or nothing")
    kind = next(kind for kind in get_args(ScoreKind) if kind == cells["kind"])
    order = next(order for order in get_args(Order) if order == cells["order"])
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


class ScoreFile:
    """A table of scores that is being written. Use it in a `with` block.

    Args:
        path: the file; made when it is not there. Its folder must be.

    Raises:
        ConfigError: when another process writes it.
        FormatError: when it stands there and is no table of scores.

    Attributes:
        notices: what a person should know about what stood there.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.notices: tuple[str, ...] = ()
        self._scores: dict[ScoreKey, Score] = {}
        self._lock = self._take_lock()
        try:
            self._open()
        except BaseException:
            self._lock.close()
            raise

    @property
    def scores(self) -> tuple[Score, ...]:
        """Every score that stands in it now, sorted."""
        return tuple(in_order(self._scores.values()))

    def add(self, scores: Sequence[Score]) -> None:
        """Append scores; those that stand there with the same value already are passed over.

        Raises:
            DiskFull: when there is no room; none of them stands then.
        """
        fresh = [score for score in scores if self._scores.get(score.key) != score]
        self._file.append(scores_csv(fresh).encode("utf-8", "surrogatepass"))
        self._scores.update({score.key: score for score in fresh})

    def close(self) -> None:
        """Let go of the file as it stands. Safe to call twice."""
        self._file.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the table in order, unless the block failed: then it stays as it was appended."""
        if kind is None:
            write_scores(self.path, self._scores.values())
        self.close()

    def _take_lock(self) -> BinaryIO:
        where = self.path.with_name(f".{self.path.name}.lock")
        try:
            lock = open(where, "ab", opener=private_opener)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise ConfigError(f"cannot write {self.path}: {error.strerror or error}") from error
        try:
            is_held = try_lock(lock.fileno())
        except OSError as error:
            lock.close()
            raise ConfigError(f"cannot lock {where}: {error.strerror or error}") from error
        if not is_held:
            lock.close()
            raise ConfigError(
                f"{self.path} is being written by another process; wait for it to end"
            )
        return lock

    def _open(self) -> None:
        whole_bytes = 0
        if self.path.exists():
            read, whole_bytes = _read(self.path)
            self.notices = read.notices
            self._scores = {score.key: score for score in read.scores}
        # Rows are appended in our own form, so a table that a spreadsheet saved is put into it.
        if not whole_bytes or not bytes_of(self.path).startswith(_HEADER.encode()):
            write_scores(self.path, self._scores.values())
            whole_bytes = self.path.stat().st_size
        self._file = AppendedFile(self.path, whole_bytes)
