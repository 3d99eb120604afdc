"""Layer `share`: equal calls that are under way share one piece of work.

Problem: ten equal calls together should be paid for once. But the first caller may be
cancelled (a search that stops early, a user who leaves) while nine others still wait
for the very same answer; and when none waits any more, the work has to stop, and
what it has spent by then has to be counted.

Choice: the work runs in a separate task, which belongs to no caller. Callers wait for
it, each on a future. One of them pays. When the payer is cancelled, the next
waiter that can pay takes over, and the work goes on untouched: nothing is sent twice.
A waiter that cannot pay stays as long as someone else does. When none can or none
is left, the work is cancelled, the last payer waits until it has come to rest, so that
what was sent is known, and waiters that could not pay are refused. Work that ends for the
deadline or the limits of its payer is begun again for the waiters that have others.

Rejected: running the work in the first caller and shielding it (a cancelled caller then
has no payer for it); restarting it for the next waiter (sends twice); leaving
the cost with the cancelled caller (its row is written before the cost is known).

Invariant: while work is under way, exactly one waiter is its payer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from callwise.budget.clock import Clock
from callwise.budget.in_flight import InFlightCall, ReadReply, read_reply
from callwise.budget.token_estimate import Estimator
from callwise.budget.work import Work
from callwise.calls.call import Outcome
from callwise.calls.errors import BudgetStoreLost, CallError, CallRefused, CallTimeout
from callwise.calls.key import CallKey
from callwise.calls.reply import Reply
from callwise.calls.time_limit import time_limit

__all__ = ["ShareLayer", "SharedWork", "TakeOver"]

ResultT = TypeVar("ResultT")
WaiterT = TypeVar("WaiterT", bound=Hashable)


TakeOver = Callable[[WaiterT, WaiterT], CallRefused | None]
"""Makes the first waiter pay for what the second, who leaves, has paid for so far;
or returns why it cannot."""


class SharedWork(Generic[WaiterT, ResultT]):
    """One piece of work under way, and all callers that wait for it.

    Args:
        payer: who pays at first.
        work: the work. Its own cancellation must settle what was sent.
        take_over: transfers the cost.
        forget: called once, when no further waiter may join.

    Attributes:
        payer: who pays now, or paid last.
    """

    __slots__ = ("_forget", "_futures", "_has_ended", "_take_over", "_task", "payer")

    def __init__(
        self,
        payer: WaiterT,
        work: Coroutine[Any, Any, ResultT],
        take_over: TakeOver[WaiterT],
        forget: Callable[[], None],
    ) -> None:
        self.payer = payer
        self._take_over = take_over
        self._forget = forget
        self._futures: dict[WaiterT, asyncio.Future[ResultT]] = {}
        self._has_ended = False
        # Never eager, whatever the loop makes of its tasks: nothing refers to it or waits yet.
        self._task = asyncio.Task(self._run(work), loop=asyncio.get_running_loop())

    async def wait(self, waiter: WaiterT) -> ResultT:
        """Return what the work returns.

        Raises:
            CallRefused: when the payer left and none that waits can pay.
            BaseException: whatever the work raised.
        """
        future: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self._futures[waiter] = future
        try:
            return await future
        except asyncio.CancelledError:
            if self._leave(waiter):
                # The work settles as it comes to rest. If we are cancelled again while
                # waiting for that, the payer settles for it.
                await asyncio.wait((self._task,))
            raise
        finally:
            self._leave(waiter)

    async def _run(self, work: Coroutine[Any, Any, ResultT]) -> None:
        try:
            result = await work
        except asyncio.CancelledError:
            self._end()
            for future in self._futures.values():
                future.cancel()
        except BaseException as error:
            self._end()
            for future in self._futures.values():
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            self._end()
            for future in self._futures.values():
                if not future.done():
                    future.set_result(result)

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._forget()

    def _leave(self, waiter: WaiterT) -> bool:
        """Wait no longer. Return whether that stopped the work."""
        if self._futures.pop(waiter, None) is None or self._has_ended or waiter is not self.payer:
            return False
        refused: list[tuple[asyncio.Future[ResultT], CallRefused]] = []
        for candidate, future in self._futures.items():
            if future.done():  # cancelled too, and about to leave
                continue
            refusal = self._take_over(candidate, waiter)
            if refusal is None:
                self.payer = candidate
                return False
            refused.append((future, refusal))
        self._end()
        for future, refusal in refused:
            future.set_exception(refusal)
        loop = self._task.get_loop()
        return not loop.is_closed() and self._task.cancel()


class ShareLayer:
    """Joins equal work under way, or starts work.

    Args:
        carries: return whether work may travel in a request with other work: one function for each
            layer below that carries some.

    A call that no other may join is sent in the task of its caller: resamples and temperatures
    above 0 need no second task, and their cancellation reaches the client directly.
    """

    def __init__(
        self,
        clock: Clock,
        estimator: Estimator,
        *,
        carries: Sequence[Callable[[Work], bool]] = (),
        next: Callable[[Work], Awaitable[Reply]],  # noqa: A002
    ) -> None:
        self._clock = clock
        self._estimator = estimator
        self._carries = carries
        self._next = next
        self._shared: dict[CallKey, SharedWork[InFlightCall, ReadReply]] = {}
        self._unshared = 0
        self._joined = 0
        self._taken_over = 0

    def __call__(self, carried: InFlightCall) -> Awaitable[ReadReply]:
        """Return the answer, paid for by this call or by an equal one.

        Raises:
            CallRefused: when there is no quota for the first attempt, or when the payer left
                and none that waits can pay.
            CallError: how the work ended.
        """
        may_join = carried.call.is_shared and not self._waits_for_others(carried)
        return self._joined_to_equal(carried) if may_join else self._alone(carried)

    def _waits_for_others(self, carried: InFlightCall) -> bool:
        """Return whether equal work may wait for a common request, and this call never does."""
        shared = self._shared.get(carried.key)
        if carried.call.batch_key is not None or shared is None or shared.payer.work is None:
            return False
        return shared.payer.work.defers_request

    async def _joined_to_equal(self, carried: InFlightCall) -> ReadReply:
        while True:
            shared = self._shared.get(carried.key)
            if shared is None:
                shared = self._start(carried)
            else:
                self._joined += 1
                if shared.payer.work is not None:
                    shared.payer.work.join(carried.call)
            try:
                answer = await self._wait(carried, shared)
            except CallRefused:
                # Limits of its payer, which this call need not have, refused the first attempt.
                if carried.outcome is None:
                    continue
                raise
            except CallError as error:
                is_over = self._shared.get(carried.key) is not shared
                if is_over and self._may_ask_itself(carried, shared.payer, error):
                    continue
                raise
            break
        if carried.work is not None:
            carried.finish(Outcome.SERVED)
            return answer
        carried.finish(Outcome.COALESCED)
        if shared.payer.work is not None:
            carried.path_seconds = shared.payer.work.usage.path_seconds
        # Read again: two callers must not have one and the same parsed object.
        return read_reply(carried.call, replace(answer.reply, parsed=None))

    def _may_ask_itself(self, carried: InFlightCall, payer: InFlightCall, error: CallError) -> bool:
        """Return whether a call got no answer for the payer's deadline or limits, not its own."""
        work = payer.work
        if carried is payer or work is None:
            return False
        is_cut = work.is_cut_by_deadline and isinstance(error, CallTimeout)
        if not (is_cut or work.is_cut_by_payer):
            return False
        left_seconds = carried.seconds_left(self._clock)
        return left_seconds is None or left_seconds > 0

    def is_under_way(self, key: CallKey) -> bool:
        """Return whether there is work that an equal call would join."""
        return key in self._shared

    @property
    def in_flight(self) -> int:
        """Pieces of work under way."""
        return len(self._shared) + self._unshared

    def statistics(self) -> Mapping[str, int]:
        """Return pieces of work under way, calls that joined one, and changes of the payer."""
        return {
            "in_flight": self.in_flight,
            "joined": self._joined,
            "taken_over": self._taken_over,
        }

    async def _alone(self, call: InFlightCall) -> ReadReply:
        work = self._reserved(call)
        call.is_alone = True
        self._unshared += 1
        try:
            # Others get to ask before an answer that needs no waiting: a client in process
            # must not keep the loop to itself.
            await asyncio.sleep(0)
            reply = await self._next(work)
        except (CallRefused, BudgetStoreLost) as refusal:
            call.refuse(refusal)
        finally:
            self._unshared -= 1
        call.finish(Outcome.SERVED)
        return read_reply(call.call, reply)

    def _reserved(self, call: InFlightCall) -> Work:
        """Return work for a call, its first attempt reserved.

        Raises:
            CallRefused: when there is no quota for it.
        """
        work = Work(call, self._estimator, self._clock)
        if self._carries:
            work.defers_request = any(carries(work) for carries in self._carries)
        refusal = work.reserve()
        if refusal is not None:
            call.refuse(refusal)
        call.work = work
        return work

    def _start(self, call: InFlightCall) -> SharedWork[InFlightCall, ReadReply]:
        key, work = call.key, self._reserved(call)

        def forget() -> None:
            del self._shared[key]

        run = self._run(work, call.store)
        shared = self._shared[key] = SharedWork(call, run, self._take_over, forget)
        return shared

    async def _run(
        self, work: Work, store: Callable[[CallKey, Reply], Awaitable[None]] | None
    ) -> ReadReply:
        answer = read_reply(work.call, await self._next(work))
        if store is not None and answer.invalid is None:
            await store(work.key, replace(answer.reply, parsed=None))
        return answer

    def _take_over(self, call: InFlightCall, payer: InFlightCall) -> CallRefused | None:
        refusal = call.take_over(payer)
        self._taken_over += refusal is None
        return refusal

    async def _wait(
        self, call: InFlightCall, shared: SharedWork[InFlightCall, ReadReply]
    ) -> ReadReply:
        # The payer is cut by its work; a call that joined has another deadline.
        left_seconds = None
        if call.work is None and not self._clock.is_virtual:
            left_seconds = call.seconds_left(self._clock)
        try:
            if left_seconds is None:
                return await shared.wait(call)
            async with time_limit(left_seconds):
                return await shared.wait(call)
        except BudgetStoreLost as lost:
            call.refuse(lost)
        except CallRefused as refusal:
            if call.work is not None or refusal is call.refusal:
                call.refuse(refusal)
            raise
        except TimeoutError as error:
            if left_seconds is None:
                raise
            raise CallTimeout("no answer before the deadline", was_sent=False) from error
