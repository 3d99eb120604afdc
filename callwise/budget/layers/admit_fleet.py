"""Layer `admit_fleet`: counts a call against the limits that several processes share.

The count is reserved while the call is in flight, and spent once it has ended, unless it was
refused. A process that dies takes the calls in flight with it: they are free again when its
lease ends.
"""

from collections.abc import Awaitable, Callable, Mapping

from callwise.budget.fleet.shared_budget import SharedBudget
from callwise.budget.in_flight import InFlightCall, ReadReply
from callwise.budget.limits import NOTHING, Amounts
from callwise.budget.run_gate import RunGate
from callwise.calls.call import Outcome
from callwise.calls.errors import BudgetStoreLost, CallRefused

__all__ = ["AdmitFleetLayer", "scopes_of"]

_ONE_CALL = Amounts(calls=1)


def scopes_of(budget: SharedBudget, call: InFlightCall) -> tuple[str, ...]:
    """Return the shared scopes that a call counts in."""
    return budget.limits.scopes_of(call.call.role, call.scope.user, call.scope.tenant)


class AdmitFleetLayer:
    """Lets calls through that fit the limits of all processes together.

    Args:
        gate: stops the run where the server has been lost for `stop_seconds`; None never stops.
    """

    def __init__(
        self,
        budget: SharedBudget,
        gate: RunGate,
        *,
        stop_seconds: float | None,
        next: Callable[[InFlightCall], Awaitable[ReadReply]],  # noqa: A002
    ) -> None:
        self._budget = budget
        self._gate = gate
        self._stop_seconds = stop_seconds
        self._next = next

    async def __call__(self, carried: InFlightCall) -> ReadReply:
        """Return the answer of the layer below.

        Raises:
            CallRefused: when there is no quota left for these processes.
            BudgetStoreLost: when their budget cannot be asked.
        """
        budget = self._budget
        try:
            reservation = await budget.reserve(scopes_of(budget, carried), _ONE_CALL)
        except (CallRefused, BudgetStoreLost) as refusal:
            if isinstance(refusal, BudgetStoreLost):
                self._stop_if_lost_for_long(refusal)
            carried.refuse(refusal)
        try:
            return await self._next(carried)
        finally:
            is_refused = carried.outcome is Outcome.REFUSED
            budget.settle(reservation, NOTHING if is_refused else _ONE_CALL)

    def _stop_if_lost_for_long(self, lost: BudgetStoreLost) -> None:
        seconds, most = self._budget.lost_seconds, self._stop_seconds
        if most is not None and seconds >= most:
            self._gate.stop(f"the shared budget has been lost for {seconds:.0f} s: {lost}")

    def statistics(self) -> Mapping[str, int]:
        """Return what the shared budget has counted, attempts included."""
        return self._budget.statistics()
