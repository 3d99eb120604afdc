"""Fixtures of the tests of metrics: rows, and a clock that a test sets."""

from collections.abc import Callable
from typing import Any

import pytest

from callwise.budget.ledger_row import LedgerRow
from callwise.budget.usage import NO_USAGE
from callwise.calls.call import Outcome, Purpose, Role


@pytest.fixture
def make_row() -> Callable[..., LedgerRow]:
    """Return a function that makes a row of a served call, with changes."""

    def make(**changes: Any) -> LedgerRow:
        row = LedgerRow(
            sequence=1,
            scope="run",
            conversation=None,
            turn=None,
            node=None,
            role=Role.MAIN,
            purpose=Purpose.EXPAND,
            endpoint="local",
            model="m",
            outcome=Outcome.SERVED,
            sample=0,
            repair=0,
            is_speculative=False,
            is_simulated=False,
            is_unreadable=False,
            usage=NO_USAGE,
            path_seconds=0.3,
            end_round=1,
            key="0" * 64,
            error=None,
            notes="",
        )
        return row._replace(**changes)

    return make


class Time:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """Return them."""
        return self.seconds


@pytest.fixture
def moved_time() -> Time:
    """Return a source of time that begins at 0."""
    return Time()
