"""Knobs of the policies that choose which models answer a call."""

from callwise.calls.policies.agreement_knobs import AgreementKnobs
from callwise.calls.policies.cascade_policy import CascadePolicy, ConfidenceCalibration
from callwise.calls.policies.ensemble_policy import EnsemblePolicy
from callwise.calls.policies.policy_knobs import DEFAULT_POLICY, PolicyKnobs
from callwise.calls.policies.route_policy import ComplexityKnobs, RouteEntry, RoutePolicy

__all__ = [
    "DEFAULT_POLICY",
    "AgreementKnobs",
    "CascadePolicy",
    "ComplexityKnobs",
    "ConfidenceCalibration",
    "EnsemblePolicy",
    "PolicyKnobs",
    "RouteEntry",
    "RoutePolicy",
]
