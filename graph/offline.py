"""Endpoints for a replay that must never reach the network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from turnwise.calls import Call, CallError, Endpoint, Reply, Role
from turnwise.calls.errors import CassetteMiss

__all__ = ["offline"]


@dataclass(frozen=True, slots=True)
class _OfflineClient:
    """A client that sends nothing and answers nothing."""

    is_simulated: bool

    async def answer(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        on_sent: Callable[[int], None] | None = None,  # noqa: ARG002 - nothing is sent
    ) -> Sequence[Reply | CallError]:
        """Return an error for every call."""
        return [CassetteMiss(f"offline: nothing is sent to {model}") for _ in calls]

    async def aclose(self) -> None:
        """Do nothing: there is nothing to release."""


def offline(endpoints: Mapping[Role, Endpoint]) -> dict[Role, Endpoint]:
    """Return the same endpoints, names and prices, with nobody behind them."""
    return {
        role: replace(endpoint, client=_OfflineClient(endpoint.client.is_simulated))
        for role, endpoint in endpoints.items()
    }
