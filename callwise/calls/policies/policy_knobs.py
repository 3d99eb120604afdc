"""The policies of all kinds, as one type of knobs."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Discriminator, Tag

from callwise.calls.policies.cascade_policy import CascadePolicy
from callwise.calls.policies.ensemble_policy import EnsemblePolicy
from callwise.calls.policies.route_policy import RoutePolicy

__all__ = ["DEFAULT_POLICY", "PolicyKnobs"]


def _kind(given: Any) -> Any:
    """Return the kind of a policy, which routes where it names none."""
    if isinstance(given, Mapping):
        return given.get("kind", "route")
    return getattr(given, "kind", None)


PolicyKnobs: TypeAlias = Annotated[
    Annotated[RoutePolicy, Tag("route")]
    | Annotated[CascadePolicy, Tag("cascade")]
    | Annotated[EnsemblePolicy, Tag("ensemble")],
    Discriminator(
        _kind,
        custom_error_type="policy_kind",
        custom_error_message="the kind of a policy is one of route, cascade, ensemble",
    ),
]
"""A policy of one purpose, distinguished by its `kind`."""

DEFAULT_POLICY = "default"
"""Key of the policy of chat calls whose purpose has none."""
