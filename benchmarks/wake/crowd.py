"""Agents on a simulated server in another process, which several measurements wake.

The server's intent answers `everyone`; answers to agents are the simulated model's.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load.service import Service, running_service
from callwise.budget import Budgeter
from callwise.budget.clock import SystemClock
from callwise.calls import Endpoint, Prices, Role
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.openai_http import OpenAIClient
from callwise.simulator import SimulatedSettings
from callwise.wake import Agent, WakeKnobs, WakeService, WakeStore

__all__ = ["HOUR", "START", "Crowd", "agents_of", "running_crowd"]

START = 1_800_000_000.0
"""An hour of UTC."""

HOUR = 3600.0

PRICES = Prices(0.28, 0.42)

EVERYONE = SimulatedSettings(boolean_true_rate=1.0)
"""Settings of a server whose intent wakes everyone."""


def agents_of(count: int, models: int) -> list[Agent]:
    """Return agents that are spread evenly over models `m0`, `m1` and so on."""
    return [
        Agent(
            id=f"a{number}",
            persona=f"Agent {number} keeps a shop on pier {number % 97} and answers briefly.",
            model=f"m{number % models}",
            memory=(f"Its boat has {number % 13} oars.",),
        )
        for number in range(count)
    ]


@dataclass(slots=True)
class Crowd:
    """Agents, their server, and the wall's time that the measurement sets.

    Args:
        now: returned by the wake service's clock.
    """

    agents: list[Agent]
    server: Service
    store: WakeStore
    budgeter: Budgeter
    service: WakeService
    now: list[float]

    def at_hour(self, hour: int) -> float:
        """Set the wall's time to an hour, and return it."""
        self.now[0] = START + hour * HOUR
        return self.now[0]


@asynccontextmanager
async def running_crowd(
    count: int,
    *,
    models: int,
    folder: Path,
    settings: SimulatedSettings = EVERYONE,
    load: LoadKnobs | None = None,
    has_full_length: bool = False,
    **knobs: Any,
) -> AsyncIterator[Crowd]:
    """Give agents with a store in a folder and a server in another process.

    Args:
        has_full_length: replies have exactly as many tokens as they may, which takes the server a
            fraction of the time; see `benchmarks.load.service`.
        knobs: of the wake.
    """
    agents = agents_of(count, models)
    wake_knobs = WakeKnobs(**knobs)
    now = [START]
    async with running_service(settings, has_full_length=has_full_length) as server:
        names = [f"m{number}" for number in range(models)]
        endpoints: dict[str, Endpoint] = {
            name: Endpoint(name, name, OpenAIClient(server.base_url), PRICES)
            for name in (*names, "fast")
        }
        endpoints[str(Role.FAST)] = endpoints.pop("fast")
        with WakeStore(folder / "wake.sqlite") as store:
            budgeter = Budgeter(endpoints, clock=SystemClock(), load=wake_knobs.load(load))
            service = WakeService(agents, store, budgeter, wake_knobs, wall=lambda: now[0])
            try:
                yield Crowd(agents, server, store, budgeter, service, now)
            finally:
                await budgeter.aclose()
