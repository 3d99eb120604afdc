"""Knobs of what several processes share through Redis."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["FleetKnobs"]


class FleetKnobs(BaseModel):
    """Budgets, limits and answers that several processes share."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = Field(min_length=1, max_length=200)
    """Name under which they share; processes of one name share."""
