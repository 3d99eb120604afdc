"""All knobs of load together: of a run, or of one endpoint."""

from typing import Self

from pydantic import BaseModel, ConfigDict

from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.breaker_knobs import BreakerKnobs
from callwise.calls.load.fleet_knobs import FleetKnobs
from callwise.calls.load.rate_limits import RateLimits
from callwise.calls.load.route_knobs import RouteKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.load.timeout_knobs import TimeoutKnobs

__all__ = ["LoadKnobs"]


class LoadKnobs(BaseModel):
    """When and with what a call is sent, never what it asks. None leaves a part out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schedule: ScheduleKnobs | None = None
    rate: RateLimits | None = None
    batch: BatchKnobs | None = None
    breaker: BreakerKnobs | None = None
    route: RouteKnobs | None = None
    timeout: TimeoutKnobs | None = None
    fleet: FleetKnobs | None = None
    """Of a run, not of an endpoint."""

    def laid_under(self, own: Self | None) -> Self:
        """Return these knobs with those of an endpoint laid over them, one by one.

        Raises:
            ValidationError: when the two do not fit together.
        """
        if own is None:
            return self
        whole = self.model_dump(exclude_unset=True, exclude_none=True)
        for name, group in own.model_dump(exclude_unset=True).items():
            whole[name] = None if group is None else {**whole.get(name, {}), **group}
        return type(self).model_validate(whole)
