"""Knobs of the policies that choose which models answer a call."""

from typing import Annotated, TypeAlias

from pydantic import Field

from callwise.calls.policies.agreement_knobs import AgreementKnobs
from callwise.calls.policies.cascade_policy import CascadePolicy, ConfidenceCalibration
from callwise.calls.policies.ensemble_policy import EnsemblePolicy
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

PolicyKnobs: TypeAlias = Annotated[
    RoutePolicy | CascadePolicy | EnsemblePolicy, Field(discriminator="kind")
]
"""A policy of one purpose, distinguished by its `kind`."""

DEFAULT_POLICY = "default"
"""Key of the policy of chat calls whose purpose has none."""
