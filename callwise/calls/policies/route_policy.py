"""Knobs of routing: one of several models answers a call."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["RoutePolicy"]


class RoutePolicy(BaseModel):
    """One model for each call: the first of `models`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["route"] = "route"
    models: tuple[str, ...] = Field(min_length=1)
    """Names in `models`, or roles."""
