"""Layer `ledger`: every asked call has one outcome and one row.

Rows are handed to the sinks in the order in which calls end, and kept in memory until
`drain` takes them. A sink that fails loses nothing: the row is kept and counted first,
the failure is logged, and `check` raises it.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace

from callwise.budget.clock import Clock
from callwise.budget.counters import CounterValues, LedgerError
from callwise.budget.in_flight import InFlightCall, ReadReply
from callwise.budget.ledger_row import LedgerRow, amend_choice
from callwise.budget.limits import Amounts
from callwise.budget.redactor import Redactor
from callwise.budget.run_gate import RunGate
from callwise.budget.scope import Scope, ScopeKind, at_owner_loop
from callwise.budget.token_estimate import Estimate
from callwise.budget.usage import NO_USAGE
from callwise.calls.call import Call, CallEnd, HoldBack, Outcome
from callwise.calls.choice import Choice
from callwise.calls.client import Endpoint
from callwise.calls.delivery import DIRECT
from callwise.calls.errors import CallError, UnknownRole
from callwise.calls.key import call_key
from callwise.calls.kinds import priority_of
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.reply import ReportedUsage

__all__ = [
    "MAX_KEPT_ROWS",
    "CallWatcher",
    "Ledger",
    "LedgerLayer",
    "RowSink",
    "as_endpoint",
    "endpoint_of",
]

RowSink = Callable[[LedgerRow], None]
"""Called with each row, once, on the event loop: it must not block."""

CallWatcher = Callable[[LedgerRow, InFlightCall, ReadReply | None], None]
"""Called like a sink, with the ended call and its answer as well; None where it has none. It may
not keep the call."""

MAX_KEPT_ROWS = 10_000
"""Rows that a budgeter keeps in memory where nothing else is asked for, about 7 MB."""

_LOGGER = logging.getLogger(__name__)


class Ledger:
    """The rows of one budgeter, and the check that none is missing.

    Args:
        run: the root scope, whose counters the rows are checked against.
        sinks: called with each row as it is written.
        max_kept_rows: most rows kept in memory, the oldest dropped first; None keeps
            all until they are drained. Sinks, turns and counts miss none either way.
    """

    def __init__(
        self,
        run: Scope,
        *,
        sinks: Iterable[RowSink] = (),
        max_kept_rows: int | None = MAX_KEPT_ROWS,
    ) -> None:
        self._run = run
        self.at_owner = run.at_owner
        self._sinks = tuple(sinks)
        self._watchers: tuple[CallWatcher, ...] = ()
        self._rows: deque[LedgerRow] = deque(maxlen=max_kept_rows)
        self._asked_count = self._written_count = 0
        self._first_failure: Exception | None = None
        self._failure_count = 0

    @property
    def rows(self) -> tuple[LedgerRow, ...]:
        """The rows kept now, in the order in which the calls ended."""
        return tuple(self._rows)

    def next_sequence(self) -> int:
        """Return the number of a call that is being asked, and count it."""
        self._asked_count += 1
        return self._asked_count

    def add_sink(self, sink: RowSink) -> None:
        """Call one more function with each row from now on."""
        self._sinks += (sink,)

    def watch(self, watcher: CallWatcher) -> None:
        """Call a watcher with each call that ends from now on."""
        self._watchers = (*self._watchers, watcher)

    def write(
        self, row: LedgerRow, call: InFlightCall | None = None, answer: ReadReply | None = None
    ) -> None:
        """Keep one row, call the sinks, and the watchers where its call is given."""
        self._written_count += 1
        self._rows.append(row)
        for sink in self._sinks:
            self._give(sink, row)
        if call is not None:
            for watcher in self._watchers:
                self._give(watcher, row, call, answer)

    def amend(self, call: InFlightCall, choice: Choice) -> None:
        """Write into a row what its policy has found once several calls had ended.

        The rows of its turn and those kept here are changed. Sinks and watchers were given the row
        before, without it.
        """
        call.scope.amend(call.sequence, choice)
        amend_choice(self._rows, call.sequence, choice)

    def _give(self, take: Callable[..., None], row: LedgerRow, *more: object) -> None:
        try:
            take(row, *more)
        except Exception as error:
            _LOGGER.exception("a sink lost ledger row %d", row.sequence)
            self._failure_count += 1
            self._first_failure = self._first_failure or error

    @at_owner_loop
    def drain(self) -> list[LedgerRow]:
        """Take the kept rows out, in the order in which the calls ended."""
        rows = list(self._rows)
        self._rows.clear()
        return rows

    def counts(self) -> CounterValues:
        """Return the counts of all rows ever written."""
        return self._run.counts()

    @at_owner_loop
    def check(self) -> None:
        """Check the identity, the rows against the scopes, and that no sink failed.

        Raises:
            LedgerError: when one of them is not so.
        """
        self._run.counters.check("run")
        counts = self._run.counters.counts()
        ended = sum(counts.outcomes.values())
        if (self._asked_count, self._written_count) != (counts.asked, ended):
            raise LedgerError(
                f"{self._asked_count} calls have a number and {self._written_count} a row, but "
                f"the scopes counted {counts.asked} calls, of which {ended} ended"
            )
        if self._first_failure is not None:
            raise LedgerError(
                f"{self._failure_count} rows did not reach a sink: {self._first_failure!r}"
            ) from self._first_failure


class LedgerLayer:
    """Opens each call, and closes it with one outcome and one row, however it ends."""

    def __init__(
        self,
        ledger: Ledger,
        endpoints: Mapping[str, Endpoint],
        *,
        clock: Clock,
        estimate: Callable[[Call], Estimate],
        redactor: Redactor,
        gate: RunGate,
        load_of: Callable[[Endpoint], LoadKnobs],
        next: Callable[[InFlightCall], Awaitable[ReadReply]],  # noqa: A002
    ) -> None:
        self._ledger = ledger
        self._endpoints = endpoints
        self._clock = clock
        self._estimate = estimate
        self._redactor = redactor
        self._gate = gate
        self._load_of = load_of
        self._next = next

    async def __call__(self, carried: InFlightCall) -> ReadReply:
        """Return an answer, whether it fits or not, and move the call's track to its end.

        Raises:
            CallError: what ended the call.
            UnknownRole: when no endpoint serves its role, or has its `model`. That is not counted.
            ConfigError: when the endpoint of its `model` has no prices, and a limit in USD binds
                it. That is not counted either.
            LedgerError: when its scope is closed, likewise.
            RunStopped: when the run accepts no calls, likewise; or when it was cancelled
                because the run has ended.
        """
        gate = self._gate
        if gate.stopped_by is not None:
            turn = carried.scope.lasting
            if turn.kind is ScopeKind.TURN:
                await gate.rest(lambda call: call.scope.lasting is turn)
            gate.check()
        self._open(carried)
        gate.enter(carried)
        try:
            answer = await self._next(carried)
        except BaseException as error:
            is_cancelled_by_gate = gate.leave(carried)
            if isinstance(error, CallError) and error.endpoint is None:
                error.role, error.endpoint = carried.call.role, carried.endpoint
                error.asked_model = carried.call.model
            self._close(carried, None, error)
            if is_cancelled_by_gate and isinstance(error, asyncio.CancelledError):
                raise gate.error() from None
            raise
        gate.leave(carried)
        self._close(carried, answer, None)
        if carried.delivery is not DIRECT:
            reply = replace(answer.reply, delivery=carried.delivery)
            answer = answer._replace(reply=reply)
        return answer

    def statistics(self) -> Mapping[str, int]:
        """Return how many calls were asked, and how many of them have not ended.

        These also by class, as `in_flight_high`, and by endpoint, as `in_flight_at_NAME`.
        """
        counts = self._ledger.counts()
        calls: tuple[InFlightCall, ...] = self._gate.under_way
        return {
            "asked": counts.asked,
            "in_flight": counts.in_flight,
            **Counter(f"in_flight_{priority_of(each.call).name.lower()}" for each in calls),
            **Counter(f"in_flight_at_{each.endpoint.name}" for each in calls),
        }

    def _open(self, carried: InFlightCall) -> None:
        asked, scope = carried.call, carried.scope
        endpoint = endpoint_of(asked, self._endpoints)
        if asked.model:
            scope.scope_limits.require_prices(asked.role, endpoint)
        call = endpoint.completed(asked)
        if (
            call.timeout_seconds is None
            and (timeout := self._load_of(endpoint).timeout) is not None
        ):
            call = replace(call, timeout_seconds=timeout.seconds_of(call, endpoint.name))
        key = call_key(call, endpoint=endpoint.name, model=endpoint.model)
        if call.held_back is not None and not scope.lasting.is_closed:
            self._hold_back(call.held_back, scope)
        scope.begin()
        carried.open(
            call,
            endpoint,
            key,
            sequence=self._ledger.next_sequence(),
            now_seconds=self._clock.now(),
        )

    def _hold_back(self, held: HoldBack, scope: Scope) -> None:
        """Hold capacity back for a later call, as it would be if it were asked next."""
        later = held.call
        turn = scope.lasting
        one = Amounts(calls=1, requests=1)
        if any(quota.limits_spending for quota in turn.scope_limits.quotas(later.role)):
            # The answer to the call that is asked now will be in its prompt: once more output.
            sampling = replace(later.sampling, n=later.sampling.n + 1)
            longer = replace(later, sampling=sampling)
            one = Amounts(1, *self._estimate(longer).reservation()[1:])
        turn.scope_limits.renew(
            later.lease or "", one, held.calls, later.role, seconds=held.seconds
        )

    def _close(
        self, call: InFlightCall, answer: ReadReply | None, error: BaseException | None
    ) -> None:
        """Settle what is open, and write the call's row."""
        call.close(self._clock, error)
        call.track.position = call.end
        problem = error
        notes: tuple[str, ...] = ()
        if error is not None:
            self._redactor.clean_error(error)
        elif answer is not None:
            problem, notes = answer.invalid, answer.notes
        if notes or call.call.note or call.usage_note:
            notes = tuple(filter(None, (call.call.note, *notes, call.usage_note)))
        row = call.row(
            None if problem is None else self._redactor.describe(problem),
            is_simulated=answer is not None and answer.reply.is_simulated,
            is_unreadable=error is None and answer is not None and answer.invalid is not None,
            notes=self._redactor.clean("; ".join(notes)) if notes else "",
        )
        call.scope.end(row)
        self._ledger.write(row, call, answer)
        if answer is not None and answer.reply.tool_calls:
            call.scope.count_tool_calls(len(answer.reply.tool_calls))
        listener = call.call.listener
        if listener is not None:
            usage = NO_USAGE if row.outcome is Outcome.REPLAYED else row.usage
            listener.on_end(
                CallEnd(
                    row.sequence,
                    row.outcome,
                    row.model,
                    ReportedUsage(usage.input_tokens, usage.output_tokens, usage.cached_tokens),
                    call.scope.turn_tool_calls,
                )
            )


def endpoint_of(call: Call, endpoints: Mapping[str, Endpoint]) -> Endpoint:
    """Return the endpoint that a call is for: the one of its `model`, else of its role.

    Raises:
        UnknownRole: when there is none.
    """
    endpoint = endpoints.get(call.model or call.role)
    if endpoint is not None:
        return endpoint
    names = ", ".join(endpoints) or "none"
    if call.model:
        raise UnknownRole(
            f"no endpoint has the name {call.model!r:.80}; there are: {names}. Give the budgeter "
            "one of that name, or leave `Call.model` empty"
        )
    raise UnknownRole(f"no endpoint serves role {str(call.role)!r}; served: {names}")


def as_endpoint(given: object, name: str) -> Endpoint:
    """Return an endpoint, or one around a LangChain chat model."""
    if isinstance(given, Endpoint):
        return given
    from callwise.budget.wrapping import endpoint_around  # noqa: PLC0415 - needs LangChain

    return endpoint_around(given, name)
