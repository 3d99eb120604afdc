"""Single flight: equal calls in flight share one piece of work.

Problem: ten equal calls at once should be paid for once. But the first asker may be
cancelled (a search that stops early, a user who leaves) while nine others still wait
for the very same answer; and when nobody waits any more, the work has to stop, and
what it has spent by then has to be counted.

Choice: the work runs in a task of its own, which belongs to no asker. Askers wait for
it, each on its own future. One of them pays. When the payer is cancelled, the next
waiter that can pay takes over, and the work goes on untouched: nothing is sent twice.
A waiter that cannot pay stays as long as someone else does. When nobody can or nobody
is left, the work is cancelled, the last payer waits until it has come to rest, so that
what was sent is known, and waiters that could not pay are refused.

Rejected: running the work in the first asker and shielding it (a cancelled asker then
has no owner for the bill); restarting it for the next waiter (sends twice); letting
the bill stay with the cancelled asker (its row is written before the cost is known).

Invariant: while work is under way, exactly one waiter is its payer.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from turnwise.calls.errors import CallRefused
from turnwise.calls.key import CallKey

__all__ = ["Flight", "Flights", "TakeOver"]

ResultT = TypeVar("ResultT")
WaiterT = TypeVar("WaiterT", bound=Hashable)


TakeOver = Callable[[WaiterT, WaiterT], CallRefused | None]
"""Makes the first waiter pay for what the second, who leaves, has paid for so far;
or returns why it cannot."""


class Flight(Generic[WaiterT, ResultT]):
    """One piece of work under way, and everyone who waits for it.

    Args:
        payer: who pays at first.
        work: the work. Its own cancellation must settle what was sent.
        take_over: moves the bill.
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
        # Never eager, whatever the loop makes of its tasks: nobody knows of it or waits yet.
        self._task = asyncio.Task(self._run(work), loop=asyncio.get_running_loop())

    async def wait(self, waiter: WaiterT) -> ResultT:
        """Return what the work returns.

        Raises:
            CallRefused: when the payer left and nobody who waits can pay.
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


class Flights(Generic[WaiterT, ResultT]):
    """All work under way: by the identity of the call, or by its payer where it is not shared.

    Args:
        take_over: moves a bill from a waiter that leaves to one that stays.
    """

    __slots__ = ("_flights", "_take_over")

    def __init__(self, take_over: TakeOver[WaiterT]) -> None:
        self._take_over = take_over
        self._flights: dict[CallKey | WaiterT, Flight[WaiterT, ResultT]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def get(self, key: CallKey) -> Flight[WaiterT, ResultT] | None:
        """Return the work under way for a key, or None."""
        return self._flights.get(key)

    def start(
        self, key: CallKey | None, payer: WaiterT, work: Coroutine[Any, Any, ResultT]
    ) -> Flight[WaiterT, ResultT]:
        """Start work that equal calls may join until it ends; without a key, none may."""
        name = payer if key is None else key

        def forget() -> None:
            del self._flights[name]

        flight = self._flights[name] = Flight(payer, work, self._take_over, forget)
        return flight
