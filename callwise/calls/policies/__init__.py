"""Knobs of the policies that choose which models answer a call."""

from typing import TypeAlias

from callwise.calls.policies.route_policy import RoutePolicy

__all__ = ["DEFAULT_POLICY", "PolicyKnobs", "RoutePolicy"]

PolicyKnobs: TypeAlias = RoutePolicy
"""A policy of one purpose, distinguished by its `kind`."""

DEFAULT_POLICY = "default"
"""Key of the policy of chat calls whose purpose has none."""
