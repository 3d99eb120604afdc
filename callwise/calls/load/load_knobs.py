"""All knobs of load together: of a run, or of one endpoint."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from callwise.calls.errors import ConfigError
from callwise.calls.load.background_knobs import BackgroundKnobs
from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.breaker_knobs import BreakerKnobs
from callwise.calls.load.fleet_knobs import FleetKnobs
from callwise.calls.load.rate_limits import RateLimits
from callwise.calls.load.route_knobs import RouteKnobs
from callwise.calls.load.schedule_knobs import CONCURRENCIES, ScheduleKnobs
from callwise.calls.load.timeout_knobs import TimeoutKnobs

__all__ = ["LOAD_PROFILES", "LoadKnobs"]

LOAD_PROFILES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "conservative": {
        "schedule": {"max_concurrency": 5, "max_tasks": 10, "overload": "wait"},
        "batch": {"embedding_size": 10, "is_adaptive": False, "chat_size": 4},
    },
    "balanced": {
        "schedule": {"max_concurrency": 32, "max_tasks": 128, "overload": "shed"},
        "batch": {"embedding_size": 32},
    },
    "aggressive": {
        "schedule": {
            "max_concurrency": 64,
            "max_tasks": 1024,
            "is_adaptive": True,
            "max_adaptive_concurrency": 512,
            "overload": "refuse",
        },
        "batch": {"embedding_size": 50, "chat_min_size": 8, "chat_max_size": 16},
    },
}
"""Knobs of each profile: below 100 requests per second, up to 1,000, and above."""


class LoadKnobs(BaseModel):
    """Time and company in which a call is sent, never what it asks. None leaves a part out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: Literal["conservative", "balanced", "aggressive"] | None = None
    """Knobs to start from, by the requests per second that are expected: conservative below 100,
    balanced up to 1,000, aggressive above. Knobs that are set go before it."""
    schedule: ScheduleKnobs | None = None
    rate: RateLimits | None = None
    batch: BatchKnobs | None = None
    background: BackgroundKnobs | None = None
    breaker: BreakerKnobs | None = None
    route: RouteKnobs | None = None
    timeout: TimeoutKnobs | None = None
    fleet: FleetKnobs | None = None
    """Of a run, not of an endpoint."""

    @model_validator(mode="before")
    @classmethod
    def _start_from_profile(cls, given: object) -> object:
        if not isinstance(given, Mapping) or given.get("profile") not in LOAD_PROFILES:
            return given
        whole = dict(given)
        for name, group in LOAD_PROFILES[str(given["profile"])].items():
            own = given.get(name, {})
            if isinstance(own, BaseModel):
                own = own.model_dump(exclude_unset=True)
            if isinstance(own, Mapping):
                whole[name] = {**group, **own}
                if name == "schedule":
                    whole[name] = _with_tasks_for(own, whole[name])
        return whole

    def laid_under(self, own: Self | None) -> Self:
        """Return these knobs with those of an endpoint laid over them, one by one.

        Raises:
            ConfigError: when the two do not fit together.
        """
        if own is None:
            return self
        of_profiles = {"profile"}  # their knobs are in the groups
        whole = self.model_dump(exclude_unset=True, exclude_none=True, exclude=of_profiles)
        for name, group in own.model_dump(exclude_unset=True, exclude=of_profiles).items():
            whole[name] = None if group is None else {**whole.get(name, {}), **group}
        try:
            return type(self).model_validate(whole)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, ("load", *first["loc"])))
            problem = first["msg"].removeprefix("Value error, ")
            raise ConfigError(
                f"{place} of an endpoint, laid over that of the run: {problem}"
            ) from None


def _with_tasks_for(own: Mapping[str, Any], schedule: dict[str, Any]) -> dict[str, Any]:
    """Return a profile's schedule, whose `max_tasks` follow a larger concurrency that is set."""
    larger = [own.get(name) for name in CONCURRENCIES]
    if "max_tasks" in own or not all(each is None or type(each) is int for each in larger):
        return schedule
    most = max(schedule["max_tasks"], *(each or 0 for each in larger))
    return {**schedule, "max_tasks": most}
