"""Hard limits of a scope, as they stand in a configuration file.

Used as `budget.turn.max_calls: 5` or `budget.turn.roles.judge.max_calls: 3`.
`None` means unlimited; 0 means nothing at all.
"""

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt

from turnwise.calls.call import Role

__all__ = ["Limits", "RoleLimits"]


class RoleLimits(BaseModel):
    """Limits on the calls of one role."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_calls: NonNegativeInt | None = None
    """Asked calls that are not refused, whatever their outcome."""
    max_requests: NonNegativeInt | None = None
    """HTTP requests, retries included."""
    max_tokens: NonNegativeInt | None = None
    """Input and output tokens together; a reservation counts until it is settled."""
    max_usd: NonNegativeFloat | None = None
    """USD by the endpoints' price lists; needs one for every endpoint it covers."""

    @property
    def is_counting(self) -> bool:
        """Whether any of calls, requests, tokens or USD is limited."""
        limits = (self.max_calls, self.max_requests, self.max_tokens, self.max_usd)
        return any(limit is not None for limit in limits)


class Limits(RoleLimits):
    """Limits on everything that is asked in a scope and below it."""

    max_seconds: NonNegativeFloat | None = None
    """Time since the scope was opened; later calls are refused, running ones cut."""
    roles: dict[Role, RoleLimits] = Field(default_factory=dict)
    """Further limits by role, on top of those above."""
