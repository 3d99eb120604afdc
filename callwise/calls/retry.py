"""Retry policy: which failed attempts are tried again, and the waits between.

The clients' own retries are off, so this is the only place where an attempt is
repeated, and each one is counted. Waiting grows exponentially, with jitter drawn
from the seed, the call's key and the attempt: the same whichever calls run at the same time.

Two failures are bounded otherwise, and do not use up the attempts of the others: a
request field that the client has just learned to leave out is tried again immediately, as
often as something was learned; and a server that loads its model is asked every few
seconds for so long.
"""

import random
from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from callwise.calls import errors

__all__ = ["MAX_LEARNING_ATTEMPTS", "RetryPolicy"]

MAX_LEARNING_ATTEMPTS = 24
"""Most attempts of one call that end in a refused request field. A real endpoint needs
two or three; the number only limits a client that never stops learning."""

FIRST_POLL_SECONDS, LAST_POLL_SECONDS = 2.0, 5.0
"""Waits between two polls of a server that loads its model: they grow by a second."""

_ATTEMPTS: Mapping[type[errors.CallError], str] = {
    errors.RateLimited: "rate_limited_attempts",
    errors.ServerFailed: "server_failed_attempts",
    errors.ConnectionFailed: "connection_failed_attempts",
    errors.CallTimeout: "timeout_attempts",
    errors.StreamCut: "stream_cut_attempts",
    errors.EmptyAnswer: "empty_answer_attempts",
    errors.BadResponse: "bad_response_attempts",
}
"""The field of `RetryPolicy` that limits the attempts after each kind of failure."""


class RetryPolicy(BaseModel):
    """Number of attempts for each kind of failure, and the waits between.

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
    cut_answer_attempts: int = Field(default=3, ge=1, le=100)
    """After an answer that its token limit ended before it began, because the model
    thought first. Each further attempt doubles `max_tokens`, to four times at most."""
    bad_response_attempts: int = Field(default=3, ge=1, le=100)
    """After an answer that is not in the protocol, such as a gateway's page."""
    model_loading_seconds: float = Field(default=180.0, ge=0, le=86400)
    """Longest time that a call waits for a server that is loading its model. 0 waits
    for none. Each look is a counted request."""
    down_seconds: float = Field(default=20.0, ge=0, le=86400)
    """Time for which an endpoint is not asked after a call has used up its attempts on
    failed connections, timeouts or 5xx; then one call tries again. 0 asks every time."""
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

    @property
    def most_attempts(self) -> int:
        """The most attempts of one call, whatever goes wrong.

        Without those that learn what an endpoint takes (once for an endpoint, not for a
        call) and the polls of a server that loads its model.
        """
        names = ("cut_answer_attempts", *_ATTEMPTS.values())
        return max(int(getattr(self, name)) for name in names)

    def max_attempts(self, error: errors.CallError) -> int:
        """Return how many attempts a call has in all after this kind of failure."""
        if isinstance(error, errors.EmptyAnswer) and error.is_cut:
            return self.cut_answer_attempts
        name = next((name for kind, name in _ATTEMPTS.items() if isinstance(error, kind)), None)
        attempts: int = 1 if name is None else getattr(self, name)
        return attempts

    def wait_seconds(
        self,
        error: errors.CallError,
        *,
        attempt: int,
        draw: random.Random,
        alike: int = 1,
        waited_seconds: float = 0.0,
    ) -> float | None:
        """Return how long to wait before the next attempt, or None when there is none.

        Args:
            attempt: which attempt that was, not counting those that learned a request
                field, met a server that loads its model, or travelled in a batch that
                failed. Starts at 1.
            alike: how many attempts of the call have ended so, where they are counted
                apart. Starts at 1.
            waited_seconds: time waited so far for a server that loads its model.
        """
        if isinstance(error, errors.ParameterRefused | errors.BatchFailed):
            return 0.0 if alike < MAX_LEARNING_ATTEMPTS else None
        if isinstance(error, errors.ModelLoading):
            poll_seconds = min(FIRST_POLL_SECONDS + alike - 1, LAST_POLL_SECONDS)
            is_in_time = waited_seconds + poll_seconds <= self.model_loading_seconds
            return poll_seconds if is_in_time else None
        if not error.is_retryable or attempt >= self.max_attempts(error):
            return None
        if isinstance(error, errors.RateLimited) and error.retry_after_seconds is not None:
            # Coming back before the time that the server named is a request thrown away.
            asked = error.retry_after_seconds
            return asked if asked <= self.max_retry_after_seconds else None
        doublings = min(attempt - 1, 64)
        longest = min(self.first_wait_seconds * 2.0**doublings, self.max_wait_seconds)
        return longest * (1.0 - self.jitter * draw.random())
