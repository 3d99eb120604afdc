"""The life of one asked call, from its identity to its ledger row."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from turnwise.budget.answer import Answer, read_reply
from turnwise.budget.cache import ReplyCache
from turnwise.budget.clock import Clock
from turnwise.budget.flight import Flight, Flights
from turnwise.budget.ledger import Ledger
from turnwise.budget.open_call import OpenCall
from turnwise.budget.path import Position, Track
from turnwise.budget.replaying import Replayer
from turnwise.budget.room import Amounts
from turnwise.budget.scope import Scope
from turnwise.budget.scrub import Scrubber
from turnwise.budget.sending import Sending, SendingRules
from turnwise.budget.usage import NO_USAGE
from turnwise.calls.call import Call, HoldBack
from turnwise.calls.client import Endpoint
from turnwise.calls.errors import CallError, CallRefused, CallTimeout, CassetteMiss, UnknownRole
from turnwise.calls.key import call_key
from turnwise.calls.listener import CallEnd
from turnwise.calls.reply import Usage
from turnwise.calls.vocabulary import Outcome, Role

__all__ = ["Serving"]


class Serving:
    """Answers calls one by one, each with one outcome and one ledger row.

    Args:
        endpoints: who serves each role.
        rules: how calls are sent.
        ledger: where rows go.
        cache: keeps answers for equal calls; None keeps none.
        replayer: a recording, or None.
        scrubber: takes secrets out of errors.
    """

    def __init__(
        self,
        endpoints: Mapping[Role, Endpoint],
        *,
        rules: SendingRules,
        ledger: Ledger,
        cache: ReplyCache | None,
        replayer: Replayer | None,
        scrubber: Scrubber,
    ) -> None:
        self._endpoints = endpoints
        self._rules = rules
        self._clock: Clock = rules.clock
        self._ledger = ledger
        self._cache = cache
        self._replayer = replayer
        self._scrubber = scrubber
        self._flights: Flights[OpenCall, Answer] = Flights(OpenCall.take_over)

    @property
    def in_flight(self) -> int:
        """Pieces of work under way; equal calls share one."""
        return len(self._flights)

    async def serve(self, asked: Call, scope: Scope, track: Track) -> Answer:
        """Return a call's answer, and move its track to where it ended.

        Raises:
            CallError: whatever ended the call instead.
            UnknownRole: when no endpoint serves its role. That is not counted.
        """
        call = self._open(asked, scope, track.position)
        answer: Answer | None = None
        error: BaseException | None = None
        try:
            answer = await self._answer(call)
        except BaseException as problem:
            error = problem
            if isinstance(problem, CallError) and problem.endpoint is None:
                problem.role, problem.endpoint = asked.role, call.endpoint
            if call.outcome is None:
                is_gone = isinstance(problem, asyncio.CancelledError | GeneratorExit)
                call.finish(Outcome.CANCELLED if is_gone else Outcome.FAILED)
            raise
        finally:
            self._close(call, answer, error)
            track.position = call.end
        return answer

    def endpoint(self, role: Role) -> Endpoint:
        """Return who serves a role.

        Raises:
            UnknownRole: when nobody does.
        """
        endpoint = self._endpoints.get(role)
        if endpoint is None:
            served = ", ".join(self._endpoints) or "none"
            raise UnknownRole(f"no endpoint serves role {role!r}; served: {served}")
        return endpoint

    def _open(self, asked: Call, scope: Scope, position: Position) -> OpenCall:
        endpoint = self.endpoint(asked.role)
        asked = endpoint.completed(asked)
        key = call_key(asked, endpoint=endpoint.name, model=endpoint.model)
        if asked.held_back is not None and not scope.lasting.is_closed:
            self._hold_back(asked.held_back, scope)
        scope.begin()
        return OpenCall(
            asked,
            scope,
            endpoint,
            key,
            sequence=self._ledger.next_sequence(),
            position=position,
            started_at_seconds=self._clock.now(),
        )

    def _hold_back(self, held: HoldBack, scope: Scope) -> None:
        """Hold capacity back for a later call, as it would be if it were asked next."""
        later = held.call
        endpoint = self.endpoint(later.role)
        later = endpoint.completed(later)
        turn = scope.lasting
        one = Amounts(calls=1, requests=1)
        if any(room.limits_spending for room in turn.bounds.rooms(later.role)):
            # The answer to the call that is asked now will be in its prompt: once more output.
            sampling = replace(later.sampling, n=later.sampling.n + 1)
            longer = replace(later, sampling=sampling)
            one = Amounts(1, *self._rules.estimator.estimate(longer, endpoint).reservation()[1:])
        turn.bounds.hold_anew(later.lease or "", one, held.calls, later.role, seconds=held.seconds)

    async def _answer(self, call: OpenCall) -> Answer:
        if self._replayer is None:
            call.admit()
        else:
            replayed = await self._replayer.answer(call)
            if replayed is not None:
                return replayed
        is_shared = call.call.is_shared
        flight = self._flights.get(call.key) if is_shared else None
        if flight is None and is_shared and self._cache is not None:
            reply = self._cache.peek(call.key) or await self._cache.get(call.key)
            # Equal calls may have been sent, and answered, while the disk was read.
            flight = self._flights.get(call.key)
            if reply is None and flight is None:
                reply = self._cache.peek(call.key)
            if reply is not None:
                call.finish(Outcome.CACHED)
                return read_reply(call.call, reply)
        if flight is None:
            flight = self._start(call)
        answer = await self._wait(call, flight)
        if call.sending is not None:
            call.finish(Outcome.SERVED)
            return answer
        call.finish(Outcome.COALESCED)
        if flight.payer.sending is not None:
            call.path_seconds = flight.payer.sending.usage.path_seconds
        # Read anew: two askers must not hold one and the same parsed object.
        return read_reply(call.call, replace(answer.reply, parsed=None))

    def _start(self, call: OpenCall) -> Flight[OpenCall, Answer]:
        sending = Sending(
            call.call,
            call.endpoint,
            call.key,
            rules=self._rules,
            bounds=call.scope.bounds,
            account=call.account,
            position=call.position,
        )
        refusal = sending.reserve()
        if refusal is not None:
            call.refuse(refusal)
        call.sending = sending
        return self._flights.start(call.key if call.call.is_shared else None, call, sending.run())

    async def _wait(self, call: OpenCall, flight: Flight[OpenCall, Answer]) -> Answer:
        # Whoever pays is cut by its sending; who joined in has a deadline of its own.
        left_seconds = None
        if call.sending is None and not self._clock.is_virtual:
            left_seconds = call.scope.bounds.seconds_left(call.position)
        try:
            if left_seconds is None:
                return await flight.wait(call)
            async with asyncio.timeout(left_seconds):
                return await flight.wait(call)
        except CallRefused as refusal:
            if refusal is call.refusal:
                call.refuse(refusal)
            raise
        except TimeoutError as error:
            if left_seconds is None:
                raise
            raise CallTimeout("no answer before the deadline", was_sent=False) from error

    def _close(self, call: OpenCall, answer: Answer | None, error: BaseException | None) -> None:
        """Settle what is open, and write its row."""
        if call.sending is not None:
            call.sending.close()
            call.usage, call.usage_note = call.sending.usage, call.sending.usage_note
            call.path_seconds = call.usage.path_seconds
        call.account.close()
        if not (call.was_found or self._clock.is_virtual):
            call.path_seconds = self._clock.now() - call.started_at_seconds
        problem = error
        notes = [call.usage_note] if call.usage_note else []
        if error is not None:
            self._scrubber.clean_error(error)
        elif answer is not None:
            problem = answer.invalid
            notes = [*answer.notes, *notes]
        if call.call.note:
            notes.insert(0, call.call.note)
        row = call.row(
            None if problem is None else self._scrubber.describe(problem),
            is_simulated=answer is not None and answer.reply.is_simulated,
            is_unreadable=error is None and answer is not None and answer.invalid is not None,
            notes=self._scrubber.clean("; ".join(notes)) if notes else "",
        )
        call.scope.end(row)
        self._ledger.write(row)
        self._record(call, answer, error)
        if answer is not None and answer.reply.tool_calls:
            call.scope.count_tool_calls(len(answer.reply.tool_calls))
        if call.call.listener is not None:
            usage = NO_USAGE if row.outcome is Outcome.REPLAYED else row.usage
            call.call.listener.on_end(
                CallEnd(
                    row.sequence,
                    row.outcome,
                    row.model,
                    Usage(usage.input_tokens, usage.output_tokens, usage.cached_tokens),
                    call.scope.turn_tool_calls,
                )
            )

    def _record(self, call: OpenCall, answer: Answer | None, error: BaseException | None) -> None:
        if self._replayer is None:
            return
        given_out = None if call.sending is None else call.sending.given_out()
        if call.was_found or isinstance(error, CassetteMiss):
            return
        if isinstance(error, CallError):
            self._replayer.record(call, given_out, error)
        elif answer is not None:
            self._replayer.record(call, replace(answer.reply, parsed=None), None)
        elif call.outcome is Outcome.CANCELLED:
            self._replayer.record(call, given_out, None)
