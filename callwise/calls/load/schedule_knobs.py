"""Knobs of the schedule: how many calls an endpoint serves at a time, and in which order."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ScheduleKnobs"]


class ScheduleKnobs(BaseModel):
    """Order and number of the calls that an endpoint serves at a time."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_concurrency: int = Field(default=5, ge=1, le=10_000)
    """Most requests under way at the endpoint."""
