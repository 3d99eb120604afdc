"""Calls that are cancelled at the worst moments, as impatient users cancel them.

A context variable of the task that asks has the moment; the tasks that work for it inherit it.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from enum import StrEnum

from callwise.budget import SystemClock
from callwise.calls import Call, CallError, Reply
from callwise.calls.client import Client

__all__ = ["HurriedClock", "Leaving", "WatchedClient", "mean_to_leave"]

HURRY = 50.0
"""Factor by which waits are shorter on a `HurriedClock` than in real time."""


class Leaving(StrEnum):
    """The moment at which a call is cancelled."""

    STAYS = "stays"
    AT_ONCE = "at once"
    SOON = "soon"
    """After some milliseconds: its request may wait for a connection, or be under way."""
    AS_SENT = "as sent"
    """In the step of the event loop in which its request leaves the machine."""
    AT_RETRY = "at retry"


_CALLER: ContextVar[tuple[Leaving, asyncio.Task[object]]] = ContextVar("caller")
"""The task that asked for the current work, and the moment at which it is cancelled."""


def mean_to_leave(leaving: Leaving) -> None:
    """Set the moment at which the current task is cancelled."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("only a task can leave")
    _CALLER.set((leaving, task))


def _leave(now: Leaving) -> None:
    """Cancel the task that asked, if this is its moment."""
    leaving, caller = _CALLER.get()
    if leaving is now:
        caller.cancel()


class HurriedClock(SystemClock):
    """The system's clock, on which waits are short, and at which a call may be cancelled."""

    async def sleep(self, seconds: float) -> None:
        """Wait for a fraction of the time."""
        _leave(Leaving.AT_RETRY)
        await super().sleep(seconds / HURRY)


class WatchedClient:
    """The real client, with calls that are cancelled just as their request is sent."""

    is_simulated = False

    def __init__(self, client: Client) -> None:
        self._client = client

    async def answer(
        self, calls: Sequence[Call], *, model: str, on_sent: Callable[[int], None] | None = None
    ) -> Sequence[Reply | CallError]:
        """Return what the real client returns."""

        def sent(index: int) -> None:
            if on_sent is not None:
                on_sent(index)
            _leave(Leaving.AS_SENT)

        return await self._client.answer(calls, model=model, on_sent=sent)

    async def aclose(self) -> None:
        """Close the real client."""
        await self._client.aclose()
