"""Askers that leave at the worst moments: what stands in for impatient users.

Who leaves is told to the task that asks, and the tasks that work for it inherit that.
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
"""How much faster waits pass on a `HurriedClock` than real time."""


class Leaving(StrEnum):
    """When an asker leaves."""

    STAYS = "stays"
    AT_ONCE = "at once"
    SOON = "soon"
    """After some milliseconds: its request may wait for a connection, or be under way."""
    AS_SENT = "as sent"
    """In the step of the event loop in which its request leaves the machine."""
    AT_RETRY = "at retry"


_ASKER: ContextVar[tuple[Leaving, asyncio.Task[object]]] = ContextVar("asker")
"""For whom the current work was begun, and when that one means to leave."""


def mean_to_leave(leaving: Leaving) -> None:
    """Say when the current task will leave what it is about to ask."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("only a task can leave")
    _ASKER.set((leaving, task))


def _leave(now: Leaving) -> None:
    """Let whoever asked leave, if this is when they meant to."""
    leaving, asker = _ASKER.get()
    if leaving is now:
        asker.cancel()


class HurriedClock(SystemClock):
    """The system's clock, on which waits are short, and where an asker may leave."""

    async def sleep(self, seconds: float) -> None:
        """Wait for a fraction of the time."""
        _leave(Leaving.AT_RETRY)
        await super().sleep(seconds / HURRY)


class WatchedClient:
    """The real client, left by whoever means to leave just as their request does."""

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
