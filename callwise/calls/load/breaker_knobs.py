"""Knobs of the circuit breaker of an endpoint."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["BreakerKnobs"]


class BreakerKnobs(BaseModel):
    """When an endpoint is not asked for a while."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    failure_rate: float = Field(default=0.5, gt=0, le=1)
    """Part of the attempts within the window that must fail."""
