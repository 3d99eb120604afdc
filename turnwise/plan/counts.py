"""What a plan counts up to: calls by node, role and purpose, tokens, and USD by price."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from turnwise.calls.call import Purpose, Role
from turnwise.calls.client import Prices
from turnwise.plan.flat import FlatPlan
from turnwise.plan.steps import PlannedCall

__all__ = ["PlanCounts", "count_plan", "largest_counts"]


NameT = TypeVar("NameT")


@dataclass(frozen=True, slots=True)
class PlanCounts:
    """Sums over a plan's calls. Roles, nodes and purposes without a call are absent.

    Of a plan that may go in several ways each figure is the largest of all, so that the parts
    may add up to more than `asked`.

    Args:
        asked: all calls.
        speculative: those of them that are asked before they are known to be needed.
        by_role: calls by role.
        by_node: calls by node, in the order in which nodes first ask.
        by_purpose: calls by purpose.
        tokens_by_purpose: estimated prompt and answer tokens of each purpose's calls.
        input_tokens: estimated prompt tokens.
        output_tokens: estimated answer tokens.
        usd: cost by the price lists; None when a role that is asked has none.
        unpriced_roles: the roles that are asked and have no price list.
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
    unpriced_roles: tuple[Role, ...]


def _tokens_of(calls: Sequence[PlannedCall], purpose: Purpose) -> tuple[int, int]:
    """Return the prompt and answer tokens of a purpose's calls."""
    mine = [call for call in calls if call.purpose is purpose]
    return sum(call.input_tokens for call in mine), sum(call.output_tokens for call in mine)


def count_plan(plan: FlatPlan, prices: Mapping[Role, Prices]) -> PlanCounts:
    """Return a plan's sums.

    Args:
        plan: the plan.
        prices: price lists by role; a role without one is not free but unknown.
    """
    calls = [task.call for task in plan.tasks]
    role_counts = Counter(call.role for call in calls)
    by_role = {role: role_counts[role] for role in Role if role_counts[role]}
    purpose_counts = Counter(call.purpose for call in calls)
    by_purpose = {
        purpose: purpose_counts[purpose] for purpose in Purpose if purpose_counts[purpose]
    }
    unpriced = tuple(role for role in by_role if role not in prices)
    usd = None
    if not unpriced:
        usd = math.fsum(
            prices[call.role].usd(call.input_tokens, call.output_tokens) for call in calls
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
    )


def _largest(counts: Sequence[Mapping[NameT, int]]) -> dict[NameT, int]:
    """Return each name's largest count, in the order in which names first come."""
    names = dict.fromkeys(name for each in counts for name in each)
    return {name: max(each.get(name, 0) for each in counts) for name in names}


def largest_counts(ways: Sequence[PlanCounts]) -> PlanCounts:
    """Return the largest of each figure over the ways in which a plan may go; at least one."""
    if len(ways) == 1:
        return ways[0]

    def most(figure: Callable[[PlanCounts], int]) -> int:
        return max(map(figure, ways))

    costs = [each.usd for each in ways]
    known = [cost for cost in costs if cost is not None]
    by_role = _largest([each.by_role for each in ways])
    by_purpose = _largest([each.by_purpose for each in ways])
    spent = [each.tokens_by_purpose for each in ways]
    unpriced = {role for each in ways for role in each.unpriced_roles}
    return PlanCounts(
        asked=most(lambda each: each.asked),
        speculative=most(lambda each: each.speculative),
        by_role={role: by_role[role] for role in Role if role in by_role},
        by_node=_largest([each.by_node for each in ways]),
        by_purpose={purpose: by_purpose[purpose] for purpose in Purpose if purpose in by_purpose},
        tokens_by_purpose={
            purpose: (
                max(each.get(purpose, (0, 0))[0] for each in spent),
                max(each.get(purpose, (0, 0))[1] for each in spent),
            )
            for purpose in Purpose
            if purpose in by_purpose
        },
        input_tokens=most(lambda each: each.input_tokens),
        output_tokens=most(lambda each: each.output_tokens),
        usd=max(known) if len(known) == len(costs) else None,
        unpriced_roles=tuple(role for role in Role if role in unpriced),
    )
