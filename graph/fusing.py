"""Which nodes ask together in a turn, and how a small budget fuses more of them.

A turn gives up in this order, and each step says so:

1. *fewer judge calls, fewer refinements, fewer candidates*: the search plans within the
   room that it is told (`lats`), and stops with the best so far;
2. *fused calls*: where what is left does not hold the turn as it was set with a search of
   `MIN_SEARCH_CALLS`, the nodes before the search become one call, and the bookkeeping
   another;
3. *instant*: where not even that and a search of `MIN_FUSED_SEARCH_CALLS` fit, one call
   replies, and the search asks nothing.

Decided once a turn, when it begins, from the knobs and the calls that are left; nothing
else, so a replay decides as the run did. Time, tokens and money do not count here: what
they leave is the leases' business (`graph.reply_leases`).
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

from callwise.budget.limits import Limits
from graph.settings import PipelineSettings
from lats.actions import ActionKind
from lats.search_knobs import SearchKnobs
from lats.search_plan import plan_search
from nodes.records import FrozenRecord

__all__ = [
    "MIN_FUSED_SEARCH_CALLS",
    "MIN_SEARCH_CALLS",
    "THINKING_CALLS",
    "Form",
    "Fusion",
    "Reduction",
    "bookkeeping_calls",
    "fusing_as_set",
    "fusing_for",
    "is_limited",
    "needed_calls",
    "room_at_start",
    "steps_down",
    "thinking_calls",
]

MIN_SEARCH_CALLS = 4
"""Calls of the least search that a turn is not fused for. Below it, the calls that fusing
saves buy more in the search than thinking apart does before it."""

MIN_FUSED_SEARCH_CALLS = 2
"""Calls of the least search worth having: candidates, and one look at them."""

THINKING_CALLS = 3
"""Detection, inner monologue and reasoner, asked apart."""

Form = Literal["separate", "fused", "instant"]
"""Nodes before the search ask apart; in one call; not at all, since one call replies."""


GivenUp = Literal[
    "fewer_judge_calls",
    "fewer_refinements",
    "fewer_candidates",
    "fused_thinking",
    "fused_bookkeeping",
    "fused_reply",
]
"""What a turn gives up, in this order."""

_SHRINKS: Mapping[ActionKind, GivenUp] = MappingProxyType(
    {
        ActionKind.JUDGE_LIST: "fewer_judge_calls",
        ActionKind.REFINE: "fewer_refinements",
        ActionKind.GENERATE: "fewer_candidates",
    }
)


class Reduction(FrozenRecord):
    """One thing that a turn gave up for want of calls."""

    what: GivenUp
    reason: str
    """The calls that were left, and those that the turn as it was set would need."""


class Fusion(FrozenRecord):
    """Which nodes of a turn ask together."""

    thinking: bool = False
    """Detection, inner monologue and reasoner."""
    bookkeeping: bool = False
    """Evolver and memory manager."""
    reply: bool = False
    """One call replies in place of the thinking call. Never without `thinking`."""
    wound_down: tuple[Reduction, ...] = ()
    """What was fused beyond the knobs; empty when nothing was."""

    @property
    def form(self) -> Form:
        """How the reply comes about."""
        if self.reply:
            return "instant"
        return "fused" if self.thinking else "separate"


def thinking_calls(fusing: Fusion) -> int:
    """Return the calls before the search; a reply among them is not counted extra."""
    return 1 if fusing.thinking else THINKING_CALLS


def bookkeeping_calls(fusing: Fusion) -> int:
    """Return the calls after the reply."""
    return 1 if fusing.bookkeeping else 2


def needed_calls(settings: PipelineSettings, fusing: Fusion, *, search_calls: int) -> int:
    """Return the calls of a turn in which nothing fails.

    Embeddings count where memory is dense, and the processor where it always asks; a
    processor that may or may not ask does not.

    Args:
        settings: the knobs.
        fusing: which nodes ask together.
        search_calls: of the search, where there is one; its own caps bind too.
    """
    limits = settings.budget.search
    caps = (settings.search.max_calls, limits.max_calls, limits.max_requests)
    search = min([search_calls, *(cap for cap in caps if cap is not None)])
    others = int(settings.processor.llm == "always")
    if settings.memory.dense:
        others += 1 + int(settings.memory.retrieve_k > 0)
    asked = thinking_calls(fusing) + bookkeeping_calls(fusing) + others
    return asked if fusing.reply else asked + search


def fusing_as_set(settings: PipelineSettings) -> Fusion:
    """Return which nodes ask together when nothing is short."""
    knobs = settings.fuse
    return Fusion(thinking=knobs.thinking, bookkeeping=knobs.bookkeeping, reply=knobs.reply)


def fusing_for(settings: PipelineSettings, calls_left: int | None) -> Fusion:
    """Return which nodes ask together in a turn with so many calls left.

    Args:
        settings: the knobs. Without `fuse.wind_down` they alone decide.
        calls_left: calls, or requests if those are fewer, that the turn may still ask, all
            of its own included; None where nothing limits them.
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
    if calls_left < thinking_calls(instant) + bookkeeping_calls(instant):
        # There will be no bookkeeping but by rule, and nothing to fuse.
        instant = instant.model_copy(update={"bookkeeping": as_set.bookkeeping})
    return _explained(instant, as_set, reason)


def _explained(fusing: Fusion, as_set: Fusion, reason: str) -> Fusion:
    """Return it with what it fuses beyond the knobs, and why."""
    steps = tuple(
        what
        for what, is_fused, was_fused in (
            ("fused_thinking", fusing.thinking, as_set.thinking),
            ("fused_bookkeeping", fusing.bookkeeping, as_set.bookkeeping),
            ("fused_reply", fusing.reply, as_set.reply),
        )
        if is_fused and not was_fused
    )
    rows = tuple(Reduction.model_validate({"what": what, "reason": reason}) for what in steps)
    return fusing.model_copy(update={"wound_down": rows})


def steps_down(
    fusing: Fusion, search: Mapping[str, Any], knobs: SearchKnobs
) -> tuple[Reduction, ...]:
    """Return all that a turn gave up for want of calls, in the order of giving up.

    Args:
        fusing: which of its nodes asked together.
        search: what its search says of itself; one that planned fewer calls than its knobs
            allow has `wound_down` with both.
        knobs: of the search.
    """
    smaller = search.get("wound_down")
    if not smaller:
        return fusing.wound_down
    return (*_given_up(knobs, smaller["planned"], smaller["knobs"]), *fusing.wound_down)


def _given_up(knobs: SearchKnobs, planned: int, cap: int) -> Iterator[Reduction]:
    """Yield what a search does less of when it plans for fewer calls, by its own plan."""
    whole = plan_search(knobs).calls_by_kind()
    smaller = plan_search(knobs.model_copy(update={"max_calls": planned})).calls_by_kind()
    for kind, what in _SHRINKS.items():
        kept, wanted = smaller.get(kind, 0), whole.get(kind, 0)
        if kept < wanted:
            reason = f"{kept} of {wanted}: the search had {planned} of the {cap} calls of its cap"
            yield Reduction(what=what, reason=reason)


def _limits(settings: PipelineSettings) -> tuple[Limits, ...]:
    return (settings.budget.run, settings.budget.conversation, settings.budget.turn)


def room_at_start(settings: PipelineSettings) -> int | None:
    """Return the calls that the first turn of a run may ask; None where nothing limits them."""
    caps = (cap for each in _limits(settings) for cap in (each.max_calls, each.max_requests))
    return min((cap for cap in caps if cap is not None), default=None)


def is_limited(settings: PipelineSettings) -> bool:
    """Return whether a turn may ever be short of calls, and so be wound down."""
    return settings.fuse.wind_down and room_at_start(settings) is not None
