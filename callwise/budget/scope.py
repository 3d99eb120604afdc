"""Scopes: where a call is asked, under which limits, and how far along the critical path.

A tree, run > conversation > turn > node > search. The current scope is in a
context variable, so that a node asks without being given its scope; tasks inherit it.
A scope can be used as a context manager, which closes it, or opened by hand, entered
as often as needed (`with scope.entered():`, also from other contexts, as a graph
server runs nodes in) and closed by hand.
"""
# ruff: noqa: SLF001 - an object reads private parts of others of its class

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from enum import StrEnum
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar

from callwise.budget.clock import Clock
from callwise.budget.counters import Counters, CounterValues, LedgerError, ScopeStatistics
from callwise.budget.critical_path import ORIGIN, CriticalPath, CriticalPathPoint
from callwise.budget.ledger_row import LedgerRow, amend_choice
from callwise.budget.limits import Amounts, Limits, as_limits
from callwise.budget.scope_limits import ScopeLimits
from callwise.budget.usage import to_picodollars
from callwise.calls.call import Role
from callwise.calls.choice import Choice
from callwise.calls.errors import ConfigError
from callwise.safe_text import printable

__all__ = [
    "AtOwner",
    "Scope",
    "ScopeKind",
    "at_owner_loop",
    "context_outside_scopes",
    "current_scope",
]

T = TypeVar("T")
P = ParamSpec("P")
OwnedT = TypeVar("OwnedT", bound="_HasOwner")


class AtOwner(Protocol):
    """Runs a short function where no call is between two of its steps; see `OwnerLoop.call`."""

    def __call__(self, work: Callable[[], T], /) -> T:
        """Return what the function returns."""
        ...


class _HasOwner(Protocol):
    at_owner: AtOwner


def _run_here(work: Callable[[], T]) -> T:
    return work()


def at_owner_loop(
    method: Callable[Concatenate[OwnedT, P], T],
) -> Callable[Concatenate[OwnedT, P], T]:
    """Return a method that runs by the `at_owner` of its object."""

    @wraps(method)
    def run(self: OwnedT, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.at_owner(lambda: method(self, *args, **kwargs))

    return run


class ScopeKind(StrEnum):
    """The levels of the tree, from the root down."""

    RUN = "run"
    CONVERSATION = "conv"
    TURN = "turn"
    NODE = "node"
    SEARCH = "search"


def _as_kind(given: object) -> ScopeKind:
    """Return the level of a name, such as `turn`, `conv` or `CONVERSATION`.

    Raises:
        ConfigError: when there is no such level; names those there are.
    """
    for kind in ScopeKind:
        if isinstance(given, str) and given.lower() in {kind.value, kind.name.lower()}:
            return kind
    known = ", ".join(f"ScopeKind.{kind.name}" for kind in ScopeKind)
    raise ConfigError(
        f"{given!r:.40} is no kind of scope. Use one of: {known}. A scope for a user is "
        'a ScopeKind.CONVERSATION with `user="..."`'
    )


_LEVELS = {kind: level for level, kind in enumerate(ScopeKind)}
_CURRENT: ContextVar["Scope | None"] = ContextVar("callwise_scope", default=None)


def current_scope() -> "Scope | None":
    """Return the scope that a call asked now would be asked in."""
    return _CURRENT.get()


def context_outside_scopes() -> Context:
    """Return a copy of the present context in which no scope is current.

    For a request that is of several scopes: its connection and its timers keep the context that
    they were made in, and would keep one of the scopes for as long.
    """
    context = copy_context()
    context.run(_CURRENT.set, None)
    return context


class Scope:
    """One scope. Made by a budgeter (the root) or by `open`.

    Args:
        accept_limits: called with the limits and the path of this scope and of each
            one below; raises ConfigError for limits that could not bind.
        at_owner: runs functions that change or sum up counters; None takes the parent's.

    Attributes:
        scope_limits: the quotas, deadlines and leases that bind the calls asked in it.
        counters: its counts, live. To read them, use `statistics`.
        conversation: name of the conversation that it is or is in, or None; `turn` likewise.
        node: name of its innermost node, or None.
        user: id of the user that it is for, inherited, or None where none is known; `tenant`
            likewise. Rate limits may be per user and tenant.
        lasting: the nearest scope that lasts a turn or longer: this one, or one around it.
        first_round: the round at which its turn (outside of one, its run) started.
        clock: the budgeter's clock.
        on_close: each is called with this scope once it is closed.
    """

    on_close: "tuple[Callable[[Scope], None], ...]" = ()

    def __init__(
        self,
        kind: ScopeKind,
        name: str = "",
        *,
        parent: "Scope | None" = None,
        limits: Limits | Mapping[str, Any] | None = None,
        clock: Clock,
        accept_limits: Callable[[Limits, str], None],
        after: Sequence[str] | None = None,
        mark: str = "",
        user: str | None = None,
        tenant: str | None = None,
        at_owner: AtOwner | None = None,
    ) -> None:
        label = (f"{kind}:{name}" if name else str(kind)) + mark
        self.kind, self.name, self.parent = kind, name, parent
        self.path: str = f"{parent.path}/{label}" if parent else label
        self.limits = as_limits(limits)
        accept_limits(self.limits, self.path)
        self.clock, self._accept_limits = clock, accept_limits
        self.at_owner: AtOwner = at_owner or (parent.at_owner if parent else _run_here)
        self.root: Scope = parent.root if parent else self
        self.critical_path: CriticalPath = (
            parent.critical_path.open_child(after) if parent else CriticalPath(ORIGIN)
        )
        self.scope_limits: ScopeLimits = ScopeLimits(
            self.path,
            self.limits,
            clock,
            self.critical_path,
            parent.scope_limits if parent else None,
        )
        is_turn = kind is ScopeKind.TURN
        of_parent = (parent.conversation, parent.turn, parent.node) if parent else (None,) * 3
        self.conversation: str | None = name if kind is ScopeKind.CONVERSATION else of_parent[0]
        self.turn: str | None = name if is_turn else of_parent[1]
        self.node: str | None = name if kind is ScopeKind.NODE else of_parent[2]
        self.user: str | None = parent.user if parent and user is None else user
        self.tenant: str | None = parent.tenant if parent and tenant is None else tenant
        self.lasting: Scope = (
            parent.lasting if parent and _LEVELS[kind] > _LEVELS[ScopeKind.TURN] else self
        )
        self.first_round: int = (
            parent.first_round if parent and not is_turn else self.critical_path.start.round
        )
        self.counters: Counters = Counters(
            parent.counters if parent else None,
            is_by_part=not parent or _LEVELS[kind] <= _LEVELS[ScopeKind.TURN],
        )
        self._is_closed = False
        self._entered_from: list[Scope | None] = []
        self._tool_calls = 0
        self._rows: list[LedgerRow] = []
        self._rows_of_turns: tuple[list[LedgerRow], ...] = (
            *((self._rows,) if is_turn else ()),
            *(parent._rows_of_turns if parent else ()),
        )

    def open(
        self,
        kind: ScopeKind | str,
        name: str = "",
        *,
        limits: Limits | Mapping[str, Any] | None = None,
        after: Sequence[str] | None = None,
        mark: str = "",
        user: str | None = None,
        tenant: str | None = None,
    ) -> "Scope":
        """Return a new scope inside this one. It is not entered yet.

        Args:
            kind: its level, also by its name; not above this scope's.
            name: its name among its siblings; may be empty.
            limits: its hard limits, on top of those around it; also as a mapping.
            after: names of the sibling nodes that it has to wait for; empty for none
                of them, None for all that has ended in this scope so far.
            mark: ends its path, where siblings of one name are different tasks.
            user: id of the user that it is for; None for that of this scope.
            tenant: tenant that it is for; None for that of this scope.

        Raises:
            ConfigError: for limits that could not bind, or are none; for a kind that is none.
            LedgerError: when this scope is closed, or `kind` is above it.
            LookupError: when a node named in `after` has not ended.
        """
        kind = kind if type(kind) is ScopeKind else _as_kind(kind)
        self._require_open(f"no {kind} can be opened in it")
        if kind is ScopeKind.RUN or _LEVELS[kind] < _LEVELS[self.kind]:
            raise LedgerError(f"a {kind} scope cannot be inside {self.path}")
        return self.at_owner(
            lambda: Scope(
                kind,
                name,
                parent=self,
                limits=limits,
                clock=self.clock,
                accept_limits=self._accept_limits,
                after=after,
                mark=mark,
                user=user,
                tenant=tenant,
            )
        )

    def __repr__(self) -> str:
        """Return path, state, calls and use of its limits, for a console."""
        used = ", ".join(self.scope_limits.used()) or "no limits"
        state = "closed, " if self._is_closed else ""
        calls = self.counters.asked
        return (
            f"<Scope {printable(self.path)}: {state}{calls:,} call{'' if calls == 1 else 's'} "
            f"asked; {used}>"
        )

    def __enter__(self) -> Self:
        self._entered_from.append(_CURRENT.get())
        _CURRENT.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        # Set, not reset by token: a scope may be left in another context than it was
        # entered in, and there a token is worth nothing.
        _CURRENT.set(self._entered_from.pop())
        self.close()

    @contextmanager
    def entered(self) -> Iterator[Self]:
        """Ask in this scope for a while, without closing it. Works from any context."""
        before = _CURRENT.get()
        _CURRENT.set(self)
        try:
            yield self
        finally:
            _CURRENT.set(before)

    @at_owner_loop
    def close(self) -> None:
        """Close it: release its leases, push its parent's path, check the identity.

        Calls still under way settle later and stay counted. Safe to do twice.

        Raises:
            LedgerError: when its counters do not add up.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self.scope_limits.release_all()
        self._push_parent()
        self.counters.check(self.path)
        for call in self.on_close:
            call(self)

    @property
    def is_closed(self) -> bool:
        """Whether it has been closed. Nothing can be asked in it any more."""
        return self._is_closed

    def _require_open(self, consequence: str) -> None:
        if self._is_closed:
            raise LedgerError(
                f"{self.path} is closed: {consequence}. The end of `with scope:` closes it; to "
                "enter it several times use `with scope.entered():`, and `scope.close()` at the end"
            )

    # Its path.

    @property
    def position(self) -> CriticalPathPoint:
        """Its point on the critical path, in rounds and seconds of the root scope."""
        return self.critical_path.position

    @property
    def rounds(self) -> int:
        """Rounds from its start to its position."""
        return self.critical_path.length.round

    @property
    def path_seconds(self) -> float:
        """Seconds of its longest chain of calls, measured, virtual or recorded."""
        return self.critical_path.length.seconds

    def end_of(self, node: str) -> CriticalPathPoint:
        """Return rounds and seconds from its start to the end of one of its nodes.

        Raises:
            LookupError: when no node of this name has been closed in it.
        """
        return self.critical_path.end_of(node)

    def advance_to(self, end: CriticalPathPoint) -> None:
        """Advance to the point at which a call asked in it ended."""
        self.critical_path.advance_to(end)
        if self._is_closed:
            self._push_parent()

    def _push_parent(self) -> None:
        if self.parent is not None:
            is_node = self.kind is ScopeKind.NODE
            self.parent.critical_path.close_child(self.name, self.critical_path, is_named=is_node)

    # Its leases.

    @at_owner_loop
    def hold(
        self,
        name: str,
        *,
        calls: int = 1,
        tokens: int = 0,
        usd: float = 0.0,
        seconds: float = 0.0,
        role: Role | None = None,
    ) -> int:
        """Hold capacity back for calls that name this lease, and return how many it is for.

        Held back in this scope and in those around it, with one request for each call;
        what does not fit any more is not held back. Where nothing is limited, nothing is.

        Args:
            name: the name that `Call.lease` has.
            calls: calls to hold back.
            tokens: tokens for all of them together.
            usd: USD for all of them together.
            seconds: the end of the time that is left, until the first of them is asked.
            role: hold back in this role's own limits too.

        Raises:
            LedgerError: when it has a lease of this name already, or is closed.
        """
        self._require_open("nothing can be held back in it")
        wanted = Amounts(calls, calls, tokens, to_picodollars(usd))
        return self.scope_limits.hold(name, wanted, role, seconds=seconds)

    @at_owner_loop
    def release(self, name: str) -> None:
        """Release a lease. A name without a lease is no error."""
        self.scope_limits.release(name)

    # Its counts.

    def begin(self) -> None:
        """Count one call that was asked, here and all the way up.

        Raises:
            LedgerError: when this scope is closed.
        """
        self._require_open("nothing can be asked in it")
        self.counters.begin()

    def end(self, row: LedgerRow) -> None:
        """Count how one call ended, here and all the way up."""
        self.counters.end(row)
        for rows in self._rows_of_turns:
            rows.append(row)

    def amend(self, sequence: int, choice: Choice) -> None:
        """Change the choice in the row of a call that has ended, where it was not taken yet."""
        for rows in self._rows_of_turns:
            amend_choice(rows, sequence, choice)

    @at_owner_loop
    def take_rows(self) -> list[LedgerRow]:
        """Return the rows of a turn that were not taken yet, in the order in which calls ended."""
        rows = self._rows.copy()
        self._rows.clear()
        return rows

    @property
    def turn_tool_calls(self) -> int | None:
        """Tool calls that models have asked for in its turn; None outside of one."""
        lasting = self.lasting
        return lasting._tool_calls if lasting.kind is ScopeKind.TURN else None

    def count_tool_calls(self, count: int) -> None:
        """Count tool calls that a model asks for."""
        self.lasting._tool_calls += count

    @at_owner_loop
    def counts(self) -> CounterValues:
        """Return its calls, those of the scopes below it included."""
        return self.counters.counts()

    @at_owner_loop
    def statistics(self) -> ScopeStatistics:
        """Return its counts, its path and its leases."""
        counters = self.counters
        return ScopeStatistics(
            path=self.path,
            is_closed=self._is_closed,
            counts=counters.counts(),
            by_node=counters.by_node(),
            by_role=counters.by_role(),
            by_purpose=counters.by_purpose(),
            rounds=self.rounds,
            path_seconds=self.path_seconds,
            leases=self.scope_limits.leases(),
            charged=self.scope_limits.charged(),
        )
