"""Layer `reserve_fleet`: reserves an attempt in the limits that several processes share.

It is above `reserve`, which settles an attempt in this process: what is settled here is what the
attempt has added to the usage of its work, so that the shared counts are the sums of the ledgers.
"""

from collections.abc import Awaitable, Callable, Mapping

from callwise.budget.fleet.shared_budget import LeaseEnded, SharedBudget
from callwise.budget.layers.admit_fleet import scopes_of
from callwise.budget.limits import Amounts
from callwise.budget.work import Work
from callwise.calls.reply import Reply

__all__ = ["ReserveFleetLayer"]

MAX_LEASES = 3
"""Most times that the lease of the process ends between the reservation and the sending."""


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
        for _ in range(MAX_LEASES):
            try:
                return await self._attempt(carried)
            except LeaseEnded:
                # What `reserve` had reserved was given back with the attempt that was not sent.
                refusal = carried.reserve()
                if refusal is not None:
                    raise refusal from None
        return await self._attempt(carried)

    async def _attempt(self, work: Work) -> Reply:
        budget, before, free_before = self._budget, work.usage, work.free_requests
        amounts = work.most_reserved()
        reservation = await budget.reserve(scopes_of(budget, work.payer), amounts)
        self._attempts += 1
        try:
            return await self._next(work)
        finally:
            spent = work.usage - before
            requests = spent.requests - (work.free_requests - free_before)
            budget.settle(
                reservation,
                Amounts(0, requests, spent.charged_tokens, spent.charged_picodollars),
                scopes_of(budget, work.payer),
            )

    def statistics(self) -> Mapping[str, int]:
        """Return how many attempts were reserved."""
        return {"attempts": self._attempts}
