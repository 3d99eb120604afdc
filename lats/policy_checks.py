"""Strategies by the name of their policy; what registered ones return is checked.

It is actions or a reason to stop, actions of candidates that there are, each action asked once. An
error is raised before anything of the round is counted, so the search with all its answers can
be saved, and resumed with a better policy.
"""

import inspect
import reprlib
from collections.abc import Sequence
from functools import partial
from typing import Any

from lats import strategies
from lats.actions import Action, ActionId, Generate, JudgeList, Refine
from lats.policy_registry import functions_of
from lats.result import StopReason
from lats.search_schedule import CallsLeft, Pick, Strategy
from lats.search_state import SearchState
from lats.search_tree import Candidate
from lats.strategies import STRATEGIES

__all__ = ["PolicyError", "pick_of", "strategy_of"]


class PolicyError(RuntimeError):
    """A registered policy returned what is no round, no reason to stop, or no candidate."""


def strategy_of(policy: str) -> Strategy:
    """Return the strategy of a policy; of a registered one with its checks.

    Raises:
        ValueError: when it has none.
    """
    functions = functions_of(policy)
    if functions is not None:
        return partial(_next_round, policy, functions.next_round)
    if policy not in STRATEGIES:
        raise ValueError(
            f"the policy {policy!r} is none of {', '.join(STRATEGIES)}, and no policy is "
            "registered by that name; see lats.register_policy"
        )
    return strategies.strategy_of(policy)


def pick_of(policy: str) -> Pick | None:
    """Return how a policy chooses its answer; None: the best ranked, as all built-in ones do."""
    functions = functions_of(policy)
    if functions is None or functions.pick is None:
        return None
    return partial(_pick, policy, functions.pick)


def _next_round(
    policy: str, next_round: Strategy, state: SearchState, left: CallsLeft
) -> list[Action] | StopReason:
    """Return a registered policy's next round, checked."""
    found: Any = next_round(state, left)
    if isinstance(found, StopReason):
        return found
    if not isinstance(found, list | tuple):
        if inspect.iscoroutine(found):
            found.close()
        raise PolicyError(
            f"policy {policy!r} returned {reprlib.repr(found)}; return a list of actions, or a "
            "StopReason"
        )
    closed = state.progress.closed_ids
    seen: set[ActionId] = set()
    for action in found:
        problem = _problem_of(action, state)
        if problem:
            raise PolicyError(f"policy {policy!r} returned {reprlib.repr(action)}: {problem}")
        if action.action_id in closed or action.action_id in seen:
            raise PolicyError(
                f"policy {policy!r} asks again for {action.action_id!r}; state.generate and "
                "judge_round count what was asked, and a Refine takes its node's `expansions`"
            )
        seen.add(action.action_id)
    return list(found) or StopReason.PLAN_DONE


def _problem_of(action: Any, state: SearchState) -> str:
    """Return why an action cannot be asked; blank where it can."""
    if not isinstance(action, Generate | Refine | JudgeList):
        return "no action; return Generate, Refine or JudgeList"
    if not isinstance(action, JudgeList) and action.k < 1:
        return f"it asks for {action.k} candidates; ask for at least 1"
    if isinstance(action, Generate):
        return ""
    judges = state.judges or ("",)
    if isinstance(action, JudgeList) and action.judge not in judges:
        return f"its judge is none of {list(judges)}; judge_round names one for each pass"
    if not action.node_ids:
        return "it names no candidate; name at least one"
    if len(set(action.node_ids)) < len(action.node_ids):
        return "it names a candidate twice"
    start = state.tree.top.node_id
    for node_id in action.node_ids:
        if node_id not in state.tree.nodes or node_id == start:
            return f"{node_id!r} is no candidate; take the ids of state.tree.candidates"
    return ""


def _pick(policy: str, pick: Pick, state: SearchState, ranking: Sequence[Candidate]) -> Candidate:
    """Return a registered policy's choice, checked."""
    best = pick(state, ranking)
    if not any(node is best for node in ranking):
        raise PolicyError(
            f"policy {policy!r} picked {reprlib.repr(best)}, which is none of the ranking that "
            "it was given"
        )
    return best
