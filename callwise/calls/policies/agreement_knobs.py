"""Knobs that decide when two answers of models agree."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["AgreementKnobs", "ModelNames", "PolicyKnobGroup", "Share", "require_each_once"]

Share = Annotated[float, Field(ge=0.0, le=1.0)]
ModelNames = tuple[Annotated[str, Field(min_length=1, max_length=80)], ...]


class PolicyKnobGroup(BaseModel):
    """Knobs of a policy, or of a part of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class AgreementKnobs(PolicyKnobGroup):
    """Rule by which two answers agree.

    Forms agree where their numbers, booleans and short texts do; long texts count only in a form
    that has nothing else. Short texts are equal without case, spaces, and marks around them.
    """

    tolerance: float = Field(default=0.0, ge=0.0, le=1e9)
    """Largest difference of two numbers that agree, in their unit. 0: they are equal."""
    similarity: Share = 0.5
    """Least similarity of two long texts that agree: the share of n-grams of their characters that
    they have in common."""


def require_each_once(models: Sequence[str], place: str) -> None:
    """Do nothing where no name is there twice.

    Args:
        place: where the names are, for the error.

    Raises:
        ValueError: names those that are.
    """
    twice = [name for name, count in Counter(models).items() if count > 1]
    if twice:
        raise ValueError(f"{', '.join(twice):.200} is in {place} twice; name each model once")
