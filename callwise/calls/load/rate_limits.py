"""Knobs of rate limits: requests and tokens per minute, by endpoint, key, user and call."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from callwise.calls.call import Purpose
from callwise.calls.kinds import WorkKind

__all__ = ["DIMENSIONS", "RateLimits", "Rates"]

DIMENSIONS = (
    "requests_per_minute",
    "tokens_per_minute",
    "input_tokens_per_minute",
    "output_tokens_per_minute",
)
"""Names of the limited quantities, in the order of `Rates.per_minute`."""


PerMinute: TypeAlias = Annotated[float, Field(ge=0.001)]
"""A limit per minute. One that is smaller still would let a call wait for days."""


class Rates(BaseModel):
    """Most requests and tokens per minute, all of them at the same time. None does not limit."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    requests_per_minute: PerMinute | None = None
    """HTTP requests; a batch is one."""
    tokens_per_minute: PerMinute | None = None
    """Input and output tokens together."""
    input_tokens_per_minute: PerMinute | None = None
    """Tokens of prompts and of texts to embed."""
    output_tokens_per_minute: PerMinute | None = None
    """Tokens of answers."""

    @property
    def per_minute(self) -> tuple[float | None, ...]:
        """The four limits, in the order of `DIMENSIONS`."""
        return (
            self.requests_per_minute,
            self.tokens_per_minute,
            self.input_tokens_per_minute,
            self.output_tokens_per_minute,
        )

    @model_validator(mode="after")
    def _can_bind(self) -> Self:
        whole = self.tokens_per_minute
        for name in DIMENSIONS[2:]:
            part = getattr(self, name)
            if whole is not None and part is not None and part > whole:
                raise ValueError(
                    f"{name}={part:g} can never bind, because tokens_per_minute={whole:g} is "
                    "lower: leave it out, or lower it"
                )
        return self


class RateLimits(Rates):
    """Limits of one endpoint, and of keys, users, tenants and calls that it serves.

    All of them bind together: a request leaves when every limit that covers it allows it.
    """

    window: Literal["bucket", "sliding"] = "bucket"
    """Minute as the provider counts it: `bucket` refills evenly and keeps what was not used, up
    to `burst_seconds`; `sliding` is the last 60 seconds, and safe for either."""
    burst_seconds: float = Field(default=60.0, ge=0, le=3600)
    """Size of a full bucket, in seconds of its rate; 0 spaces requests evenly."""
    slack_seconds: float = Field(default=0.25, ge=0, le=10)
    """Time by which requests may reach the provider later than others; limits allow for it."""
    counts: Literal["used", "asked"] = "used"
    """Output tokens that the provider counts: those it wrote, or, as OpenAI does, `max_tokens`."""
    token_margin: float = Field(default=1.7, ge=1, le=10)
    """Factor of estimated tokens until the usage of answers has shown how far estimates are off.
    What was not used is given back."""
    learn: bool = True
    """Learn limits from the `x-ratelimit-*` headers of answers. They only ever lower these."""
    key: Rates | None = None
    """Of the endpoint's key, over all endpoints that use it."""
    user: Rates | None = None
    """Of each user that is not among `users`, over all endpoints."""
    users: Mapping[str, Rates] = {}
    """Of users by their id, over all endpoints."""
    tenant: Rates | None = None
    """Of each tenant that is not among `tenants`, over all endpoints."""
    tenants: Mapping[str, Rates] = {}
    """Of tenants by their name, over all endpoints."""
    purposes: Mapping[Purpose, Rates] = {}
    """Of the calls of a purpose, at this endpoint."""
    kinds: Mapping[WorkKind, Rates] = {}
    """Of the calls of a kind of work, at this endpoint."""
    burst_factor: float = Field(default=1.0, ge=1, le=1000)
    """Factor of the limits of users and tenants while less than `adaptive_threshold` of the
    endpoint's own limits is in use."""
    adaptive_threshold: float = Field(default=0.8, gt=0, le=1)
    """Part of the endpoint's own limits in use from which users and tenants have no more than
    their limit."""

    @property
    def has_narrow(self) -> bool:
        """Whether any limit is of users, tenants, purposes or kinds of work."""
        each = self.user is not None or self.tenant is not None
        return each or bool(self.users or self.tenants or self.purposes or self.kinds)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.window == "sliding" and "burst_seconds" in self.model_fields_set:
            raise ValueError(
                f"burst_seconds={self.burst_seconds:g} is for window `bucket`, and the window is "
                "`sliding`: leave one of them out"
            )
        return self
