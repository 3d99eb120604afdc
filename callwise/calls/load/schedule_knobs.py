"""Knobs of the schedule: how many calls an endpoint serves at a time, and in which order."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from callwise.calls.call import Priority, Purpose

__all__ = ["CONCURRENCIES", "DEFAULT_TASKS", "ScheduleKnobs"]

DEFAULT_TASKS = 10
"""Requests of a run under way at a time, where nothing needs more."""

CONCURRENCIES = ("max_concurrency", "max_embedding_concurrency", "max_adaptive_concurrency")
"""Knobs of the requests that may be under way at one endpoint."""


ClassName = Literal["critical", "high", "normal", "low", "background"]


class ScheduleKnobs(BaseModel):
    """Order and number of the calls that an endpoint serves at a time."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_concurrency: int = Field(default=5, ge=1, le=10_000)
    """Most chat requests under way at the endpoint; where `is_adaptive` is set, at first."""
    max_embedding_concurrency: int = Field(default=10, ge=1, le=10_000)
    """Most embedding requests under way at the endpoint."""
    max_tasks: int | None = Field(default=None, ge=1, le=100_000)
    """Most requests under way in the whole run, at all endpoints; not below a `max_concurrency`
    that is set. None is 10, or the most that one endpoint may have where that is more. Of a run,
    not of an endpoint."""
    critical_slots: int = Field(default=0, ge=0, le=10_000)
    """Requests, of those that may be under way at the endpoint and of `max_tasks`, that are for
    calls of class CRITICAL alone, so that these need not wait for others to end. The others have so
    many fewer, and one at least."""
    is_adaptive: bool = False
    """Whether the number under way follows the endpoint's 429s: more while they stay away, four
    fifths after one."""
    max_adaptive_concurrency: int = Field(default=200, ge=1, le=10_000)
    """Most requests under way at the endpoint where `is_adaptive` is set."""
    priorities: Mapping[Purpose, ClassName] = {}
    """Class of urgency of calls by purpose, such as `judge: critical`, before that of
    `calls.kinds`. A call's own class goes before both."""
    critical_seconds: float | None = Field(default=0.1, gt=0)
    """Time from asking after which a call of class CRITICAL is due. None for never: it then goes
    after those of its class that are due. Likewise the four below."""
    high_seconds: float | None = Field(default=0.5, gt=0)
    """The same for class HIGH."""
    normal_seconds: float | None = Field(default=2.0, gt=0)
    """The same for class NORMAL."""
    low_seconds: float | None = Field(default=None, gt=0)
    """The same for class LOW."""
    background_seconds: float | None = Field(default=None, gt=0)
    """The same for class BACKGROUND."""
    ageing_seconds: float = Field(default=5.0, gt=0)
    """Wait after which a call counts as one class higher."""
    boost_seconds: float = Field(default=1.0, gt=0)
    """Further wait for each class after that."""
    aged_every: int = Field(default=20, ge=1, le=10_000)
    """Of so many turns for which aged and more urgent calls compete, one is an aged call's."""
    overload: Literal["wait", "shed", "refuse"] = "wait"
    """Once `max_waiting` calls wait at an endpoint, another one waits too, takes the place of the
    newest of a lower class, or is refused."""
    max_waiting: int = Field(default=10_000, ge=1, le=10_000_000)
    """Waiting calls from which on the endpoint is overloaded."""
    warm_prefix_seconds: float | None = Field(default=None, gt=0)
    """Time for which the provider's prompt cache keeps a beginning of a prompt, such as 300. Of
    calls whose prompts are equal up to the last message, the first then goes ahead, and the others
    wait until its answer begins. None lets all go."""
    warm_prefix_characters: int = Field(default=4_000, ge=1)
    """Shortest common beginning to wait for. Providers cache from about 1,024 tokens on."""

    @model_validator(mode="after")
    def _tasks_cover_concurrency(self) -> Self:
        if self.max_tasks is None:
            return self
        for name in CONCURRENCIES[:2]:
            most: int = getattr(self, name)
            if name in self.model_fields_set and most > self.max_tasks:
                raise ValueError(
                    f"{name} is {most}, but max_tasks allows the whole run {self.max_tasks}. "
                    f"Raise max_tasks to {most} or leave it out, or lower {name}"
                )
        return self

    def target_seconds(self, priority: Priority) -> float | None:
        """Return the time from asking after which a call of a class is due; None for never."""
        seconds: float | None = getattr(self, f"{priority.name.lower()}_seconds")
        return seconds

    def priority_by_purpose(self) -> Mapping[Purpose, Priority]:
        """Return `priorities` as classes."""
        return {purpose: Priority[name.upper()] for purpose, name in self.priorities.items()}

    def start_concurrency(self, *, is_embedding: bool) -> int:
        """Return the requests that may be under way at first."""
        return self.max_embedding_concurrency if is_embedding else self.max_concurrency

    def most_concurrency(self, *, is_embedding: bool) -> int:
        """Return the requests that may ever be under way."""
        if self.is_adaptive:
            return self.max_adaptive_concurrency
        return self.start_concurrency(is_embedding=is_embedding)
