"""What a plan counts up to: calls by node, role and purpose, tokens, and USD by price."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from turnwise.calls.client import Prices
from turnwise.calls.vocabulary import Purpose, Role
from turnwise.plan.flat import FlatPlan

__all__ = ["PlanCounts", "count_plan"]


@dataclass(frozen=True, slots=True)
class PlanCounts:
    """Sums over a plan's calls. Roles, nodes and purposes without a call are absent.

    Args:
        asked: all calls.
        speculative: those of them that are asked before they are known to be needed.
        by_role: calls by role.
        by_node: calls by node, in the order in which nodes first ask.
        by_purpose: calls by purpose.
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
    input_tokens: int
    output_tokens: int
    usd: float | None
    unpriced_roles: tuple[Role, ...]


def _in_order(counts: Counter[Role]) -> dict[Role, int]:
    return {role: counts[role] for role in Role if counts[role]}


def count_plan(plan: FlatPlan, prices: Mapping[Role, Prices]) -> PlanCounts:
    """Return a plan's sums.

    Args:
        plan: the plan.
        prices: price lists by role; a role without one is not free but unknown.
    """
    calls = [task.call for task in plan.tasks]
    by_role = _in_order(Counter(call.role for call in calls))
    by_purpose = Counter(call.purpose for call in calls)
    unpriced = tuple(role for role in by_role if role not in prices)
    usd = None
    if not unpriced:
        usd = sum(prices[call.role].usd(call.input_tokens, call.output_tokens) for call in calls)
    return PlanCounts(
        asked=len(calls),
        speculative=sum(call.speculative for call in calls),
        by_role=by_role,
        by_node=dict(Counter(call.node for call in calls)),
        by_purpose={purpose: by_purpose[purpose] for purpose in Purpose if by_purpose[purpose]},
        input_tokens=sum(call.input_tokens for call in calls),
        output_tokens=sum(call.output_tokens for call in calls),
        usd=usd,
        unpriced_roles=unpriced,
    )
