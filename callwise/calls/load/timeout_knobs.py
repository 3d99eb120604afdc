"""Knobs of timeouts: the longest time for one attempt, by the kind of its call."""

from pydantic import BaseModel, ConfigDict, Field

from callwise.calls.call import Call
from callwise.calls.hosts import known_timeout_seconds
from callwise.calls.kinds import KINDS, kind_of

__all__ = ["TimeoutKnobs"]


class TimeoutKnobs(BaseModel):
    """Longest time for one attempt, from sending to the last byte, where a call has none itself.

    A call has one by `sampling.<purpose>.timeout_seconds` or by `endpoints.<role>.timeout_seconds`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    simple_seconds: float = Field(default=30.0, gt=0, le=86_400)
    """For embeddings, search in vectors and reranking."""
    complex_seconds: float = Field(default=120.0, gt=0, le=86_400)
    """For answers of a language model."""
    batch_seconds: float = Field(default=300.0, gt=0, le=86_400)
    """For a request that carries several calls."""
    by_provider: bool = False
    """Whether a provider whose time is known takes that for single calls, in place of the two
    above: 60 s at OpenAI, 45 at Anthropic, 30 at Groq (known_endpoints.yaml)."""

    def seconds_of(self, call: Call, endpoint: str) -> float:
        """Return the longest time for one attempt at a call, by the name of its endpoint."""
        known = known_timeout_seconds(endpoint) if self.by_provider else None
        if known is not None:
            return known
        is_complex = KINDS[kind_of(call.purpose)].is_complex
        return self.complex_seconds if is_complex else self.simple_seconds
