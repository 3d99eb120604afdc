"""Layer `admit`: counts a call against time and max_calls of every scope, or refuses it.

Invariant: nothing awaits between the check and the taking. A refused call gives back all that
it took, the leased part to its lease. A call that `replay` has admitted is not counted again.
"""

from collections.abc import Awaitable, Callable, Mapping

from callwise.budget.in_flight import InFlightCall, ReadReply
from callwise.calls.errors import CallRefused

__all__ = ["AdmitLayer"]


class AdmitLayer:
    """Lets calls through that fit the limits."""

    def __init__(self, *, next: Callable[[InFlightCall], Awaitable[ReadReply]]) -> None:  # noqa: A002
        self._next = next
        self._admitted = 0
        self._refused = 0

    def __call__(self, carried: InFlightCall) -> Awaitable[ReadReply]:
        """Return the answer of the layer below.

        Raises:
            CallRefused: when there is no quota or no time left.
        """
        if not carried.is_admitted:
            try:
                carried.admit()
            except CallRefused:
                self._refused += 1
                raise
            self._admitted += 1
        return self._next(carried)

    def statistics(self) -> Mapping[str, int]:
        """Return how many calls were admitted and refused here."""
        return {"admitted": self._admitted, "refused": self._refused}
