"""Layer `batch_api`: gives background calls to their provider's batch interface.

An attempt that it takes ends when its batch has: in minutes, or in a day. What is more urgent
goes on to the layer below.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from callwise.budget.batch_api.background_queue import BackgroundQueues
from callwise.budget.batch_api.batch_lane import BatchLane
from callwise.budget.clock import Clock
from callwise.budget.redactor import Redactor
from callwise.budget.work import Work
from callwise.calls.batch_http import BATCH_APIS
from callwise.calls.batch_interface import BatchClient
from callwise.calls.client import Endpoint
from callwise.calls.errors import ConfigError
from callwise.calls.load.background_knobs import BackgroundKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.reply import Reply

__all__ = ["BatchApiLayer"]


class BatchApiLayer:
    """Has one lane for each endpoint with a batch interface.

    Args:
        load_of: returns the knobs of an endpoint.
        queues: closed by the layer `queue`.
    """

    def __init__(
        self,
        load_of: Callable[[Endpoint], LoadKnobs],
        queues: BackgroundQueues,
        clock: Clock,
        redactor: Redactor,
        *,
        next: Callable[[Work], Awaitable[Reply]],  # noqa: A002
    ) -> None:
        self._load_of = load_of
        self._queues = queues
        self._clock = clock
        self._redactor = redactor
        self._next = next
        self._lanes: dict[tuple[str, str], BatchLane] = {}

    def __call__(self, carried: Work) -> Awaitable[Reply]:
        """Return the reply of a batch, or that of the layer below.

        Raises:
            CallError: how the attempt ended.
            ConfigError: when the client of the endpoint has no batch interface, or the queue
                cannot be used.
        """
        knobs = self._load_of(carried.endpoint).background
        if knobs is None or not self.carries(carried):
            return self._next(carried)
        return self._answer(carried, knobs)

    def carries(self, work: Work) -> bool:
        """Return whether work travels in a batch from the endpoint that it has now."""
        knobs = self._load_of(work.endpoint).background
        if knobs is None or knobs.api is None or work.call.batch_key is None:
            return False
        return work.priority >= knobs.takes

    def statistics(self) -> Mapping[str, int]:
        """Return calls and batches of all lanes: `queued` now, and counts since they were made."""
        sums: dict[str, int] = {}
        for lane in self._lanes.values():
            for name, count in lane.counts.items():
                sums[name] = sums.get(name, 0) + count
        return sums

    async def aclose(self) -> None:
        """Stop asking; what was submitted stays on disk. Safe to call twice."""
        lanes, self._lanes = self._lanes, {}
        for lane in lanes.values():
            if lane.queue.loop is asyncio.get_running_loop():
                await lane.aclose()

    async def _answer(self, work: Work, knobs: BackgroundKnobs) -> Reply:
        try:
            return await self._lane(work.endpoint, knobs).answer(work)
        except BaseException as error:
            self._redactor.clean_error(error)
            raise

    def _lane(self, endpoint: Endpoint, knobs: BackgroundKnobs) -> BatchLane:
        key = (endpoint.name, endpoint.model)
        lane = self._lanes.get(key)
        queue = self._queues(knobs.file)
        if lane is None or lane.queue is not queue:
            client = endpoint.client
            if knobs.api is None or not isinstance(client, BatchClient):
                raise ConfigError(
                    f"load.background.api: the client of endpoint {endpoint.name} "
                    f"({type(client).__name__}) has no batch interface; set `kind` of the "
                    "endpoint to openai, or leave `api` out"
                )
            kind = client.batch_api if knobs.api == "auto" else knobs.api
            api = BATCH_APIS[kind](client, timeout_seconds=knobs.timeout_seconds)
            lane = BatchLane(endpoint, client, knobs, queue, api=api, clock=self._clock)
            self._lanes[key] = lane
        return lane
