"""The simulated model: seeded, deterministic, and no more than that.

It proves counting, capping, scheduling and search arithmetic. It proves nothing about
language; its answers are marked as simulated wherever they are shown.
"""

from callwise.simulator.model import SimulatedModel
from callwise.simulator.phrases import true_quality
from callwise.simulator.simulated_client import SimulatedClient
from callwise.simulator.simulator_settings import SimulatedSettings

__all__ = ["SimulatedClient", "SimulatedModel", "SimulatedSettings", "true_quality"]
