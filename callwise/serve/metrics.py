"""Metrics of the service and of its run in the text format of Prometheus.

Their names are in `callwise/budget/metrics/names.py`.
"""

from collections.abc import Iterator, Mapping

from callwise.budget.metrics import METRICS, SERVICE_METRICS
from callwise.budget.metrics.exposition import CONTENT_TYPE, Sample, exposition, registry_of
from callwise.serve.room_host import RoomHost

__all__ = ["CONTENT_TYPE", "RoomMetrics"]


class RoomMetrics:
    """Metrics of a room.

    Args:
        ended: connections that have ended, by why.
    """

    def __init__(self, host: RoomHost, ended: Mapping[str, int]) -> None:
        self._host, self._ended = host, ended
        self._registry = registry_of(
            host.budgeter.metrics().snapshot,
            metrics=(*SERVICE_METRICS, *METRICS),
            further=self._samples,
        )

    def text(self) -> bytes:
        """Return them now, in UTF-8.

        Raises:
            StoreFailed: when the store cannot be read.
        """
        return exposition(self._registry)

    def _samples(self) -> Iterator[Sample]:
        host, counted = self._host, self._host.counted
        values = {
            "callwise_up": host.state == "running",
            "callwise_wakes_total": counted["wakes"],
            "callwise_messages_said_total": counted["said"],
            "callwise_messages_delivered_total": counted["delivered"],
            "callwise_messages_refused_total": counted["refused messages"],
            "callwise_acknowledgements_total": host.acknowledgements.count,
            "callwise_messages_waiting": host.undelivered(),
            "callwise_clients": len(host.feed.readers),
        }
        for name, value in values.items():
            yield name, {}, value
        for why, count in sorted(self._ended.items()):
            yield "callwise_connections_ended_total", {"reason": why}, count
