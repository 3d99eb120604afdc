"""Knobs of the route: which of several endpoints serves an attempt."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["RouteKnobs"]


class RouteKnobs(BaseModel):
    """Choice among the endpoints that may serve a role: the asked one and its `alternatives`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    policy: Literal["fallback", "least_busy", "weighted"] = "fallback"
    """`fallback` asks the first that is not down. `least_busy` asks the one with the fewest
    attempts under way for its `weight`; `weighted` asks each in proportion to its `weight`."""
    fatal_seconds: float = Field(default=300.0, gt=0, le=86_400)
    """Time for which an endpoint is passed over that refused the key or the model, or whose quota
    is used up."""
