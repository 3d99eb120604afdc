"""The recorded tree of the Game of 24, and what one puzzle may lend another.

The models that proposed steps, or voted, saw the numbers that were left and nothing else. So what
was recorded for some numbers in one puzzle is what would have been recorded for the same
numbers in another, and fills a gap there.

Invariants: a puzzle of one half is never lent a record of the other half, and a record is
lent to one state of a puzzle at most, so that nothing is drawn twice in a run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["RecordedTree", "Row"]

Row = Mapping[str, Any]
"""One recorded state: the columns of `nodes.parquet` by name."""

Numbers = tuple[int, tuple[str, ...]]
"""Steps from the puzzle, and the numbers left, sorted as text."""


class RecordedTree:
    """All puzzles' states by id, parents before their children.

    Args:
        rows: parents before their children; `parent` is None for a puzzle itself.

    Attributes:
        rows: by id, those that were borrowed included.
        children: ids of each state's children.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows: dict[str, Row] = {}
        self.children: dict[str, list[str]] = {}
        for row in rows:
            self._add(row)
        puzzles = sorted({row["puzzle"] for row in rows})
        self._first_half = set(puzzles[: len(puzzles) // 2])

    def _add(self, row: Row) -> None:
        self.rows[row["id"]] = row
        self.children[row["id"]] = []
        if row["parent"] is not None:
            self.children[row["parent"]].append(row["id"])

    def line(self, state_id: str) -> list[Row]:
        """Return the rows from the puzzle down to a state, both included."""
        line = [self.rows[state_id]]
        while line[-1]["parent"] is not None:
            line.append(self.rows[line[-1]["parent"]])
        return line[::-1]

    def borrow(self) -> int:
        """Fill gaps with the records of equal states of other puzzles.

        Returns:
            How many states were lent a record.
        """
        lenders: dict[tuple[bool, Numbers], list[str]] = {}
        for row in self.rows.values():
            numbers = _numbers(row)
            if row["expanded"] and numbers is not None:
                lenders.setdefault((self._is_first(row), numbers), []).append(row["id"])
        lent: set[tuple[int, str]] = set()
        waiting = [row for row in self.rows.values() if not row["expanded"]]
        filled = 0
        for row in waiting:
            numbers = _numbers(row)
            if numbers is None:
                continue
            for lender in lenders.get((self._is_first(row), numbers), []):
                is_own = self.rows[lender]["puzzle"] == row["puzzle"]
                if is_own or (row["puzzle"], lender) in lent:
                    continue
                lent.add((row["puzzle"], lender))
                filled += 1
                self._graft(row, lender, waiting)
                break
        return filled

    def _is_first(self, row: Row) -> bool:
        return row["puzzle"] in self._first_half

    def _graft(self, row: Row, lender: str, waiting: list[Row]) -> None:
        """Give a state another one's children, which may have to borrow in their turn."""
        self.rows[row["id"]] = {**row, "expanded": 1}
        for child_id in list(self.children[lender]):
            if "<" in child_id:
                continue
            child = {
                **self.rows[child_id],
                "id": f"{row['id']}<{child_id}",
                "parent": row["id"],
                "puzzle": row["puzzle"],
                "expanded": 0,
            }
            self._add(child)
            waiting.append(child)


def _numbers(row: Row) -> Numbers | None:
    """Return the key of equal states; None where the record does not have it."""
    left = (row["left"] or "").split()
    return (row["depth"], tuple(sorted(left))) if left else None
