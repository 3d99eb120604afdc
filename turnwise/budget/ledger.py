"""The ledger: every asked call, once.

Rows are handed to the sinks in the order in which calls end, and kept in memory until
`drain` takes them. A sink that fails loses nothing: the row is kept and counted first,
the failure is logged, and `check` raises it.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable

from turnwise.budget.ledger_row import LedgerRow
from turnwise.budget.scope import AtOwner, run_here
from turnwise.budget.tally import Counts, LedgerError, Tally

__all__ = ["Ledger", "RowSink"]

RowSink = Callable[[LedgerRow], None]
"""Told each row, once, on the event loop: it must not block."""

_LOGGER = logging.getLogger(__name__)


class Ledger:
    """The rows of one budgeter, and the check that none is missing.

    Args:
        tally: the tally of the root scope, to hold the rows against.
        sinks: told each row as it is written.
        max_kept_rows: most rows kept in memory, the oldest dropped first; None keeps
            all until they are drained. Sinks and counts miss none either way.
        at_owner: runs a function where rows are written.
    """

    def __init__(
        self,
        tally: Tally,
        *,
        sinks: Iterable[RowSink] = (),
        max_kept_rows: int | None = None,
        at_owner: AtOwner = run_here,
    ) -> None:
        self._tally = tally
        self._at_owner = at_owner
        self._sinks = tuple(sinks)
        self._rows: deque[LedgerRow] = deque(maxlen=max_kept_rows)
        self._written = Tally()
        self._next_sequence = 1
        self._first_failure: Exception | None = None
        self._failure_count = 0

    @property
    def rows(self) -> tuple[LedgerRow, ...]:
        """The rows kept now, in the order in which the calls ended."""
        return tuple(self._rows)

    def next_sequence(self) -> int:
        """Return the number of a call that is being asked, and count it."""
        sequence = self._next_sequence
        self._next_sequence += 1
        self._written.begin()
        return sequence

    def write(self, row: LedgerRow) -> None:
        """Keep one row and tell the sinks."""
        self._written.end(row)
        self._rows.append(row)
        for sink in self._sinks:
            try:
                sink(row)
            except Exception as error:
                _LOGGER.exception("a sink lost ledger row %d", row.sequence)
                self._failure_count += 1
                self._first_failure = self._first_failure or error

    def drain(self) -> list[LedgerRow]:
        """Take the kept rows out, in the order in which the calls ended."""
        return self._at_owner(self._drain)

    def counts(self) -> Counts:
        """Return the counts of all rows ever written."""
        return self._at_owner(self._written.counts)

    def check(self) -> None:
        """Hold the identity, the rows against the scopes, and that no sink failed.

        Raises:
            LedgerError: when one of them does not hold.
        """
        self._at_owner(self._check)

    def _drain(self) -> list[LedgerRow]:
        rows = list(self._rows)
        self._rows.clear()
        return rows

    def _check(self) -> None:
        self._written.check("ledger")
        self._tally.check("run")
        written, counted = self._written.counts(), self._tally.counts()
        if written != counted:
            raise LedgerError(f"the rows say {written}, the scopes say {counted}")
        if self._first_failure is not None:
            raise LedgerError(
                f"{self._failure_count} rows did not reach a sink: {self._first_failure!r}"
            ) from self._first_failure
