"""Traces of a budgeter's turns: notes each call as it ends, and hands each turn over at its end.

In the call path a call costs one note. Spans are made of the notes in the exporter's thread.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from typing import Self

from callwise.budget.budgeter import Budgeter
from callwise.budget.in_flight import InFlightCall, ReadReply
from callwise.budget.ledger_row import LedgerRow
from callwise.budget.scope import Scope, ScopeKind
from callwise.report.traces.call_texts import CallTexts
from callwise.report.traces.otlp import OtlpSender, SpanExporter, resource_of, traces_url
from callwise.report.traces.turn_trace import CallNote, TurnNote, trace_id_of

__all__ = ["Traces", "TurnTraces"]

CLOSING_SECONDS = 5.0
"""Longest wait for what is not sent yet, at the end."""


class _OpenTurn:
    """The notes of a turn that has not ended.

    Args:
        epoch: seconds to add to the clock's for seconds since 1970.
    """

    __slots__ = ("calls", "epoch")

    def __init__(self, epoch: float) -> None:
        self.calls: list[CallNote] = []
        self.epoch = epoch


class TurnTraces:
    """Notes the calls of turns, and gives each turn to `put` once its scope is closed.

    A call outside of turns, and one that ends after its turn, is given to it by itself.

    Args:
        put: takes a turn; must not block. `SpanExporter.put` sends it.
        run: name of the run, part of every id: two runs with the same name and the same
            conversations have the same ids.
        has_texts: whether prompts and answers are noted too.
        wall: returns seconds since 1970.
        is_simulated_time: whether the budgeters' clock is of a loop in virtual time.
    """

    def __init__(
        self,
        put: Callable[[TurnNote], None],
        *,
        run: str = "",
        has_texts: bool = False,
        wall: Callable[[], float] = time.time,
        is_simulated_time: bool = False,
    ) -> None:
        self._is_simulated_time = is_simulated_time
        self._put = put
        self._run = run
        self._has_texts = has_texts
        self._wall = wall
        self._open: dict[Scope, _OpenTurn] = {}
        self._alone = 0

    def watch(self, budgeter: Budgeter) -> None:
        """Note the calls of a budgeter from now on."""
        budgeter.ledger.watch(self.note)

    def note(self, row: LedgerRow, call: InFlightCall, answer: ReadReply | None) -> None:
        """Note one ended call."""
        scope, asked = call.scope.lasting, call.call
        now = scope.clock.now()
        reply = None if answer is None else answer.reply
        noted = CallNote(
            row,
            call.started_at_seconds,
            now,
            call.position.seconds - scope.critical_path.start.seconds,
            asked.sampling,
            asked.response_model is not None,
            "" if reply is None else reply.finish_reason or "",
            CallTexts(asked.messages, None if reply is None else reply.text)
            if self._has_texts
            else None,
        )
        turn = self._open.get(scope)
        if turn is None:
            turn = _OpenTurn(self._wall() - now)
            if scope.kind is not ScopeKind.TURN or scope.is_closed:
                turn.calls.append(noted)
                self._hand_over(scope, turn)
                return
            self._open[scope] = turn
            scope.on_close += (self.end,)
        turn.calls.append(noted)

    def end(self, scope: Scope) -> None:
        """Hand over a turn whose scope was closed."""
        turn = self._open.pop(scope, None)
        if turn is not None:
            self._hand_over(scope, turn)

    def end_all(self) -> None:
        """Hand over the turns whose scopes were not closed."""
        for scope in tuple(self._open):
            self.end(scope)

    def _hand_over(self, scope: Scope, turn: _OpenTurn) -> None:
        is_turn = scope.kind is ScopeKind.TURN
        names = [self._run, scope.tenant, scope.conversation, scope.turn]
        if not is_turn:
            self._alone += 1
            names += [scope.path, str(self._alone)]
        self._put(
            TurnNote(
                trace_id_of(*names),
                scope.path,
                scope.conversation,
                scope.turn if is_turn else None,
                scope.tenant or "",
                turn.calls,
                turn.epoch,
                scope.clock.now(),
                scope.path_seconds,
                scope.clock.is_virtual,
                self._is_simulated_time,
            )
        )


class Traces:
    """Sends the calls of budgeters to a collector, one trace per turn, by OTLP over HTTP.

    A context manager, `with` or `async with`, that is closed at the end.

    Args:
        otlp_endpoint: the collector's address, such as `http://localhost:4318`; None takes that
            of `OTEL_EXPORTER_OTLP_ENDPOINT`, and else port 4318 of this machine.
        run: name of the run; see `TurnTraces`.
        content: whether prompts and answers are sent too.
        notify: called, in a separate thread, with what a person should know.
        environ: environment variables; None takes the process's.
        is_simulated_time: see `TurnTraces`.

    Raises:
        ConfigError: when the address or a variable cannot be used, or the extra is not installed.
    """

    def __init__(
        self,
        otlp_endpoint: str | None = None,
        *,
        run: str = "",
        content: bool = False,
        notify: Callable[[str], None] | None = None,
        environ: Mapping[str, str] | None = None,
        is_simulated_time: bool = False,
    ) -> None:
        variables = os.environ if environ is None else environ
        sender = OtlpSender(traces_url(otlp_endpoint, variables), variables)
        self.exporter = SpanExporter(
            sender.send, shown=sender.shown, resource=resource_of(variables), notify=notify
        )
        self.turns = TurnTraces(
            self.exporter.put, run=run, has_texts=content, is_simulated_time=is_simulated_time
        )

    def watch(self, budgeter: Budgeter) -> None:
        """Send the calls of a budgeter that end from now on."""
        self.turns.watch(budgeter)

    def close(self, seconds: float = CLOSING_SECONDS) -> None:
        """Send what is left, within so many seconds; the rest is dropped."""
        self.turns.end_all()
        self.exporter.close(seconds)

    async def aclose(self, seconds: float = CLOSING_SECONDS) -> None:
        """Do what `close` does, in a thread."""
        self.turns.end_all()
        await asyncio.to_thread(self.exporter.close, seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
