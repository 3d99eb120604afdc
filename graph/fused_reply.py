"""A reply that came without a search: its bubbles, and what the search says that asked nothing."""

from typing import Any

from graph.state import TurnState
from lats.result import SearchResult
from lats.search_tree import SearchTree
from lats.similarity import text_key
from nodes.bubbles import split_bubbles
from nodes.records import Bubble

__all__ = ["FUSED_REPLY", "bubbles_of_reply", "summary_of_reply"]

FUSED_REPLY = "fused_reply"
"""Why a search asked nothing."""


def bubbles_of_reply(state: TurnState) -> tuple[Bubble, ...]:
    """Return the bubbles of a fused reply: cut by rule, and never a call."""
    return split_bubbles(state.draft, style=state.style, mood=state.mood)


def summary_of_reply() -> dict[str, Any]:
    """Return what a search says that asked nothing, in the shape of one that did."""
    nothing = SearchResult(
        policy=FUSED_REPLY,
        best=None,
        stop_reason=None,
        final_judgement=None,
        rollouts_done=0,
        rounds=0,
        asked={},
        failed={},
        tree=SearchTree(None, text_key),
    )
    return {**nothing.record(), "stop_reason": FUSED_REPLY}
