"""Knobs of what several processes share through Redis."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from callwise.calls.call import Role
from callwise.calls.errors import BudgetStoreLost
from callwise.calls.load.role_limits import RoleLimits

__all__ = ["FleetKnobs", "FleetLimits"]


class FleetLimits(RoleLimits):
    """Limits on everything that the processes of one name ask together."""

    roles: dict[Role, RoleLimits] = Field(default_factory=dict)
    """Further limits by role, on top of those above."""
    each_user: RoleLimits | None = None
    """Further limits of each user, in whichever process its calls are asked."""
    each_tenant: RoleLimits | None = None
    """Further limits of each tenant, likewise."""


class FleetKnobs(BaseModel):
    """Budgets, limits and answers that several processes share."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = Field(min_length=1, max_length=200, pattern=r"^[\w.:-]+$")
    """Name under which they share: processes of one name on one server share everything here."""
    url_env: str = Field(default="CALLWISE_REDIS_URL", min_length=1)
    """Environment variable with the URL of the Redis server, 6.2 or later."""
    limits: FleetLimits = FleetLimits()
    """Limits of all these processes together; the same in each of them."""
    on_lost: Literal["fail", "local"] = "fail"
    """While the server cannot be reached: `fail` ends each call by an error before it is sent;
    `local` goes on with an equal part of the limits for each process, once it has reached the
    server and so has their number; until then it is as `fail`."""
    heartbeat_seconds: float = Field(default=5.0, ge=0.05, le=3600)
    """Time between two signs of life. What a process that has died had reserved is free again
    within two of these."""
    timeout_seconds: float = Field(default=2.0, gt=0, le=3600)
    """Longest wait for the server."""

    def lost_without_part(self, lost: BudgetStoreLost) -> BudgetStoreLost:
        """Return the error of a call that may not go on without the server."""
        if self.on_lost == "fail":
            return lost
        return BudgetStoreLost(
            f"{lost}. load.fleet.on_lost: local goes on without it only in a process that has "
            "reached it once: before that the number of processes that share is not known"
        )
