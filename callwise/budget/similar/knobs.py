"""Settings of the reuse of answers to similar calls, for one purpose."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from callwise.calls.call import Purpose

__all__ = ["NEVER_SIMILAR", "REUSABLE_PURPOSES", "SimilarKnobs"]

NEVER_SIMILAR = frozenset(
    {
        Purpose.JUDGE,
        Purpose.CHECK,
        Purpose.REFEREE,
        Purpose.EMBED,
        Purpose.RETRIEVE,
        Purpose.RERANK,
        Purpose.PLAN,
        Purpose.EXPAND,
    }
)
"""Purposes whose calls are never answered by another call's answer: judgements, vectors, and the
candidates of a search, which are meant to differ."""

REUSABLE_PURPOSES = tuple(each for each in Purpose if each not in NEVER_SIMILAR)
"""Purposes that may opt in."""


class SimilarKnobs(BaseModel):
    """Reuse of answers to similar calls of one purpose."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["shadow", "serve"] = "shadow"
    """`shadow` asks every call and judges the answer that would have been used again; `serve` uses
    it once few enough of those were wrong."""
    threshold: float = Field(default=0.95, ge=0.92, le=0.98)
    """Least similarity of two calls, in [0, 1]."""
    ttl_seconds: float = Field(default=300.0, gt=0.0, allow_inf_nan=False)
    """Time for which an answer may be used for similar calls."""
    vectors: Literal["lexical", "embed"] = "lexical"
    """Vectors that are compared: of words, without a call, or of the model of the role `embed`,
    one call more for each call of the purpose."""
    max_entries: int = Field(default=1_000, ge=1)
    """Most answers that are kept in memory for similar calls."""
    max_false_rate: float = Field(default=0.01, ge=0.003, le=0.1)
    """Answers are used again while at most this share of them is wrong, by the upper bound of its
    95 % interval: for .01 after 299 judged without a miss. A bound below .003 needs more pairs than
    are remembered."""
    sample_share: float = Field(default=0.05, gt=0.0, le=1.0)
    """Share of similar calls that are asked and judged all the same while others are served."""
    check_share: float = Field(default=0.1, ge=0.0, le=1.0)
    """Most calls to a judge, per call of the purpose. With 0 an answer that is not equal counts as
    wrong."""
