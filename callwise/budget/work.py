"""The work that is paid for: what travels down the call path from `retry` on.

Work may outlive the call that began it: when the payer is cancelled, another caller of an equal
call pays from then on. So layers below `share` read who pays from the work at each use.

Invariant: each reservation is settled once, on every path, synchronously.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from callwise.budget.clock import Clock
from callwise.budget.critical_path import CriticalPathPoint
from callwise.budget.limits import NOTHING, Amounts
from callwise.budget.token_estimate import Estimate, Estimator
from callwise.budget.usage import NO_USAGE, Usage, attempt_usage, to_microseconds
from callwise.calls.answer_reader import AnswerReader
from callwise.calls.call import Call, CallEnd, Priority
from callwise.calls.client import Endpoint
from callwise.calls.delivery import DIRECT
from callwise.calls.errors import CallError, CallRefused, EndpointDown, RunStopped
from callwise.calls.kinds import priority_of
from callwise.calls.pieces import Piece, reply_of_pieces
from callwise.calls.reply import Reply, ReportedUsage
from callwise.calls.reported_usage import usage_note

if TYPE_CHECKING:
    from callwise.budget.in_flight import InFlightCall
    from callwise.budget.work_batch import WorkBatch

__all__ = ["Shipment", "Work"]

_ONE_REQUEST = Amounts(requests=1)
_NO_REQUEST = Amounts()
"""The same of an attempt that reserves its request when it is sent. Both are known by identity."""


class Shipment(Protocol):
    """Content of one request to an endpoint: the work of one call, or of several."""

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint that the request goes to."""

    @property
    def works(self) -> Sequence["Work"]:
        """The work that it carries, the first of which pays for the request."""

    @property
    def priority(self) -> Priority:
        """The class of its most urgent call."""

    def estimate(self) -> Estimate:
        """Return the tokens and the price that it takes at most, by estimate."""

    def seconds_left(self) -> float | None:
        """Return the time until the nearest deadline of its calls; None without one."""

    on_rise: Callable[[], None] | None
    """Called when it becomes more urgent or takes in another call, while it waits for its turn."""

    def granted(self, queue_seconds: float) -> None:
        """Note that its turn has come, after so long a wait: no call joins it any more."""


class Work:
    """The work of getting one call answered, which `payer` begins and pays for at first."""

    payer: "InFlightCall"
    """The call that pays now. What is taken so far has been moved to its reservation."""
    sent_call: Call
    """The call that the next attempt sends; `call`, maybe with more tokens to answer with."""
    usage = NO_USAGE
    """Usage so far."""
    usage_note = ""
    """Oddity of the usage that was reported."""
    left_seconds: float | None = None
    """Time left when the attempt began; None without a deadline."""
    is_cut_by_deadline = False
    """Whether the timeout of the attempt was cut to the time left."""
    is_cut_by_payer = False
    """Whether another attempt was due, and its payer had no time or no quota for it."""
    sent_count = 0
    """Requests that left in this attempt."""
    defers_request = False
    """Whether its first attempt may travel with others, so that its request is reserved only when
    it is sent, by the one that pays for all of them."""
    free_count = 0
    """Those of them that buy nothing, such as a question whether a batch has ended. They are
    counted, and not charged to `max_requests`."""
    free_requests = 0
    """The same of all attempts."""
    was_carried = False
    """Whether this attempt travels in the request of another call."""
    carrier: "WorkBatch | None" = None
    """The request with several calls that this attempt has left in."""
    delivery = DIRECT
    """Way on which it was answered, so far."""
    queue_seconds = 0.0
    """Time that this attempt has waited for its turn."""
    outage_seconds = 0.0
    """Time that it has waited while all its endpoints were down, in all attempts."""
    endpoint: Endpoint
    """The endpoint that serves this attempt: `asked`, or one of its alternatives."""
    tried: frozenset[tuple[str, str]] = frozenset()
    """Name and model of the endpoints that have failed it."""
    stays = False
    """Whether its last attempt failed by its content, which another endpoint would not mend."""
    on_rise: Callable[[], None] | None = None
    """Called when it becomes more urgent, while it waits for its turn."""
    on_turn: Callable[[], None] | None = None
    """Called when its wait for its turn has ended."""
    on_begin: Callable[[], None] | None = None
    """Called when the first piece of a streamed answer has come."""
    batch_part: tuple[str, int] | None = None
    """Name of the part of a failed batch that the next attempt travels with, and the number of
    its texts; None for any batch."""

    _extra_requests = 0
    _estimated: Estimate | None = None
    _reserved: Amounts | None = None
    _is_attempting = False
    _given_count = 0

    def __init__(self, payer: "InFlightCall", estimator: Estimator, clock: Clock) -> None:
        self.payer = payer
        self.call = self.sent_call = payer.call
        self.endpoint = self.asked = payer.endpoint
        self.priority = priority_of(payer.call)
        self._clock = clock
        self.key = payer.key
        self._estimator = estimator
        self._received: list[Piece] = []
        self._texts: list[str] = []
        self._estimates: dict[tuple[str, str], Estimate] = {}

    def reserve(self) -> CallRefused | None:
        """Reserve one attempt, or return why there is no quota or time for it."""
        limits, reservation = self.payer.scope.scope_limits, self.payer.reservation
        refusal = limits.refusal_by_time(self._now(), by_path=False) if limits.is_timed else None
        if refusal is None:
            refusal = self.payer.refusal_by_deadline(self._clock, self.usage.path_seconds)
        if refusal is not None:
            return refusal
        is_estimated = reservation.limits_spending
        amounts = self.most_reserved() if is_estimated else _ONE_REQUEST
        if self.defers_request and not self.usage.attempts:
            amounts = amounts._replace(requests=0) if is_estimated else _NO_REQUEST
        refusal = reservation.take(amounts)
        if refusal is None:
            self._reserved = amounts
        elif refusal.limit.startswith(("max_tokens", "max_usd")):
            self._explain(refusal)
        return refusal

    def _explain(self, refusal: CallRefused) -> None:
        """Add to a refusal by an estimate which answer the attempt would reserve for."""
        if longest := self.estimate().output_tokens:
            reason = (
                f"it reserves for an answer of up to {longest:,} tokens; set a lower `max_tokens`"
            )
            refusal.args = (f"{refusal}: {reason} of the call to reserve less",)

    def reserve_requests(self, count: int) -> CallRefused | None:
        """Reserve further requests for the attempt under way, or return why there is no quota."""
        refusal = self.payer.reservation.take(Amounts(requests=count))
        if refusal is None:
            self._extra_requests += count
        return refusal

    def reserve_next_request(self) -> CallRefused | None:
        """Reserve a request where all that the attempt has reserved have left, if there is quota.

        Return why there is none; None where a request may be sent.
        """
        reserved = self._extra_requests
        if self._reserved is not None:
            reserved += self._reserved.requests
        return None if reserved > self.sent_count - self.free_count else self.reserve_requests(1)

    def estimate_reservation(self) -> None:
        """Reserve tokens and USD for the attempt under way, where only a request is.

        For a payer whose limits need them, taking over from one whose did not.
        """
        reserved = self._reserved
        if reserved is _ONE_REQUEST or reserved is _NO_REQUEST:
            estimated = self.most_reserved()._replace(requests=reserved.requests)
            self.payer.reservation.settle(reserved, estimated)
            self._reserved = estimated

    def serve_by(self, endpoint: Endpoint) -> None:
        """Set the endpoint that serves this attempt, and note it where it is not the asked one."""
        if endpoint is self.endpoint:
            return
        self.endpoint, self._estimated = endpoint, None
        is_asked = endpoint is self.asked
        self.delivery = self.delivery._replace(
            endpoint="" if is_asked else endpoint.name, model="" if is_asked else endpoint.model
        )

    @property
    def outgoing_call(self) -> Call:
        """The call that this attempt sends, as the endpoint that serves it completes it."""
        if self.endpoint is self.asked:
            return self.sent_call
        return self.endpoint.taking_over(self.sent_call, self.asked)

    @property
    def works(self) -> "tuple[Work, ...]":
        """Itself: as a shipment it carries one call."""
        return (self,)

    def join(self, call: Call) -> None:
        """Be as urgent as the most urgent of the calls that wait for it, of which this is one."""
        priority = priority_of(call)
        if priority < self.priority:
            self.priority = priority
            if self.on_rise is not None:
                self.on_rise()

    def granted(self, queue_seconds: float) -> None:
        """Count the wait for its turn, which has ended."""
        self.queue_seconds += queue_seconds
        if self.on_turn is not None:
            self.on_turn()

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for its turn, or for others to travel with."""
        return self.on_rise is not None

    def seconds_left(self) -> float | None:
        """Return the time until the nearest deadline of the payer; None without one."""
        return self.payer.seconds_left(self._clock, self.usage.path_seconds)

    def begin_attempt(self) -> None:
        """Begin an attempt, which `reserve` has found quota for."""
        self.left_seconds = self.seconds_left()
        self.sent_count = self.free_count = 0
        self.was_carried = False
        self.carrier = None
        self.queue_seconds = 0.0
        self._received.clear()
        self._texts.clear()
        self._is_attempting = True

    def count_sent(self, index: int) -> None:
        """Count a request that has left the machine."""
        del index
        self.sent_count += 1

    def travels_with(self, batch: str, size: int, *, discount: float = 0.0) -> None:
        """Note the batch of a provider's batch interface that carries it, by its id or name."""
        self.delivery = self.delivery._replace(batch=batch, batch_size=size, discount=discount)

    def settle(self, result: Reply | CallError | None, latency_seconds: float) -> None:
        """Charge what the attempt really used. Does nothing when that was done.

        Args:
            result: how it ended; None when it was broken off.
            latency_seconds: how long it took, its time in queues included.
        """
        reserved, self._reserved = self._reserved, None
        self._is_attempting = False
        if reserved is None:
            return
        if isinstance(result, EndpointDown | RunStopped | CallRefused):  # nothing was tried
            given_back = reserved + Amounts(requests=self._extra_requests)
            self.payer.reservation.settle(given_back, NOTHING)
            self._extra_requests = 0
            return
        requests = self.sent_count
        is_sent = result is not None and getattr(result, "was_sent", True)
        if requests == 0 and is_sent and not self.was_carried:
            requests = 1
        prices, reservation = self.endpoint.prices, self.payer.reservation
        spent = attempt_usage(
            result,
            requests,
            max(latency_seconds - self.queue_seconds, 0.0),
            prices=prices,
            estimate=self.estimate,
            received=self._estimate_received if self._received else None,
            was_carried=self.was_carried and (is_sent or result is None),
            discount=self.delivery.discount,
        )
        if self.queue_seconds:
            spent = spent._replace(queue_microseconds=to_microseconds(self.queue_seconds))
        if self.carrier is not None and not isinstance(result, Reply):
            spent = self.carrier.with_unknown_once(spent)
        if isinstance(result, Reply):
            self.usage_note = usage_note(self.sent_call, result) or self.usage_note
            if self._estimated is not None and not self.delivery.is_apportioned:
                self._estimator.observe(
                    self.sent_call, self._estimated, self.endpoint, result.usage
                )
        self.free_requests += self.free_count
        charged = Amounts(
            0, requests - self.free_count, spent.charged_tokens, spent.charged_picodollars
        )
        reservation.settle(reserved, charged)
        if self._extra_requests:
            reservation.charge(Amounts(requests=-self._extra_requests))
            self._extra_requests = 0
        if reserved is not _ONE_REQUEST and reserved is not _NO_REQUEST:
            spent = self._with_excess(spent, charged, reserved)
        self.usage = spent if self.usage is NO_USAGE else self.usage + spent

    def _with_excess(self, spent: Usage, charged: Amounts, reserved: Amounts) -> Usage:
        """Charge what passed the reservation, and return the usage with it."""
        tokens = max(charged.tokens - reserved.tokens, 0)
        picodollars = 0
        if self.endpoint.prices is not None:
            picodollars = max(charged.picodollars - reserved.picodollars, 0)
        if not (tokens or picodollars):
            return spent
        self.payer.reservation.pass_reservation(Amounts(0, 0, tokens, picodollars))
        return spent._replace(over_tokens=tokens, over_picodollars=picodollars)

    def close(self) -> None:
        """Settle what is still reserved. Does nothing after a whole run."""
        if self._reserved is not None:
            if self._is_attempting:
                self.settle(None, 0.0)
            else:
                self.payer.reservation.settle(self._reserved, Amounts())
                self._reserved = None

    def add_retry_seconds(self, seconds: float) -> None:
        """Count a wait between two attempts."""
        self.usage += Usage(retry_microseconds=to_microseconds(seconds))

    def ask_for_more(self, max_growth: int) -> None:
        """Double the tokens that the next attempt may answer with, up to a multiple."""
        most = self.call.sampling.max_tokens
        sampling = self.sent_call.sampling
        if most is None or sampling.max_tokens is None:
            return
        more = min(sampling.max_tokens * 2, most * max_growth)
        self.sent_call = replace(self.sent_call, sampling=replace(sampling, max_tokens=more))
        self._estimated = None
        self._estimates.clear()

    # As the listener of a streamed answer.

    def on_piece(self, piece: Piece) -> None:
        """Give a piece of the answer to the call's listener, and keep it.

        A blank beginning is kept back: it may be all that comes, and be asked for again. A
        call with a response model gives out nothing, since its answer counts only when it fits,
        but to an `AnswerReader`.
        """
        if not (piece.text or piece.tool_calls or piece.thought):
            return
        if not self._received and self.on_begin is not None:
            self.on_begin()
        self._received.append(piece)
        listener = self.call.listener
        if listener is None:
            return
        if self.call.response_model is not None:
            if isinstance(listener, AnswerReader):
                self._texts.append(piece.text)
                if listener.read("".join(self._texts)):
                    self._given_count = len(self._received)
            return
        if self._given_count or not piece.is_blank:
            for kept in self._received[self._given_count :]:
                if kept.is_answer:
                    listener.on_piece(kept)
            self._given_count = len(self._received)

    def on_end(self, end: CallEnd) -> None:
        """Do nothing: the call has a row, its work has none."""

    @property
    def was_given_out(self) -> bool:
        """Whether the listener was given a part of the answer."""
        return self._given_count > 0

    def given_out(self) -> Reply | None:
        """Return what the listener was given of the answer, or None for nothing."""
        if not self._given_count:
            return None
        return reply_of_pieces(self._received[: self._given_count])

    def estimate(self) -> Estimate:
        """Return the tokens and the price that an attempt takes at most, by estimate."""
        if self._estimated is None:
            self._estimated = self._estimate_at(self.endpoint)
        return self._estimated

    def most_reserved(self) -> Amounts:
        """Return what an attempt reserves: at whichever endpoint may serve it, the most."""
        alternatives, most = self.asked.alternatives, self.estimate()
        if not alternatives:
            return most.reservation()
        tokens, picodollars = most.tokens, most.picodollars
        for endpoint in alternatives if self.endpoint is self.asked else self.asked.candidates:
            other_tokens, other_picodollars, _, _ = self._estimate_at(endpoint)
            tokens = max(tokens, other_tokens)
            picodollars = max(picodollars, other_picodollars)
        return Amounts(0, 1, tokens, picodollars)

    def _estimate_at(self, endpoint: Endpoint) -> Estimate:
        """Return the estimate for an endpoint, which is made once."""
        key = endpoint.identity
        estimated = self._estimates.get(key)
        if estimated is None:
            estimated = self._estimator.estimate(self.sent_call, endpoint)
            self._estimates[key] = estimated
        return estimated

    def _estimate_received(self) -> tuple[ReportedUsage, Estimate]:
        reply = reply_of_pieces(self._received)
        return self._estimator.received(self.sent_call, self.endpoint, reply)

    def _now(self) -> CriticalPathPoint:
        position = self.payer.position
        return CriticalPathPoint(position.round, position.seconds + self.usage.path_seconds)
