"""Knobs of background work: calls that may take hours, kept on disk until they are answered."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from callwise.calls.call import Priority

__all__ = ["BackgroundKnobs"]


def _priority(value: object) -> object:
    """Return a class of urgency by its name, as YAML has it; anything else as it is."""
    if isinstance(value, str) and value.upper() in Priority.__members__:
        return Priority[value.upper()]
    return value


class BackgroundKnobs(BaseModel):
    """A queue on disk for calls that may wait, and the batch interface that answers them."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    file: Path
    """SQLite file of the queue. One process at a time uses it. What was accepted is in it before
    anything waits, and is not bought again after a crash."""
    api: Literal["auto", "openai", "openrouter"] | None = None
    """The provider's batch interface that answers the calls, at a lower price and within a day:
    `openai` uploads a file of lines, `openrouter` sends them in the request, and `auto` chooses
    by the host. None sends each call by itself. Not tried against the providers themselves."""
    takes: Annotated[Priority, BeforeValidator(_priority)] = Priority.BACKGROUND
    """The most urgent class that is queued: `background`, or another one's name for that class
    and all below it."""
    discount: float = Field(default=0.5, ge=0, le=1)
    """Part of the list price that a batch is not charged."""
    model: str | None = None
    """The model's name in batches, such as `openai/gpt-5-mini:batch`; None takes the
    endpoint's."""
    max_lines: int = Field(default=10_000, ge=1, le=50_000)
    """Most calls of one batch. OpenAI takes 50,000; at OpenRouter it is 5,000 at most."""
    max_bytes: int = Field(default=100 * 2**20, ge=1024, le=200 * 2**20)
    """Most bytes of one batch's lines. OpenAI takes 200 MB."""
    quiet_seconds: float = Field(default=2.0, ge=0, le=3600)
    """Time without a further call after which those that wait are sent as a batch."""
    max_wait_seconds: float = Field(default=60.0, ge=0, le=86_400)
    """Longest time that a call waits for others to be sent with."""
    first_poll_seconds: float = Field(default=5.0, gt=0, le=3600)
    """Time from the creation of a batch to the first question whether it has ended. Each further
    one waits half as long again."""
    max_poll_seconds: float = Field(default=120.0, gt=0, le=3600)
    """Longest time between two such questions."""
    max_batch_seconds: float = Field(default=93_600.0, gt=0, le=30 * 86_400)
    """Longest time that this process asks whether a batch has ended: a day, in which providers
    promise it, and two hours. Then its calls end in `BatchUnfinished`; asked again, in this process
    or a later one, they go on with the same batch. So they do after an hour of a state that is not
    known here."""
    settle_seconds: float = Field(default=10.0, ge=0, le=3600)
    """Time after a creation without an answer, before the provider's list of batches is searched
    for it. It is created again only where the list does not have it."""
    timeout_seconds: float = Field(default=300.0, gt=0, le=86_400)
    """Longest time for one request of the batch interface."""
    max_resends: int = Field(default=2, ge=0, le=100)
    """Most times that a line is sent again which a batch has left undone (expired, cancelled)."""

    @model_validator(mode="after")
    def _intervals_grow(self) -> Self:
        if self.first_poll_seconds > self.max_poll_seconds:
            raise ValueError(
                f"first_poll_seconds ({self.first_poll_seconds:g}) is at most "
                f"max_poll_seconds ({self.max_poll_seconds:g})"
            )
        if self.quiet_seconds > self.max_wait_seconds:
            raise ValueError(
                f"quiet_seconds ({self.quiet_seconds:g}) is at most "
                f"max_wait_seconds ({self.max_wait_seconds:g})"
            )
        return self
