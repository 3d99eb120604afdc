"""Reuse of answers to similar calls, once it is proved that few of them are wrong."""

from callwise.budget.similar.knobs import REUSABLE_PURPOSES, SimilarKnobs
from callwise.budget.similar.proof import false_rate_bound
from callwise.budget.similar.reuse import SimilarReuse

__all__ = ["REUSABLE_PURPOSES", "SimilarKnobs", "SimilarReuse", "false_rate_bound"]
