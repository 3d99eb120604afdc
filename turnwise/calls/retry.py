"""When a failed attempt is tried again, and how long to wait before.

The clients' own retries are off, so this is the only place where an attempt is
repeated, and each one is counted. Waiting grows exponentially, with jitter drawn
from the seed, the call's key and the attempt: the same whichever calls run beside it.
"""

import random
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from turnwise.calls.errors import (
    CallError,
    CallTimeout,
    ConnectionFailed,
    EmptyAnswer,
    RateLimited,
    ServerFailed,
    StreamCut,
)

__all__ = ["RetryPolicy"]


class RetryPolicy(BaseModel):
    """How often each kind of failure is tried, and the waits between.

    Attempts count from the call's first: 3 means at most two more after it,
    whatever the failures before were. 1 never tries again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    rate_limited_attempts: int = Field(default=5, ge=1, le=100)
    """After a 429."""
    server_failed_attempts: int = Field(default=3, ge=1, le=100)
    """After a 5xx."""
    connection_failed_attempts: int = Field(default=3, ge=1, le=100)
    """After a connection that failed or broke."""
    timeout_attempts: int = Field(default=2, ge=1, le=100)
    """After no answer in time."""
    stream_cut_attempts: int = Field(default=3, ge=1, le=100)
    """After a stream that broke off."""
    empty_answer_attempts: int = Field(default=2, ge=1, le=100)
    """After an answer with nothing in it."""
    first_wait_seconds: float = Field(default=0.5, ge=0, le=3600)
    """Longest wait before the second attempt; doubles with each one after it."""
    max_wait_seconds: float = Field(default=30.0, ge=0, le=3600)
    """Longest wait that grows out of the doubling."""
    jitter: float = Field(default=0.5, ge=0, le=1)
    """Part of each wait that is drawn at random, in [0, 1]; 0 waits exactly."""
    max_retry_after_seconds: float = Field(default=60.0, ge=0, le=86400)
    """Longest Retry-After that is waited for; a longer one ends the call."""

    @model_validator(mode="after")
    def _waits_grow(self) -> Self:
        if self.first_wait_seconds > self.max_wait_seconds:
            raise ValueError(
                f"first_wait_seconds ({self.first_wait_seconds:g}) is at most "
                f"max_wait_seconds ({self.max_wait_seconds:g})"
            )
        return self

    def max_attempts(self, error: CallError) -> int:
        """Return how many attempts a call has in all after this kind of failure."""
        for kind, attempts in (
            (RateLimited, self.rate_limited_attempts),
            (ServerFailed, self.server_failed_attempts),
            (ConnectionFailed, self.connection_failed_attempts),
            (CallTimeout, self.timeout_attempts),
            (StreamCut, self.stream_cut_attempts),
            (EmptyAnswer, self.empty_answer_attempts),
        ):
            if isinstance(error, kind):
                return attempts
        return 1

    def wait_seconds(self, error: CallError, *, attempt: int, draw: random.Random) -> float | None:
        """Return how long to wait before the next attempt, or None when there is none.

        Args:
            error: what the last attempt ended in.
            attempt: which attempt that was. Starts at 1.
            draw: the source of jitter.
        """
        if not error.is_retryable or attempt >= self.max_attempts(error):
            return None
        if isinstance(error, RateLimited) and error.retry_after_seconds is not None:
            # Coming back before the server said is a request thrown away.
            asked = error.retry_after_seconds
            return asked if asked <= self.max_retry_after_seconds else None
        doublings = min(attempt - 1, 64)
        longest = min(self.first_wait_seconds * 2.0**doublings, self.max_wait_seconds)
        return longest * (1.0 - self.jitter * draw.random())
