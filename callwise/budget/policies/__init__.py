"""Policies that choose which models answer a call."""

from callwise.budget.policies.model_question import ModelQuestion, Policy
from callwise.budget.policies.route import RouteByTable
from callwise.calls.policies import PolicyKnobs

__all__ = ["ModelQuestion", "Policy", "policy_of"]


def policy_of(knobs: PolicyKnobs) -> Policy:
    """Return the policy of knobs."""
    return RouteByTable(knobs)
