"""Knobs of the circuit breaker of an endpoint."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["BreakerKnobs"]


class BreakerKnobs(BaseModel):
    """Rate of failed attempts at which an endpoint is not asked for a while.

    Failed are timeouts, failed connections, 5xx, streams that broke off, and answers that are
    not in the protocol. Whatever the rate, an endpoint is not asked either after a call has used
    up its attempts on it: for `retry.down_seconds`, or with these knobs for `open_seconds`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    failure_rate: float = Field(default=0.5, gt=0, le=1)
    """Part of the attempts within the window that must fail for the breaker to open."""
    min_attempts: int = Field(default=5, ge=1, le=100_000)
    """Fewest attempts within the window before the rate counts."""
    window_seconds: float = Field(default=30.0, gt=0, le=86_400)
    """Length of the window."""
    open_seconds: float = Field(default=20.0, gt=0, le=86_400)
    """Time for which an open breaker lets nothing through."""
    trials: int = Field(default=1, ge=1, le=1_000)
    """Most attempts under way once that time is over, until one of them has ended: one that
    succeeds closes the breaker, one that fails opens it again."""
    wait_seconds: float = Field(default=30.0, ge=0, le=86_400)
    """Longest time that a call waits, within its deadline, for the first trial where all endpoints
    of its role are down. It ends in `EndpointDown` then, or before where no trial is due in
    time."""
    stop_seconds: float | None = Field(default=300.0, gt=0, le=86_400)
    """Time after which the run stops, when all endpoints of a role have been down for it. It also
    stops at an error that every later call would meet: a key that is refused, a quota that is
    used up. None never stops it."""
