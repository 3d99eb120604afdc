"""Layer `repair`: asks again, bounded, while an answer does not fit its form.

Each repair is a call: it has its own key, outcome and row. An answer that an `AnswerReader` uses
in part, such as bubbles that a user sees already, is not asked for again.
"""

from collections.abc import Awaitable, Callable, Mapping

from callwise.budget.in_flight import InFlightCall, ReadReply
from callwise.calls.answer_reader import is_in_use
from callwise.calls.errors import ContextTooLong
from callwise.calls.repair import repair_call

__all__ = ["RepairLayer"]


class RepairLayer:
    """Asks a successor of a call whose answer does not fit, at most `max_repairs` times."""

    def __init__(self, *, next: Callable[[InFlightCall], Awaitable[ReadReply]]) -> None:  # noqa: A002
        self._next = next
        self._repairs = 0

    def __call__(self, carried: InFlightCall) -> Awaitable[ReadReply]:
        """Return an answer that fits.

        Raises:
            InvalidAnswer: when the last one that may be asked for does not, or one that does not is
                in use.
        """
        if carried.call.response_model is None:
            return self._next(carried)
        return self._fitting(carried)

    async def _fitting(self, carried: InFlightCall) -> ReadReply:
        first = asked = carried.call
        while True:
            try:
                answer = await self._next(carried)
            except ContextTooLong as error:
                error.repairs = asked.repair - first.repair
                raise
            if answer.invalid is None:
                return answer
            is_last = asked.repair - first.repair >= first.max_repairs
            if is_last or is_in_use(asked.listener, answer.reply.text):
                raise answer.invalid
            self._repairs += 1
            asked = repair_call(asked, answer.invalid)
            before_seconds = carried.before_seconds + carried.path_seconds
            carried = InFlightCall(asked, carried.scope, carried.track)
            carried.before_seconds = before_seconds

    def statistics(self) -> Mapping[str, int]:
        """Return how many repairs were asked."""
        return {"repairs": self._repairs}
