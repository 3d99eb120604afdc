"""Policies that choose which models answer a call."""

from callwise.budget.policies.cascade import Cascade
from callwise.budget.policies.ensemble import Ensemble
from callwise.budget.policies.model_question import ModelQuestion, Policy
from callwise.budget.policies.route import RouteByTable
from callwise.calls.policies import CascadePolicy, EnsemblePolicy, PolicyKnobs

__all__ = ["ModelQuestion", "Policy", "policy_of"]


def policy_of(knobs: PolicyKnobs) -> Policy:
    """Return the policy of knobs."""
    match knobs:
        case CascadePolicy():
            return Cascade(knobs)
        case EnsemblePolicy():
            return Ensemble(knobs)
        case _:
            return RouteByTable(knobs)
