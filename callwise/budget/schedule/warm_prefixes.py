"""Common beginnings of prompts: the first of several calls goes ahead and warms the cache.

A provider caches a prompt once it has read it. Calls with a common beginning that are sent
together all find the cache cold, and each pays for the whole; sent after the first answer has
begun, they find it warm. The beginning of a call is its prompt up to the last message.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from callwise.budget.schedule.task import ScheduledTask
from callwise.budget.work import Shipment
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.reply import Reply

__all__ = ["Prefix", "WarmPrefixes"]

Prefix: TypeAlias = tuple[object, ...]

MAX_WARM = 4096
"""Most beginnings that are remembered as warm, the oldest dropped first."""


class WarmPrefixes:
    """The beginnings that an endpoint's cache has, or will have once an answer begins."""

    def __init__(self, knobs: ScheduleKnobs) -> None:
        self._warm_seconds = knobs.warm_prefix_seconds or 0.0
        self._least_characters = knobs.warm_prefix_characters
        self._warm_until: dict[Prefix, float] = {}
        self._first: dict[Prefix, ScheduledTask] = {}
        self._firsts = 0
        self._followers = 0
        self._cached_tokens = 0

    def of(self, shipment: Shipment) -> Prefix | None:
        """Return the beginning of a call; None where there is none that is worth a wait."""
        if len(shipment.works) != 1:
            return None
        call = shipment.works[0].sent_call
        begin = call.messages[:-1]
        if sum(len(message.content) for message in begin) < self._least_characters:
            return None
        tools = (repr(call.tools),) if call.tools else ()
        return (*((message.role, message.content) for message in begin), *tools)

    def is_being_warmed(self, prefix: Prefix, now: float) -> bool:
        """Return whether the first call with a beginning is under way, and not answered yet."""
        return prefix in self._first and self._warm_until.get(prefix, 0.0) <= now

    def started(self, task: ScheduledTask, prefix: Prefix, began: Callable[[], None]) -> None:
        """Note that a call is sent; `began` is called when the first answer begins."""
        if prefix in self._first or self._warm_until.get(prefix, 0.0) > task.started_seconds:
            self._followers += 1
            return
        self._firsts += 1
        self._first[prefix] = task
        task.shipment.works[0].on_begin = began

    def answered(self, prefix: Prefix, now: float) -> None:
        """Note that the cache has a beginning."""
        self._warm_until.pop(prefix, None)
        self._warm_until[prefix] = now + self._warm_seconds
        if len(self._warm_until) > MAX_WARM:
            del self._warm_until[next(iter(self._warm_until))]

    def ended(self, task: ScheduledTask, prefix: Prefix, result: object, now: float) -> None:
        """Note the end of a call, with its reply or without."""
        is_first = self._first.get(prefix) is task
        if is_first:
            del self._first[prefix]
            task.shipment.works[0].on_begin = None
        if isinstance(result, Reply):
            self.answered(prefix, now)
            if not is_first:
                self._cached_tokens += result.usage.cached_tokens or 0

    def statistics(self) -> Mapping[str, int]:
        """Return how many calls went ahead, how many followed, and their cached tokens."""
        return {
            "prefix_firsts": self._firsts,
            "prefix_followers": self._followers,
            "prefix_cached_tokens": self._cached_tokens,
        }
