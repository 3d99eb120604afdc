"""The simulated model: seeded, deterministic, and no more than that.

It proves counting, capping, scheduling and search arithmetic. It proves nothing about
language; whatever shows its answers says that they are simulated.
"""

from turnwise.calls.simulated.client import SimulatedClient
from turnwise.calls.simulated.model import SimulatedModel
from turnwise.calls.simulated.quality import true_quality
from turnwise.calls.simulated.settings import SimulatedSettings

__all__ = ["SimulatedClient", "SimulatedModel", "SimulatedSettings", "true_quality"]
