"""Policies by name."""

from collections.abc import Iterable, Mapping
from typing import Any

from lats.classic_uct import ClassicUct
from lats.policy import SearchPolicy
from lats.policy_registry import CLASSIC
from lats.reflection import Guideline
from lats.rule_score import ReplyContext, RuleScore
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs

__all__ = ["resume_search", "start_search"]


def start_search(
    knobs: SearchKnobs, context: ReplyContext, *, guidelines: Iterable[Guideline] = ()
) -> SearchPolicy:
    """Return a new search for a reply, by the policy that the knobs name.

    The rule score in the turn's context breaks ties. `guidelines` are those of earlier turns,
    aged; `classic_uct` has no use for them.
    """
    if knobs.policy == CLASSIC:
        return ClassicUct(knobs, context)
    return PosteriorSearch(knobs, guidelines=guidelines, tie_break=RuleScore(context))


def resume_search(state: Mapping[str, Any], context: ReplyContext | None = None) -> SearchPolicy:
    """Return the search that a state of `state_dict` was taken from.

    The context is the one that the search was started with; a classic state contains it.

    Raises:
        StateError: when it names no policy that we have, or cannot be read.
    """
    if state.get("policy") == CLASSIC:
        return ClassicUct.from_state(state)
    tie_break = None if context is None else RuleScore(context)
    return PosteriorSearch.from_state(state, tie_break=tie_break)
