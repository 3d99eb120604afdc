"""Sums over a plan's calls: by role, node, purpose and model, their tokens, and their price."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from callwise.calls.call import Purpose, Role
from callwise.calls.client import Prices
from callwise.plans.bound import FlatPlan, PlannedCall

__all__ = ["PlanCounts", "count_plan", "largest_counts"]

NameT = TypeVar("NameT")

_ROLES: Mapping[str, Role] = {role.value: role for role in Role}


@dataclass(frozen=True, slots=True)
class PlanCounts:
    """Sums over a plan's calls. Roles, nodes and purposes without a call are absent.

    Of a plan that may go in several ways each figure is the largest of all, so that the parts
    may add up to more than `asked`. So may models where a policy chooses among them.

    Args:
        speculative: those of them that are asked before they are known to be needed.
        by_node: calls by node, in the order in which nodes first ask.
        tokens_by_purpose: estimated prompt and answer tokens of each purpose's calls.
        usd: cost by the price lists, each call at the dearest model that may answer it; None
            when one that may be asked has none.
        unpriced_roles: the roles and models that may be asked and have no price list.
        by_model: calls that each model of a policy may be given, at most.
    """

    asked: int
    speculative: int
    by_role: Mapping[Role, int]
    by_node: Mapping[str, int]
    by_purpose: Mapping[Purpose, int]
    tokens_by_purpose: Mapping[Purpose, tuple[int, int]]
    input_tokens: int
    output_tokens: int
    usd: float | None
    unpriced_roles: tuple[str, ...]
    by_model: Mapping[str, int] = field(default_factory=dict)


def _tokens_of(calls: Sequence[PlannedCall], purpose: Purpose) -> tuple[int, int]:
    """Return the prompt and answer tokens of a purpose's calls."""
    mine = [call for call in calls if call.purpose is purpose]
    return sum(call.input_tokens for call in mine), sum(call.output_tokens for call in mine)


def count_plan(
    plan: FlatPlan,
    prices: Mapping[str, Prices],
    models: Mapping[Purpose, tuple[str, ...]],
) -> PlanCounts:
    """Return a plan's sums.

    Args:
        prices: price lists by role or model; one without is not free but unknown.
        models: those that may answer a call, by its purpose, where a table of routes chooses one.
    """
    calls = [task.call for task in plan.tasks]
    served = [
        (call, (call.model,) if call.model else models.get(call.purpose) or (call.role.value,))
        for call in calls
    ]
    role_counts = Counter(call.role for call in calls)
    by_role = {role: role_counts[role] for role in Role if role_counts[role]}
    purpose_counts = Counter(call.purpose for call in calls)
    by_purpose = {
        purpose: purpose_counts[purpose] for purpose in Purpose if purpose_counts[purpose]
    }
    asked_names = dict.fromkeys(name for _, names in served for name in names)
    in_order = [*(role for role in _ROLES if role in asked_names)]
    in_order += [name for name in asked_names if name not in _ROLES]
    unpriced = tuple(name for name in in_order if name not in prices)
    usd = None
    if not unpriced:
        usd = math.fsum(
            max(prices[name].usd(call.input_tokens, call.output_tokens) for name in names)
            for call, names in served
        )
    chosen = Counter(
        name for call, names in served if call.model or call.purpose in models for name in names
    )
    return PlanCounts(
        asked=len(calls),
        speculative=sum(call.speculative for call in calls),
        by_role=by_role,
        by_node=dict(Counter(call.node for call in calls)),
        by_purpose=by_purpose,
        tokens_by_purpose={purpose: _tokens_of(calls, purpose) for purpose in by_purpose},
        input_tokens=sum(call.input_tokens for call in calls),
        output_tokens=sum(call.output_tokens for call in calls),
        usd=usd,
        unpriced_roles=unpriced,
        by_model=dict(chosen),
    )


def _largest(counts: Sequence[Mapping[NameT, int]]) -> dict[NameT, int]:
    """Return each name's largest count, in the order in which names first come."""
    names = dict.fromkeys(name for each in counts for name in each)
    return {name: max(each.get(name, 0) for each in counts) for name in names}


def largest_counts(ways: Sequence[PlanCounts]) -> PlanCounts:
    """Return the largest of each figure over the ways in which a plan may go; at least one."""
    if len(ways) == 1:
        return ways[0]

    def most(name: str) -> Any:
        figures = [getattr(each, name) for each in ways]
        return _largest(figures) if isinstance(figures[0], Mapping) else max(figures)

    costs = [each.usd for each in ways]
    known = [cost for cost in costs if cost is not None]
    by_role, by_purpose = most("by_role"), most("by_purpose")
    spent = [each.tokens_by_purpose for each in ways]
    unpriced = dict.fromkeys(name for each in ways for name in each.unpriced_roles)
    in_order = [*(role for role in _ROLES if role in unpriced)]
    return PlanCounts(
        asked=most("asked"),
        speculative=most("speculative"),
        by_role={role: by_role[role] for role in Role if role in by_role},
        by_node=most("by_node"),
        by_purpose={purpose: by_purpose[purpose] for purpose in Purpose if purpose in by_purpose},
        tokens_by_purpose={
            purpose: (
                max(each.get(purpose, (0, 0))[0] for each in spent),
                max(each.get(purpose, (0, 0))[1] for each in spent),
            )
            for purpose in Purpose
            if purpose in by_purpose
        },
        input_tokens=most("input_tokens"),
        output_tokens=most("output_tokens"),
        usd=max(known) if len(known) == len(costs) else None,
        unpriced_roles=(*in_order, *(name for name in unpriced if name not in _ROLES)),
        by_model=most("by_model"),
    )
