"""Limits of the rate at which calls are sent."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["RateLimits"]


class RateLimits(BaseModel):
    """Most requests and tokens per minute. None does not limit."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    requests_per_minute: float | None = Field(default=None, gt=0)
    """HTTP requests; a batch is one."""
