"""Retry policy: which failed attempts are tried again, and the waits between.

The clients' own retries are off, so this is the only place where an attempt is
repeated, and each one is counted. Waits grow exponentially or linearly, or are all equal, by the
kind of failure, with jitter drawn from the seed, the call's key and the attempt: the same
whichever calls run at the same time.

Two failures are bounded otherwise, and do not use up the attempts of the others: a
request field that the client has just learned to leave out is tried again immediately, as
often as something was learned; and a server that loads its model is asked every few
seconds for so long.
"""

import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from callwise.calls import errors

__all__ = ["MAX_LEARNING_ATTEMPTS", "Growth", "RetryPolicy"]

Growth = Literal["exponential", "linear", "fixed"]
"""Growth of waits: by a factor, by the first wait each time, or none."""

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

_GROWTHS: Mapping[type[errors.CallError], str] = {
    errors.RateLimited: "rate_limited_growth",
    errors.ServerFailed: "server_failed_growth",
    errors.ConnectionFailed: "connection_failed_growth",
    errors.CallTimeout: "timeout_growth",
}
"""The field of `RetryPolicy` with the growth of waits after each kind; else exponential."""

_PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "standard": {},
        "patient": {
            "rate_limited_attempts": 10,
            "rate_limited_growth": "linear",
            "server_failed_attempts": 5,
            "server_failed_growth": "fixed",
            "connection_failed_attempts": 5,
            "connection_failed_growth": "fixed",
            "timeout_attempts": 3,
            "timeout_growth": "exponential",
            "first_wait_seconds": 1.0,
            "backoff_factor": 2.0,
        },
    }
)
"""Values that take the place of the fields' defaults, by the name of a preset."""


class RetryPolicy(BaseModel):
    """Number of attempts for each kind of failure, and the waits between.

    Attempts count from the call's first: 3 means at most two more after it,
    whatever the failures before were. 1 never tries again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    preset: Literal["standard", "patient"] = "standard"
    """Values of the fields that are left out: `standard` has the defaults here. `patient` has 10
    attempts after a 429, with waits that grow linearly; 5 after a 5xx or a failed connection, each
    after 1 second; 3 after a timeout, with waits that double; the first wait is 1 second."""
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
    """Longest wait before the second attempt."""
    backoff_factor: float = Field(default=2.0, ge=1, le=10)
    """Factor of each further wait, where waits grow exponentially."""
    rate_limited_growth: Growth = "exponential"
    """Growth of the waits after a 429 that names no time: `exponential`, `linear` or `fixed`."""
    server_failed_growth: Growth = "exponential"
    """Growth of the waits after a 5xx."""
    connection_failed_growth: Growth = "exponential"
    """Growth of the waits after a connection that failed or broke."""
    timeout_growth: Growth = "exponential"
    """Growth of the waits after no answer in time."""
    max_wait_seconds: float = Field(default=30.0, ge=0, le=3600)
    """Longest wait that grows out of these."""
    jitter: float = Field(default=0.5, ge=0, le=1)
    """Part of each wait that is drawn at random, in [0, 1]; 0 waits exactly."""
    max_retry_after_seconds: float = Field(default=60.0, ge=0, le=86400)
    """Longest Retry-After that is waited for; a longer one ends the call."""
    total_attempts: int | None = Field(default=None, ge=1, le=1000)
    """Most attempts of a call, whatever failed. None leaves the numbers above."""
    total_seconds: float | None = Field(default=None, gt=0, le=86400)
    """Time of a call, attempts and waits together, after which no further attempt begins. None
    for none."""

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        preset = _PRESETS.get(str(given.get("preset", "standard")), {})
        return {**preset, **given}

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
        most = max(int(getattr(self, name)) for name in names)
        return most if self.total_attempts is None else min(most, self.total_attempts)

    def max_attempts(self, error: errors.CallError) -> int:
        """Return how many attempts a call has in all after this kind of failure."""
        if isinstance(error, errors.EmptyAnswer) and error.is_cut:
            return self.cut_answer_attempts
        name = next((name for kind, name in _ATTEMPTS.items() if isinstance(error, kind)), None)
        attempts: int = 1 if name is None else getattr(self, name)
        return attempts if self.total_attempts is None else min(attempts, self.total_attempts)

    def wait_seconds(
        self,
        error: errors.CallError,
        *,
        attempt: int,
        draw: random.Random,
        alike: int = 1,
        waited_seconds: float = 0.0,
        spent_seconds: float = 0.0,
    ) -> float | None:
        """Return how long to wait before the next attempt, or None when there is none.

        An error that ends a call because it asks for too long a wait gets a note on that.

        Args:
            attempt: which attempt that was, not counting those that learned a request
                field, met a server that loads its model, or travelled in a batch that
                failed. Starts at 1.
            alike: how many attempts of the call have ended so, where they are counted
                apart. Starts at 1.
            waited_seconds: time waited so far for a server that loads its model.
            spent_seconds: time of all attempts and waits so far.
        """
        wait_seconds = self._wait(error, attempt, draw, alike, waited_seconds)
        if wait_seconds is None or self.total_seconds is None:
            return wait_seconds
        return wait_seconds if spent_seconds + wait_seconds < self.total_seconds else None

    def _wait(
        self,
        error: errors.CallError,
        attempt: int,
        draw: random.Random,
        alike: int,
        waited_seconds: float,
    ) -> float | None:
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
            if asked <= self.max_retry_after_seconds:
                return asked
            error.add_note(
                f"not tried again: the endpoint asks to wait for {asked:g} s, and "
                f"retry.max_retry_after_seconds is {self.max_retry_after_seconds:g}"
            )
            return None
        longest = min(self._growing_wait(error, attempt), self.max_wait_seconds)
        return longest * (1.0 - self.jitter * draw.random())

    def _growing_wait(self, error: errors.CallError, attempt: int) -> float:
        first = self.first_wait_seconds
        name = next((name for kind, name in _GROWTHS.items() if isinstance(error, kind)), None)
        growth: Growth = "exponential" if name is None else getattr(self, name)
        match growth:
            case "fixed":
                return first
            case "linear":
                return first * attempt
            case "exponential":
                return first * self.backoff_factor ** min(attempt - 1, 64)
