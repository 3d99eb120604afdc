"""What a node sees of the budgeter: ask, ask several at once, and how much is left."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from turnwise.calls.call import Call
from turnwise.calls.errors import CallError
from turnwise.calls.reply import Reply
from turnwise.calls.vocabulary import Role

__all__ = ["Advisory", "Asker"]


@dataclass(frozen=True, slots=True)
class Advisory:
    """How much room the current scope has, the tightest of all scopes above it.

    `None` means that nothing limits it. Leases of others are already taken off.

    Args:
        calls_left: whole calls that would still be accepted, of any role.
        requests_left: HTTP requests that would still be sent.
        tokens_left: tokens that may still be reserved.
        usd_left: USD that may still be reserved.
        seconds_left: time until the nearest deadline.
        calls_left_by_role: the same as `calls_left` for roles with their own limit.
    """

    calls_left: int | None = None
    requests_left: int | None = None
    tokens_left: int | None = None
    usd_left: float | None = None
    seconds_left: float | None = None
    calls_left_by_role: tuple[tuple[Role, int], ...] = ()

    def room_for(self, calls: int, *, role: Role | None = None) -> bool:
        """Return whether `calls` more calls would fit, counting calls only."""
        if self.calls_left is not None and self.calls_left < calls:
            return False
        if self.requests_left is not None and self.requests_left < calls:
            return False
        return all(left >= calls for name, left in self.calls_left_by_role if name is role)


class Asker(Protocol):
    """The one way for a node to reach a model. The budgeter is one."""

    async def ask(self, call: Call) -> Reply:
        """Return the answer, its `parsed` set when the call has a response model.

        Raises:
            CallError: whatever ended the call instead; see the tree in `errors`.
        """
        ...

    async def ask_all(
        self, calls: Sequence[Call], *, max_concurrency: int | None = None
    ) -> list[Reply | CallError]:
        """Ask several calls in one round, and return each one's reply or error in order.

        Calls in one round do not wait for each other, beyond `max_concurrency`.
        Fatal errors (`CallError.is_fatal`) are raised once all have ended.
        """
        ...

    def advisory(self) -> Advisory:
        """Return how much room the current scope has."""
        ...
