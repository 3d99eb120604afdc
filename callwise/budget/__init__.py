"""The shared call budgeter: everything between asking and sending."""

from callwise.budget.budgeter import Budgeter
from callwise.budget.clock import Clock, ManualClock, SystemClock, VirtualClock
from callwise.budget.counters import CounterValues, LedgerError
from callwise.budget.ledger_row import LedgerRow
from callwise.budget.limits import Limits
from callwise.budget.recorder import CallOrigin, RecordedError, RecordedExchange, Recorder
from callwise.budget.scope import Scope, ScopeKind, current_scope
from callwise.calls.load.role_limits import RoleLimits
from callwise.calls.retry import RetryPolicy

__all__ = [
    "Budgeter",
    "CallOrigin",
    "Clock",
    "CounterValues",
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
    "current_scope",
]
