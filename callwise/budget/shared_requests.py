"""Requests, queues and rate limits that several budgeters have in common.

A budgeter keeps the limits, scopes, recording and ledger of one run. Runs that ask the same
endpoints at the same time, such as the settings of a sweep, may have one queue for each endpoint
and send their calls in common requests: then the layers from `batch_api` to `send` and the clients
are those of the first budgeter, and the layers above them remain each one's.

Invariant: what is common is closed here, once, after all its budgeters.
"""

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from callwise.calls.client import Client, Endpoint

if TYPE_CHECKING:
    from callwise.budget.batch_api.background_queue import BackgroundQueues
    from callwise.budget.layers.share import ShareLayer

__all__ = ["SharedRequests"]


class SharedRequests:
    """The lower layers and the clients of several budgeters on one event loop.

    All of them must be given endpoints and `load` of equal settings, which their caller sees to.

    Attributes:
        layers: the common layers by name, from `send` up; empty before the first budgeter.
        queues: the queues of background calls; None where there are none.
    """

    def __init__(self) -> None:
        self.layers: dict[str, Any] = {}
        self.queues: BackgroundQueues | None = None
        self._endpoints: dict[str, Endpoint] = {}
        self._clients: dict[int, Client] = {}
        self._sharing: weakref.WeakSet[ShareLayer] = weakref.WeakSet()

    def endpoints_for(self, given: Mapping[str, Endpoint]) -> dict[str, Endpoint]:
        """Return the endpoints by name: those of the first budgeter, for every other one too."""
        if not self._endpoints:
            self._endpoints = dict(given)
            endpoints = (each for asked in given.values() for each in asked.candidates)
            self._clients = {id(each.client): each.client for each in endpoints}
        return dict(self._endpoints)

    def is_common(self, client: Client) -> bool:
        """Return whether a client is closed here, and not by its budgeter."""
        return id(client) in self._clients

    def join(self, share: "ShareLayer") -> None:
        """Count the work of one more budgeter."""
        self._sharing.add(share)

    def in_flight(self) -> int:
        """Return the pieces of work under way of all budgeters."""
        return sum(share.in_flight for share in self._sharing)

    async def aclose(self) -> None:
        """Close the layers, the queues and the clients. Safe to call twice."""
        for layer in reversed(tuple(self.layers.values())):
            close = getattr(layer, "aclose", None)
            if close is not None:
                await close()
        if self.queues is not None:
            await self.queues.aclose()
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()
