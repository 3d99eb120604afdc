"""A shipment in the queue of an endpoint or under way, and what is shown of it."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from callwise.budget.schedule.adaptive_concurrency import SendMark
from callwise.budget.schedule.waiting_queue import WaitingEntry
from callwise.budget.work import Shipment
from callwise.calls.call import Priority, Purpose
from callwise.calls.errors import BadRequest, BatchFailed, CallError, RateLimited
from callwise.calls.reply import Reply, ReportedUsage

__all__ = [
    "LaneLevel",
    "LaneStatus",
    "ProviderView",
    "ScheduledTask",
    "TaskState",
    "TaskStatus",
    "provider_view",
]

_NO_TOKENS = ReportedUsage(0, 0)

AFTER_DEADLINES_SECONDS = 1e9
"""Deadline, after the target of its class, by which a call without one is ordered: some 30 years,
so that a deadline is promised, a target is wished, and no call goes later for having a deadline."""


class TaskState(StrEnum):
    """State of a request that was scheduled."""

    __hash__ = str.__hash__

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TaskStatus(NamedTuple):
    """One request that waits or is under way, at one moment.

    Args:
        calls: sequence numbers of the calls that it carries.
        node: the node that asked the first of them; None outside of a node.
        waited_seconds: its wait so far, or until it was sent.
        seconds_left: time until its nearest deadline; None without one.
    """

    state: TaskState
    priority: Priority
    purpose: Purpose
    calls: tuple[int, ...]
    node: str | None
    waited_seconds: float
    seconds_left: float | None


class LaneStatus(NamedTuple):
    """The queue of one endpoint at one moment.

    Args:
        level: `low` while a call goes immediately, `high` while it waits, `overloaded` once
            `max_waiting` calls wait.
        limit: most requests under way now; None for any number.
        tasks: those that wait, in the order of their arrival, and those under way.
        counters: what it has counted since it was made; times in seconds.
    """

    endpoint: str
    model: str
    level: str
    limit: int | None
    tasks: tuple[TaskStatus, ...]
    counters: dict[str, int | float]


class LaneLevel(NamedTuple):
    """The numbers of a lane at one moment, without its tasks.

    Args:
        per_minute: its limits of the rate as they are now, by name.
    """

    endpoint: str
    waiting: int
    running: int
    limit: int | None
    per_minute: Mapping[str, float]


class ScheduledTask(WaitingEntry):
    """One shipment from its arrival in a lane to its end."""

    state = TaskState.WAITING
    turn: "asyncio.Future[CallError | None] | None" = None
    """Resolved with None once it may be sent, or with the error that ends its wait; None where it
    did not have to wait."""
    need: Any = None
    """Its need of the rate limits, once they were asked."""
    mark: SendMark | None = None
    """The state of the adaptive limit when it was sent."""
    prefix: tuple[object, ...] | None = None
    """The beginning of its prompt, where it may be in common."""
    parked_under: object = None
    """The limit or the common beginning that it waits for or has waited for, out of the queue."""

    def __init__(self, shipment: Shipment, priority: Priority, now_seconds: float) -> None:
        super().__init__(priority, math.inf, now_seconds)
        self.shipment = shipment
        self.arrived_seconds = self.started_seconds = now_seconds

    def expires_at(self, now_seconds: float) -> float | None:
        """Return the time of its nearest deadline; None without one."""
        left_seconds = self.shipment.seconds_left()
        return None if left_seconds is None else now_seconds + left_seconds

    def due_at(self, target_seconds: float, expires_at: float | None) -> float:
        """Return its place in its class: its nearest deadline, or after all of those its target.

        Args:
            target_seconds: the target of its class, from asking; infinite for none.
            expires_at: its nearest deadline.
        """
        due_seconds = math.inf if expires_at is None else expires_at
        for work in self.shipment.works:
            wait_seconds = target_seconds + AFTER_DEADLINES_SECONDS
            if work.call.deadline_seconds is not None:
                wait_seconds = min(work.call.deadline_seconds, wait_seconds)
            asked_at_seconds = work.payer.started_at_seconds - work.payer.before_seconds
            due_seconds = min(due_seconds, asked_at_seconds + wait_seconds)
        return due_seconds

    def status(self, now_seconds: float) -> TaskStatus:
        """Return what is shown of it."""
        works = self.shipment.works
        first = works[0].payer
        until_seconds = now_seconds if self.state is TaskState.WAITING else self.started_seconds
        return TaskStatus(
            self.state,
            self.priority,
            first.call.purpose,
            tuple(work.payer.sequence for work in works),
            first.scope.node,
            until_seconds - self.arrived_seconds,
            self.shipment.seconds_left(),
        )


class ProviderView(NamedTuple):
    """One request as its provider counts it.

    Args:
        limited: the 429 that it ended in, as a whole or for one of its calls; None for none.
        used: tokens that count; None where they are unknown.
        was_sent: whether it left.
    """

    limited: RateLimited | None
    used: ReportedUsage | None
    was_sent: bool


def provider_view(shipment: Shipment, result: object, error: BaseException | None) -> ProviderView:
    """Return how a provider counts a request that ended in a result or an error."""
    if isinstance(result, Reply):
        return ProviderView(None, result.usage, was_sent=True)
    if isinstance(result, Sequence):
        limited = next((each for each in result if isinstance(each, RateLimited)), None)
        was_sent = any(getattr(each, "was_sent", True) for each in result)
        return ProviderView(limited, _sum_of(result), was_sent=was_sent)
    if not isinstance(error, CallError):
        was_sent = any(work.sent_count for work in shipment.works)
        return ProviderView(None, None, was_sent=was_sent)
    limited = error if isinstance(error, RateLimited) else None
    return ProviderView(limited, _usage_of(error), was_sent=getattr(error, "was_sent", True))


def _sum_of(results: Sequence[object]) -> ReportedUsage | None:
    """Return the tokens of the replies and errors of a batch; None where any are unknown."""
    input_tokens = output_tokens = 0
    for each in results:
        usage = _usage_of(each)
        if usage is None or usage.input_tokens is None or usage.output_tokens is None:
            return None
        input_tokens += usage.input_tokens
        output_tokens += usage.output_tokens
    return ReportedUsage(input_tokens, output_tokens)


def _usage_of(end: object) -> ReportedUsage | None:
    if isinstance(end, Reply):
        return end.usage
    if not isinstance(end, CallError):
        return None
    cause = (end.cause or end) if isinstance(end, BatchFailed) else end
    if end.usage is None and isinstance(cause, RateLimited | BadRequest):
        return _NO_TOKENS
    return end.usage
