"""One score from several: the weighted mean of what a judge gave."""

import math
from collections.abc import Mapping

from lats.verdict import Verdict

__all__ = ["composite_score"]

OVERALL = "score"
"""Name of the overall score among weights."""


def composite_score(verdict: Verdict, weights: Mapping[str, float]) -> float | None:
    """Return the score that counts, in [0, 1]; None when nothing of it was given.

    Args:
        verdict: what the judge said.
        weights: of each attribute, `score` being the overall one. A negative weight means
            the less the better, and reads the value as 1 minus it. Attributes that were not
            given are left out, and the others' weights scaled up. Empty takes the overall
            score, or the plain mean of the attributes where there is none.
    """
    if not weights:
        if verdict.score is not None:
            return verdict.score
        values = verdict.attributes.values()
        return math.fsum(values) / len(values) if values else None
    total = weighted = 0.0
    for name, weight in weights.items():
        value = verdict.score if name == OVERALL else verdict.attributes.get(name)
        if value is not None:
            total += abs(weight)
            weighted += weight * value if weight > 0 else -weight * (1 - value)
    return weighted / total if total else None
