"""Interface of a session that gives out a reply before its turn has ended."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, runtime_checkable

from callwise.recordings.app_protocol import TurnInput, TurnResult

__all__ = ["BubbleStream", "StreamsBubbles"]


class BubbleStream(Protocol):
    """A turn under way, as `StreamsBubbles.astream` begins it."""

    def __aiter__(self) -> AsyncIterator[Mapping[str, Any]]:
        """Yield each bubble of the reply as soon as it is final."""
        ...

    async def result(self) -> TurnResult:
        """Return the finished turn."""
        ...


@runtime_checkable
class StreamsBubbles(Protocol):
    """A session that gives out the bubbles of a reply before its turn has ended."""

    def astream(self, turn: TurnInput) -> BubbleStream:
        """Begin to answer one user message; the turn goes on behind its reply."""
        ...
