"""What a judge said of one reply. What it left out stays missing: neither 0 nor average."""

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

__all__ = ["Judgement"]


class Judgement(BaseModel):
    """Scores of one reply, each in [0, 1] or None when missing.

    A score out of range, not finite or not a number is missing as well: to clip it
    would invent an opinion.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    score: float | None = None
    """Overall. The one that is backed up."""

    plan_alignment: float | None = None
    """Does what the turn's plan set out to do."""

    persona: float | None = None
    """In character."""

    relationship_fit: float | None = None
    """As close or distant as the relationship is."""

    mode_fit: float | None = None
    """Suits the turn's mode."""

    assistantness: float | None = None
    """Sounds like an assistant. The lower the better."""

    immersion: float | None = None
    """Feels like a person in the conversation."""

    reason: str = ""
    """The judge's words. Untrusted."""

    @field_validator(
        "score",
        "plan_alignment",
        "persona",
        "relationship_fit",
        "mode_fit",
        "assistantness",
        "immersion",
        mode="before",
    )
    @classmethod
    def _missing_unless_in_range(cls, raw: Any) -> float | None:
        if isinstance(raw, bool) or not isinstance(raw, int | float):
            return None
        return float(raw) if 0 <= raw <= 1 else None
