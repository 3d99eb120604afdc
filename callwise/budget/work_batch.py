"""Several works that go to one endpoint as one request: a shipment of the call path.

A batch may be joined and left until it is sealed: when a queue grants it a place, or else when it
is sent. From then on its order is fixed, by key, so that the order in which its calls happened to
be asked does not matter. Its request is counted on the row of the first member that is there when
it leaves and has quota for it; the others are carried by it.

Invariant: the usages of the members of a batch that was sent add up to what the endpoint
reported. Of a member that left between sealing and sending, whose row is closed, the part is
added to the payer's.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, cast

from callwise.budget.clock import Clock
from callwise.budget.token_estimate import Estimate
from callwise.budget.token_tables import InputTokens
from callwise.budget.usage import Usage
from callwise.budget.work import Work
from callwise.calls.call import Call, Priority
from callwise.calls.client import ConversationClient, Endpoint
from callwise.calls.errors import CallError, CallRefused
from callwise.calls.reply import Reply
from callwise.calls.reported_usage import checked_usage
from callwise.calls.together import apportioned_usage, failures_of, input_weight, usage_sum

__all__ = ["BatchMember", "BatchRule", "WorkBatch"]


class BatchRule(NamedTuple):
    """Limits of one batch.

    Args:
        size: most texts or conversations.
        text_bytes: most bytes of text; None for no limit.
        window_seconds: time that it waits for another member after the last one.
        max_wait_seconds: longest time that it waits for members.
        idle_window_seconds: the window while no other call is under way.
        timeout_seconds: longest time for its request where its calls name none; None leaves
            the client's own.
    """

    size: int
    text_bytes: int | None
    window_seconds: float
    max_wait_seconds: float
    idle_window_seconds: float
    timeout_seconds: float | None = None


class BatchMember:
    """The work of one call in a batch, or a piece of it.

    Args:
        call: the call, or the piece of it, that is sent.
        entered_seconds: when it began to wait, by the clock.
    """

    __slots__ = (
        "call",
        "entered_seconds",
        "future",
        "items",
        "refusal",
        "text_bytes",
        "was_sent",
        "work",
    )

    def __init__(self, work: Work, call: Call, entered_seconds: float) -> None:
        self.work = work
        self.call = call
        self.items = len(call.inputs) or 1
        self.text_bytes = input_weight(call)
        self.entered_seconds = entered_seconds
        self.future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.was_sent = False
        self.refusal: CallRefused | None = None

    @property
    def order(self) -> tuple[str, int, tuple[str, ...]]:
        """Its place among the members of a batch."""
        return self.work.key, self.work.payer.sequence, self.call.inputs


class WorkBatch:
    """Works that travel in one request.

    Args:
        path: the endpoint's route for lists of conversations; None for texts to embed.
    """

    id = ""
    """Digest of the keys of its members, once it is sealed."""
    was_sent = False
    """Whether its request has left."""
    on_sealed: Callable[[], None] | None = None
    """Called once, when no further work may join."""
    on_rise: Callable[[], None] | None = None
    """Called when it takes in another work, or one of them becomes more urgent, while it waits
    for its turn."""

    def __init__(
        self, endpoint: Endpoint, rule: BatchRule, clock: Clock, *, path: str | None
    ) -> None:
        self.endpoint = endpoint
        self.rule = rule
        self.path = path
        self.members: list[BatchMember] = []
        self._clock = clock
        self._items = self._text_bytes = 0
        self._sealed: tuple[BatchMember, ...] | None = None
        self._payer: BatchMember | None = None
        self._unknown_usage = self._unknown_usd = 0

    @property
    def works(self) -> Sequence[Work]:
        """The work that it carries; of a call in pieces, the same in several batches."""
        return [member.work for member in self.members]

    @property
    def priority(self) -> Priority:
        """The class of its most urgent call."""
        return min(member.work.priority for member in self.members)

    @property
    def is_full(self) -> bool:
        """Whether nothing more fits."""
        return self._items >= self.rule.size

    @property
    def is_sealed(self) -> bool:
        """Whether its members and their order are fixed."""
        return self._sealed is not None

    def has_room_for(self, member: BatchMember) -> bool:
        """Return whether another one fits."""
        rule = self.rule
        if self.is_sealed or self._items + member.items > rule.size:
            return False
        return rule.text_bytes is None or self._text_bytes + member.text_bytes <= rule.text_bytes

    def add(self, member: BatchMember) -> None:
        """Take another one along."""
        self.members.append(member)
        self._items += member.items
        self._text_bytes += member.text_bytes
        member.work.on_rise = self._rise
        self._rise()

    def remove(self, member: BatchMember) -> CallRefused | None:
        """Leave one out that is not the last; give its answer up where it was sent.

        Return why none of the others can pay for a request in its place; None where that goes on.
        """
        self.members.remove(member)
        member.work.on_rise = None
        self._items -= member.items
        self._text_bytes -= member.text_bytes
        return self._pay() if member is self._payer and not self.was_sent else None

    def estimate(self) -> Estimate:
        """Return the tokens and the price that it takes at most, by estimate."""
        parts = [_estimate(member) for member in self.members]
        inputs = [part.input_tokens for part in parts]
        return Estimate(
            sum(part.tokens for part in parts),
            sum(part.picodollars for part in parts),
            InputTokens(sum(each.total for each in inputs), sum(each.other for each in inputs)),
        )

    def seconds_left(self) -> float | None:
        """Return the time until the nearest deadline of its calls; None without one."""
        given = (member.work.seconds_left() for member in self.members)
        return min((left for left in given if left is not None), default=None)

    def seal(self) -> tuple[BatchMember, ...]:
        """Fix the members and their order, once, and return them."""
        if self._sealed is None:
            self.members.sort(key=lambda member: member.order)
            self._sealed = tuple(self.members)
            keys = "\n".join(member.work.key for member in self._sealed)
            self.id = hashlib.sha256(keys.encode()).hexdigest()[:12]
            now_seconds = self._clock.now()
            for member in self._sealed:
                member.work.on_rise = None
                member.work.granted(now_seconds - member.entered_seconds)
            if self.on_sealed is not None:
                self.on_sealed()
        return self._sealed

    def granted(self, queue_seconds: float) -> None:
        """Note that its turn has come: no call joins it any more."""
        del queue_seconds  # each member has waited for another time
        self.seal()

    async def ask(self) -> Sequence[Reply | CallError]:
        """Send it, and return what its client answers, for `read`.

        Raises:
            CallRefused: when none of its members has quota for the request; each has its own.
            CallError: what the client raised.
        """
        endpoint, calls = self.endpoint, [member.call for member in self.seal()]
        refusal = self._pay()
        if refusal is not None:
            raise refusal
        if self.path is None or len(calls) == 1:
            call, count_sent = _joint_call(calls), self._count_sent
            if len(calls) > 1:
                call = _timed(call, self.rule.timeout_seconds)
            return await endpoint.client.answer(
                (call,), model=endpoint.model, on_sent=lambda _: count_sent()
            )
        untimed = [call.timeout_seconds is None for call in calls]
        if True in untimed:  # the longest time is that of the request
            index = untimed.index(True)
            calls[index] = _timed(calls[index], self.rule.timeout_seconds)
        return await cast("ConversationClient", endpoint.client).answer_conversations(
            calls, model=endpoint.model, path=self.path, on_sent=self._count_sent
        )

    def read(self, results: Sequence[Reply | CallError]) -> Sequence[Reply | CallError]:
        """Return the reply or error of each sealed member, from those of the client.

        Raises:
            TypeError: when the client answers anything else than one reply or error for a call.
        """
        members = self.seal()
        expected = 1 if self._is_one_call else len(members)
        if len(results) != expected or not all(isinstance(each, _ENDS) for each in results):
            raise TypeError(
                f"the client of endpoint {self.endpoint.name!r} must answer {expected} calls with "
                "one Reply or CallError each, got "
                f"{len(results)}: {[type(each).__name__ for each in results]}"
            )
        results = [_checked(result) for result in results]
        if self._is_one_call:
            results = _separated(results[0], members)
        if any(getattr(result, "was_sent", True) for result in results):
            self._count_sent()  # where the client has not done it
        return _with_usage_of_the_gone(results, members) if self.was_sent else results

    def with_unknown_once(self, usage: Usage) -> Usage:
        """Return the usage of a member without an answer, for its row.

        What the request has used is unknown of one request, however many of its calls have no
        answer: the first of them to end counts it. Each is charged its own estimate.
        """
        counted = usage._replace(
            unknown_usage=max(usage.unknown_usage - self._unknown_usage, 0),
            unknown_usd=max(usage.unknown_usd - self._unknown_usd, 0),
        )
        self._unknown_usage = max(self._unknown_usage, usage.unknown_usage)
        self._unknown_usd = max(self._unknown_usd, usage.unknown_usd)
        return counted

    @property
    def _is_one_call(self) -> bool:
        """Whether the client is asked one call: a list of texts, or a lone conversation."""
        return self.path is None or len(self.seal()) == 1

    def _pay(self) -> CallRefused | None:
        """Let the first member that has quota pay for the request; return why none has."""
        for member in self.members:
            member.refusal = member.work.reserve_next_request()
            if member.refusal is None:
                self._payer = member
                return None
        return self.members[0].refusal

    def _rise(self) -> None:
        if self.on_rise is not None:
            self.on_rise()

    def _count_sent(self) -> None:
        """Count the request for those that are still there, once."""
        if self.was_sent:
            return
        self.was_sent = True
        payer = self._payer if self._payer in self.members else self.members[0]
        for member in self.members:
            member.was_sent = True
            member.work.carrier = self if len(self.members) > 1 else None
            if member is payer:
                member.work.sent_count += 1
            else:
                member.work.was_carried = True


_ENDS = (Reply, CallError)


def _checked(result: Reply | CallError) -> Reply | CallError:
    """Return a result with every figure of its usage possible."""
    if result.usage is None:
        return result
    usage = checked_usage(result.usage)
    if usage is result.usage:
        return result
    if isinstance(result, Reply):
        return replace(result, usage=usage)
    result.usage = usage
    return result


def _estimate(member: BatchMember) -> Estimate:
    """Return the estimate of a member; of a piece, by its part of the text."""
    whole, work = member.work.estimate(), member.work
    if member.call.inputs == work.sent_call.inputs:
        return whole
    part, of = member.text_bytes, max(input_weight(work.sent_call), 1)
    inputs = whole.input_tokens
    return Estimate(
        whole.tokens * part // of,
        whole.picodollars * part // of,
        InputTokens(inputs.total * part // of, inputs.other * part // of),
    )


def _timed(call: Call, timeout_seconds: float | None) -> Call:
    return replace(call, timeout_seconds=call.timeout_seconds or timeout_seconds)


def _joint_call(calls: Sequence[Call]) -> Call:
    """Return one call for the texts of several."""
    inputs = tuple(text for call in calls for text in call.inputs)
    timeouts = [call.timeout_seconds for call in calls]
    known = [timeout for timeout in timeouts if timeout is not None]
    longest = max(known) if len(known) == len(timeouts) else None
    return replace(calls[0], inputs=inputs, timeout_seconds=longest)


def _with_usage_of_the_gone(
    results: Sequence[Reply | CallError], members: Sequence[BatchMember]
) -> Sequence[Reply | CallError]:
    """Return the results with the usage of members that left before sending at the payer's."""
    gone = [
        result.usage
        for result, member in zip(results, members, strict=True)
        if not member.was_sent and result.usage is not None
    ]
    payer = next((index for index, member in enumerate(members) if member.was_sent), None)
    if not gone or payer is None:
        return results
    paid = results[payer]
    usage = usage_sum([*gone, paid.usage] if paid.usage is not None else gone)
    if isinstance(paid, Reply):
        paid = replace(paid, usage=usage)
    else:
        paid.usage = usage
    return [*results[:payer], paid, *results[payer + 1 :]]


def _separated(
    result: Reply | CallError, members: Sequence[BatchMember]
) -> Sequence[Reply | CallError]:
    """Return the reply to each of several calls that embedded their texts as one."""
    if len(members) == 1:
        return [result]
    if not isinstance(result, Reply):
        return failures_of(result, [member.call for member in members])
    weights = [member.text_bytes for member in members]
    usages = apportioned_usage(result.usage, weights, weights)
    replies: list[Reply | CallError] = []
    start = 0
    for member, usage in zip(members, usages, strict=True):
        vectors = result.vectors[start : start + member.items]
        replies.append(replace(result, vectors=vectors, usage=usage))
        start += member.items
    return replies
