"""Limits on calls, requests, tokens and USD; of a scope, a role, or several processes."""

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt

__all__ = ["RoleLimits"]


class RoleLimits(BaseModel):
    """Limits on the calls of one role."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_calls: NonNegativeInt | None = None
    """Asked calls that are not refused, whatever their outcome."""
    max_requests: NonNegativeInt | None = None
    """HTTP requests, retries included; at a provider's batch interface those that create a
    batch."""
    max_tokens: NonNegativeInt | None = None
    """Input and output tokens together; a reservation counts until it is settled."""
    max_usd: NonNegativeFloat | None = None
    """USD by the endpoints' price lists; needs one for every endpoint it covers."""

    @property
    def is_counting(self) -> bool:
        """Whether any of calls, requests, tokens or USD is limited."""
        limits = (self.max_calls, self.max_requests, self.max_tokens, self.max_usd)
        return any(limit is not None for limit in limits)
