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
    hedge_seconds: float | None = Field(default=None, gt=0, le=86_400)
    """Time after which an attempt without an answer gets a second one next to it, at another
    endpoint where there is one; the slower one is cancelled, and both are counted. Its wait for
    its turn does not count. None for none, unless `hedge_percentile` is given. Background calls
    get none, nor calls whose answer is streamed out."""
    hedge_percentile: float | None = Field(default=None, gt=0, lt=100)
    """The same by how long attempts take: after the time in which this part of the last 200
    attempts of the same purpose were answered, in percent. It needs 20 of them."""
    hedge_share: float = Field(default=0.1, gt=0, le=1)
    """Most second attempts, as a part of all attempts."""

    @property
    def is_hedging(self) -> bool:
        """Whether slow attempts get a second one."""
        return self.hedge_seconds is not None or self.hedge_percentile is not None
