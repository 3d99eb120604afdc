"""Policies by name."""

from collections.abc import Mapping
from typing import Any

from lats.classic_uct import ClassicUct
from lats.fast_score import ReplyContext
from lats.knobs import SearchKnobs
from lats.policy import SearchPolicy, StateError

__all__ = ["resume_search", "start_search"]


def start_search(knobs: SearchKnobs, context: ReplyContext) -> SearchPolicy:
    """Return a new search by the policy that the knobs name."""
    match knobs.policy:
        case "classic_uct":
            return ClassicUct(knobs, context)


def resume_search(state: Mapping[str, Any]) -> SearchPolicy:
    """Return the search that a state was taken from.

    Raises:
        StateError: when it names no policy that we have, or cannot be read.
    """
    match state.get("policy"):
        case "classic_uct":
            return ClassicUct.from_state(state)
        case other:
            raise StateError(f"no policy is called {other!r}")
