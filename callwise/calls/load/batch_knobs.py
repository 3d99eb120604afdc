"""Knobs of batches: which calls travel in one request, and how long they wait for each other."""

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["BATCH_PROFILES", "NO_LIMITS", "BatchKnobs", "BatchLimits"]

Seconds = Annotated[float, Field(ge=0.0, le=3600.0)]
Size = Annotated[int, Field(ge=1, le=100_000)]


class BatchLimits(NamedTuple):
    """Limits of a provider on one request that carries several texts or conversations.

    Args:
        items: most texts, or conversations; None for no limit. So for the others.
        text_bytes: most bytes of text.
        concurrent: most such requests at a time.
    """

    items: int | None = None
    text_bytes: int | None = None
    concurrent: int | None = None


NO_LIMITS = BatchLimits()

BATCH_PROFILES: Mapping[str, BatchLimits] = {
    "openai": BatchLimits(1000, None, 10),
    "groq": BatchLimits(500, None, 20),
    "claude": BatchLimits(2000, None, 5),
    "deepseek": BatchLimits(100, None, 15),
}
"""Example profiles, as the specification's document 002 has them. What a provider's documents
say today is in the table of known endpoints."""


class BatchKnobs(BaseModel):
    """Calls that travel in one request."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    embedding_size: Size = 32
    """Most texts to embed in one request that carries several calls."""
    embedding_window_seconds: Seconds = 0.05
    """Time for which a call that embeds waits for another one after it."""
    embedding_max_wait_seconds: Seconds = 0.2
    """Longest time that a call that embeds waits for others."""
    chat_path: Annotated[str, Field(pattern=r"^/[\w./-]+$")] | None = None
    """Path below the base URL of the endpoint's route for a list of conversations, such as
    `/chat/completions/batch` of vLLM (tried with the test server, not with vLLM). None sends
    each chat call alone."""
    chat_size: Size = 8
    """Most conversations in one request."""
    chat_window_seconds: Seconds = 0.1
    """Longest time that a chat call waits for others."""
    chat_idle_window_seconds: Seconds = 0.01
    """The same while no other call is under way, which could be followed by another one."""
    is_adaptive: bool = True
    """Whether size and window of chat follow the load, between the next four. Then `chat_size`
    and `chat_window_seconds` are not used."""
    chat_min_size: Size = 4
    """Conversations in one request while none is under way."""
    chat_max_size: Size = 16
    """Conversations in one request at full load."""
    chat_min_window_seconds: Seconds = 0.05
    """Longest wait of a chat call for others while no batch is under way."""
    chat_max_window_seconds: Seconds = 0.2
    """Longest wait of a chat call for others at full load."""
    full_load: Size = 3
    """Batches under way at an endpoint that are full load. One of three is 8 conversations and
    100 ms."""
    profile: Literal["openai", "groq", "claude", "deepseek"] | None = None
    """Name of an example profile of a provider's limits. None takes those of the table of known
    endpoints, where it has some."""
    max_items: Size | None = None
    """Most texts or conversations that the endpoint takes in one request. A call with more texts
    is sent in several. None takes the profile's."""
    max_text_bytes: Annotated[int, Field(ge=1)] | None = None
    """Most bytes of text that the endpoint takes in one request. None takes the profile's."""
    max_concurrent: Size | None = None
    """Most batches under way at the endpoint. None takes the profile's."""

    @model_validator(mode="after")
    def _least_before_most(self) -> Self:
        pairs = (
            ("chat_min_size", "chat_max_size"),
            ("chat_min_window_seconds", "chat_max_window_seconds"),
            ("embedding_window_seconds", "embedding_max_wait_seconds"),
        )
        for least, most in pairs:
            low, high = getattr(self, least), getattr(self, most)
            if low > high:
                raise ValueError(f"{least} ({low:g}) is at most {most} ({high:g})")
        return self

    def limits(self, known: BatchLimits = NO_LIMITS) -> BatchLimits:
        """Return the limits of the endpoint: these knobs, the profile, then what is known."""
        given = (self.max_items, self.max_text_bytes, self.max_concurrent)
        base = BATCH_PROFILES[self.profile] if self.profile is not None else known
        return BatchLimits(
            *(own if own is not None else other for own, other in zip(given, base, strict=True))
        )

    def chat_rule(self, under_way: int) -> tuple[int, float]:
        """Return most conversations and longest wait, at a number of batches under way."""
        if not self.is_adaptive:
            return self.chat_size, self.chat_window_seconds
        load = min(under_way / self.full_load, 1.0)
        size = self.chat_min_size + load * (self.chat_max_size - self.chat_min_size)
        window = self.chat_max_window_seconds - self.chat_min_window_seconds
        return round(size), self.chat_min_window_seconds + load * window
