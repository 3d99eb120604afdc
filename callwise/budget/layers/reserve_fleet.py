"""Layer `reserve_fleet`: reserves an attempt in the limits that several processes share.

It is above `reserve`, which settles an attempt in this process: what is settled here is what the
attempt has added to the usage of its work, so that the shared counts are the sums of the ledgers.
"""

from collections.abc import Awaitable, Callable, Mapping

from callwise.budget.fleet.shared_budget import SharedBudget
from callwise.budget.limits import Amounts
from callwise.budget.work import Work
from callwise.calls.reply import Reply

__all__ = ["ReserveFleetLayer"]


class ReserveFleetLayer:
    """Reserves one request, its tokens and its USD for all processes, and settles them."""

    def __init__(
        self,
        budget: SharedBudget,
        *,
        next: Callable[[Work], Awaitable[Reply]],  # noqa: A002
    ) -> None:
        self._budget = budget
        self._next = next
        self._attempts = 0

    async def __call__(self, carried: Work) -> Reply:
        """Return the reply of the layer below.

        Raises:
            CallRefused: when there is no quota left for these processes; nothing was sent.
            BudgetStoreLost: when their budget cannot be asked; nothing was sent.
            CallError: how the attempt ended.
        """
        budget, before = self._budget, carried.usage
        reservation = await budget.reserve(
            budget.scopes_of(carried.payer.call.role), carried.estimate().reservation()
        )
        self._attempts += 1
        try:
            return await self._next(carried)
        finally:
            spent = carried.usage - before
            budget.settle(
                reservation,
                Amounts(0, spent.requests, spent.charged_tokens, spent.charged_picodollars),
                budget.scopes_of(carried.payer.call.role),
            )

    def statistics(self) -> Mapping[str, int]:
        """Return how many attempts were reserved."""
        return {"attempts": self._attempts}
