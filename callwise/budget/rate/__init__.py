"""Rate limits: requests and tokens per minute, under all limits that cover a request."""

from callwise.budget.rate.gate import EndpointGate, RateGate
from callwise.budget.rate.gates import RateGates
from callwise.budget.rate.need import RateNeed, RatePart

__all__ = ["EndpointGate", "RateGate", "RateGates", "RateNeed", "RatePart"]
