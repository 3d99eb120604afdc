"""Rate limits: requests and tokens per minute, in several limits at once."""

from callwise.budget.rate.gate import EndpointGate, RateGate
from callwise.budget.rate.gates import RateGates
from callwise.budget.rate.need import RateNeed, RatePart

__all__ = ["EndpointGate", "RateGate", "RateGates", "RateNeed", "RatePart"]
