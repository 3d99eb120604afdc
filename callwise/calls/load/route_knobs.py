"""Knobs of the route: which of several endpoints serves an attempt."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["RouteKnobs"]


class RouteKnobs(BaseModel):
    """Choice among the endpoints that may serve a role."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    policy: Literal["fallback", "least_busy", "weighted"] = "fallback"
    """`fallback` asks the first that is not down; the others spread the calls."""
