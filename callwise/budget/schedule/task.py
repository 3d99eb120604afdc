"""A shipment in the queue of an endpoint or under way, and what is shown of it."""

import asyncio
import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from callwise.budget.schedule.adaptive_concurrency import SendMark
from callwise.budget.schedule.waiting_queue import WaitingEntry
from callwise.budget.work import Shipment
from callwise.calls.call import Priority, Purpose
from callwise.calls.errors import BadRequest, CallError, RateLimited
from callwise.calls.reply import Reply, ReportedUsage

__all__ = [
    "LaneStatus",
    "ScheduledTask",
    "TaskState",
    "TaskStatus",
    "rate_limit_of",
    "tokens_of",
]

_NO_TOKENS = ReportedUsage(0, 0)


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

    def __init__(self, shipment: Shipment, now_seconds: float) -> None:
        super().__init__(shipment.priority, math.inf, now_seconds)
        self.shipment = shipment
        self.arrived_seconds = self.started_seconds = now_seconds

    def expires_at(self, now_seconds: float) -> float | None:
        """Return the time of its nearest deadline; None without one."""
        left_seconds = self.shipment.seconds_left()
        return None if left_seconds is None else now_seconds + left_seconds

    def due_at(self, target_seconds: float, expires_at: float | None) -> float:
        """Return when it should go: by a deadline of its calls, else by the target of its class.

        Args:
            target_seconds: that target, from asking; infinite for none.
            expires_at: its nearest deadline.
        """
        due_seconds = math.inf if expires_at is None else expires_at
        for work in self.shipment.works:
            wait_seconds = work.call.deadline_seconds
            if wait_seconds is None:
                wait_seconds = target_seconds
            due_seconds = min(due_seconds, work.payer.started_at_seconds + wait_seconds)
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


def rate_limit_of(result: object, error: BaseException | None) -> RateLimited | None:
    """Return the 429 that a shipment ended in, as a whole or for one of its calls."""
    if isinstance(error, RateLimited):
        return error
    if isinstance(result, Sequence):
        return next((each for each in result if isinstance(each, RateLimited)), None)
    return None


def tokens_of(result: object, error: BaseException | None) -> ReportedUsage | None:
    """Return the tokens that the provider counts for a shipment; None when they are unknown."""
    if isinstance(error, RateLimited | BadRequest):
        return _NO_TOKENS
    if isinstance(result, Reply):
        return result.usage
    if not isinstance(result, Sequence):
        return None
    input_tokens = output_tokens = 0
    for each in result:
        usage = each.usage if isinstance(each, Reply) else _NO_TOKENS
        if usage.input_tokens is None or usage.output_tokens is None:
            return None
        input_tokens += usage.input_tokens
        output_tokens += usage.output_tokens
    return ReportedUsage(input_tokens, output_tokens)
