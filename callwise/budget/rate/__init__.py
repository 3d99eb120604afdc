"""Rate limits: requests and tokens per minute, under all limits that cover a request."""

from callwise.budget.rate.gate import EndpointGate, RateGate
from callwise.budget.rate.need import RateNeed, RatePart
from callwise.budget.rate.rate_gates import RateGates

__all__ = ["EndpointGate", "RateGate", "RateGates", "RateNeed", "RatePart"]
