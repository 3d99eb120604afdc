"""Knobs of batches: which calls travel in one request, and how long they wait for each other."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["BatchKnobs"]


class BatchKnobs(BaseModel):
    """Calls that travel in one request."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    embedding_size: int = Field(default=32, ge=1, le=100_000)
    """Most texts to embed in one request."""
