"""Fusing of nodes that ask together in a turn, and more of it under a small budget.

A turn gives up in this order, and its record lists each step:

1. *fewer judge calls, fewer refinements, fewer candidates*: the search plans within the
   calls that remain (`lats`), and stops with the best so far;
2. *fused calls*: where the calls left do not suffice for the turn as it was set with a search of
   `MIN_SEARCH_CALLS`, the nodes before the search become one call, and the bookkeeping
   another;
3. *instant*: where not even that and a search of `MIN_FUSED_SEARCH_CALLS` fit, one call
   replies, and the search asks nothing.

Decided once per turn, when it begins, from the knobs and the calls that are left; nothing
else, so a replay decides as the run did. Time, tokens and money do not count here: they are
held back by leases (`graph.reply_leases`).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from graph.settings import PipelineSettings
from lats.actions import ActionKind
from lats.search_knobs import SearchKnobs
from lats.search_plan import plan_search
from nodes.records import FrozenRecord

__all__ = [
    "MIN_FUSED_SEARCH_CALLS",
    "MIN_SEARCH_CALLS",
    "Fusion",
    "Reduction",
    "calls_at_start",
    "fusing_as_set",
    "fusing_for",
    "is_limited",
    "needed_calls",
    "steps_down",
]

MIN_SEARCH_CALLS = 4
"""Calls of the least search that a turn is not fused for. Below it, the calls that fusing
saves buy more in the search than thinking apart does before it."""

MIN_FUSED_SEARCH_CALLS = 2
"""Calls of the least useful search: candidates, and one judge call."""

GivenUp = Literal[
    "fewer_judge_calls",
    "fewer_refinements",
    "fewer_candidates",
    "fused_thinking",
    "fused_bookkeeping",
    "fused_reply",
]
"""Reductions of a turn, in the order in which they are made."""

_SHRINKS: Mapping[ActionKind, GivenUp] = MappingProxyType(
    {
        ActionKind.JUDGE_LIST: "fewer_judge_calls",
        ActionKind.REFINE: "fewer_refinements",
        ActionKind.GENERATE: "fewer_candidates",
    }
)


class Reduction(FrozenRecord):
    """One reduction of a turn that is short of calls."""

    what: GivenUp
    reason: str
    """The calls that were left, and those that the turn as it was set would need."""


class Fusion(FrozenRecord):
    """The nodes of a turn that ask together."""

    thinking: bool = False
    """Detection, inner monologue and reasoner."""
    bookkeeping: bool = False
    """Evolver and memory manager."""
    reply: bool = False
    """One call replies in place of the thinking call. Never without `thinking`."""
    wound_down: tuple[Reduction, ...] = ()
    """Fused beyond the knobs; empty when nothing was."""

    @property
    def thinking_calls(self) -> int:
        """The calls before the search, three apart; a reply among them is not counted extra."""
        return 1 if self.thinking else 3

    @property
    def bookkeeping_calls(self) -> int:
        """The calls after the reply."""
        return 1 if self.bookkeeping else 2


def needed_calls(settings: PipelineSettings, fusing: Fusion, *, search_calls: int) -> int:
    """Return the calls of a turn in which nothing fails.

    Embeddings count where memory is dense, and the processor where it always asks; a
    processor that may or may not ask does not.

    Args:
        search_calls: of the search, where there is one; its own caps bind too.
    """
    limits = settings.budget.search
    caps = (settings.search.max_calls, limits.max_calls, limits.max_requests)
    search = min([search_calls, *(cap for cap in caps if cap is not None)])
    others = int(settings.processor.llm == "always")
    if settings.memory.dense:
        others += 1 + int(settings.memory.retrieve_k > 0)
    asked = fusing.thinking_calls + fusing.bookkeeping_calls + others
    return asked if fusing.reply else asked + search


def fusing_as_set(settings: PipelineSettings) -> Fusion:
    """Return which nodes ask together when nothing is short."""
    return Fusion(**settings.fuse.model_dump(exclude={"wind_down"}))


def fusing_for(settings: PipelineSettings, calls_left: int | None) -> Fusion:
    """Return which nodes ask together in a turn with so many calls left.

    Without `fuse.wind_down` the knobs alone decide.

    Args:
        calls_left: calls, or requests if those are fewer, that the whole turn may ask; None
            where nothing limits them.
    """
    as_set = fusing_as_set(settings)
    if not settings.fuse.wind_down or calls_left is None:
        return as_set
    needed = needed_calls(settings, as_set, search_calls=MIN_SEARCH_CALLS)
    if calls_left >= needed:
        return as_set
    reason = f"{calls_left} of the {needed} calls that it needs at least were left"
    fused = as_set.model_copy(update={"thinking": True, "bookkeeping": True})
    if calls_left >= needed_calls(settings, fused, search_calls=MIN_FUSED_SEARCH_CALLS):
        return _explained(fused, as_set, reason)
    instant = fused.model_copy(update={"reply": True})
    if calls_left < instant.thinking_calls + instant.bookkeeping_calls:
        # There will be no bookkeeping but by rule, and nothing to fuse.
        instant = instant.model_copy(update={"bookkeeping": as_set.bookkeeping})
    return _explained(instant, as_set, reason)


def _explained(fusing: Fusion, as_set: Fusion, reason: str) -> Fusion:
    """Return a fusion with the rows of what it fuses beyond the knobs."""
    more = [
        name
        for name in ("thinking", "bookkeeping", "reply")
        if getattr(fusing, name) and not getattr(as_set, name)
    ]
    rows = [Reduction.model_validate({"what": f"fused_{name}", "reason": reason}) for name in more]
    return fusing.model_copy(update={"wound_down": tuple(rows)})


def steps_down(
    fusing: Fusion, search: Mapping[str, Any], knobs: SearchKnobs
) -> tuple[Reduction, ...]:
    """Return all reductions of a turn that was short of calls, in their order.

    Args:
        search: its search's record; of one that planned fewer calls than its knobs
            allow, `wound_down` has both.
    """
    wound_down = search.get("wound_down")
    if not wound_down:
        return fusing.wound_down
    planned, cap = wound_down["planned"], wound_down["knobs"]
    whole = plan_search(knobs).calls_by_kind()
    smaller = plan_search(knobs.model_copy(update={"max_calls": planned})).calls_by_kind()
    rows = []
    for kind, what in _SHRINKS.items():
        kept, wanted = smaller.get(kind, 0), whole.get(kind, 0)
        if kept < wanted:
            reason = f"{kept} of {wanted}: the search had {planned} of the {cap} calls of its cap"
            rows.append(Reduction(what=what, reason=reason))
    return (*rows, *fusing.wound_down)


def calls_at_start(settings: PipelineSettings) -> int | None:
    """Return the calls that the first turn of a run may ask; None where nothing limits them."""
    budget = settings.budget
    limits = (budget.run, budget.conversation, budget.turn)
    caps = (cap for each in limits for cap in (each.max_calls, each.max_requests))
    return min((cap for cap in caps if cap is not None), default=None)


def is_limited(settings: PipelineSettings) -> bool:
    """Return whether a turn may ever be short of calls, and so be wound down."""
    return settings.fuse.wind_down and calls_at_start(settings) is not None
