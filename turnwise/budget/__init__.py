"""The shared call budgeter: everything between asking and sending."""

from turnwise.budget.budgeter import Budgeter
from turnwise.budget.clock import Clock, ManualClock, SystemClock, VirtualClock
from turnwise.budget.counters import Counts, LedgerError
from turnwise.budget.ledger_row import LedgerRow
from turnwise.budget.limits import Limits, RoleLimits
from turnwise.budget.recorder import RecordedError, RecordedExchange, Recorder, Where
from turnwise.budget.scope import Scope, ScopeKind, current_scope
from turnwise.calls.retry import RetryPolicy

__all__ = [
    "Budgeter",
    "Clock",
    "Counts",
    "LedgerError",
    "LedgerRow",
    "Limits",
    "ManualClock",
    "RecordedError",
    "RecordedExchange",
    "Recorder",
    "RetryPolicy",
    "RoleLimits",
    "Scope",
    "ScopeKind",
    "SystemClock",
    "VirtualClock",
    "Where",
    "current_scope",
]
