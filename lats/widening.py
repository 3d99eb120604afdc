"""Widening of a tree of steps: which state is asked for (more) next states.

A proposer gives a few of the next states, so a state may be asked again. Two kinds of request
compete for the next call, in the whole tree: a first one, from a state without children, and a
further one, from the start or from a state that has some. Their worth, in score:

    own value - WIDENING_SDS * e * sqrt(r V)

e: requests from this state so far; r V: variance of states' true scores, see `posterior`. So a
further request from a good state comes before a first one from a state that is plainly worse, and
each one makes the next less urgent, by a step that no scale of scores changes.

Progressive widening (Coulom 2007; Chaslot et al. 2008; Couetoux et al. 2011) lets the number of
children grow as a power of the visits, whatever the children are worth; AB-MCTS (arXiv 2503.04412)
draws the worth of "wider" from the scores of the children. On tuning puzzles both lost to this
rule: the first widens good and bad states alike, and children that are bad say little against a
proposer that has many others.

Invariants: a state is complete when its proposer has nothing new, and is not asked again. A
state is closed when it is complete and all below it is closed. So the start is closed only when
nothing in the tree can be widened.
"""

import math
from collections.abc import Iterable

from lats.answers import Drafts, NodeId
from lats.posterior import posterior_means
from lats.search_state import SearchState
from lats.search_tree import Candidate

__all__ = [
    "WIDENING_SDS",
    "best_request",
    "close",
    "note_judged",
    "note_request",
    "request_worth",
]

WIDENING_SDS = 0.2
"""Loss of worth by each request, in standard deviations of the states' true scores."""

IMPOSSIBLE_REQUESTS = 16
"""Requests that a state counts as asked before its first one where its score is 0, the least
there is: others are widened that often before it is gone on from."""

MAX_POOR_REQUESTS = 2
"""Poor requests in a row after which a state is complete."""

AFTER_OTHERS = 10.0
"""Loss of worth that puts a request after all others, in score."""


def is_complete(node: Candidate) -> bool:
    """Return whether a state is not asked for next states any more."""
    return node.poor_requests >= MAX_POOR_REQUESTS


def close(state: SearchState, node: Candidate) -> None:
    """Close a state with nothing open below it, and what is complete and closed above it."""
    state.tree.close(node, is_complete=is_complete)


def note_request(
    state: SearchState, node: Candidate, answer: Drafts | None, *, k: int, born: int
) -> None:
    """Note what a request for next states brought; None for a call that failed.

    No state at all completes the state: its proposer has no more. So do two requests in a row
    that bring nothing new, the first of which may bring fewer than it was asked for instead.

    Args:
        state: of the search.
        node: that was asked for.
        answer: of the proposer.
        k: states that were asked for.
        born: new states among them.
    """
    offered = 0 if answer is None else len(answer.drafts)
    if born:
        node.poor_requests = int(offered < k)
    elif answer is not None and not offered:
        node.poor_requests = MAX_POOR_REQUESTS
    else:
        node.poor_requests += 1
    if is_complete(node):
        close(state, node)
    if not born:  # else a judge is asked next
        _note_worth(state, node, _loss(state))


def note_judged(state: SearchState, nodes: Iterable[Candidate]) -> None:
    """Note that a judge was to read some states, whether it answered or not."""
    loss = _loss(state)
    changed: dict[NodeId, Candidate] = {}
    for node in nodes:
        if node.children_ids or node.parent_id is None:
            changed[node.node_id] = node
        else:
            node.best_request = None if node.is_closed else request_worth(state, node, loss=loss)
            changed[node.parent_id] = state.tree.nodes[node.parent_id]
    for node in changed.values():
        _note_worth(state, node, loss)


def _loss(state: SearchState) -> float:
    """Return the loss of worth by each request, in score."""
    noise = state.noise
    return WIDENING_SDS * math.sqrt(noise.spread * (1.0 if state.is_exact else noise.reliability))


def request_worth(
    state: SearchState, node: Candidate, *, loss: float | None = None
) -> float | None:
    """Return the worth of asking for next states of a state, in score; None where it is complete.

    After all others come, in this order: states that the judge gave nothing usable of, those
    whose last request was poor, and those that an exact judge found impossible.

    Args:
        state: of the search.
        node: that would be asked.
        loss: of worth by each request, in score, where it is computed already.
    """
    if is_complete(node):
        return None
    is_exact = state.is_exact
    worth, requests = node.mean_score if is_exact else node.own_value, node.expansions
    if node.parent_id is None:
        requests += state.progress.generations
        worth = 1.0 if is_exact else state.noise.grand_mean
    elif worth is None and is_exact and not node.judge_passes:
        worth = 1.0  # its verifier has nothing to say yet
    elif worth is None:
        worth = posterior_means((node,), state.noise)[0] - AFTER_OTHERS * (node.judge_passes > 0)
    elif node.score_sum == 0 and not node.children_ids:
        requests += IMPOSSIBLE_REQUESTS
        worth -= 2 * AFTER_OTHERS * is_exact
    if node.poor_requests:
        worth -= AFTER_OTHERS
    if not requests:
        return worth
    return worth - min(requests * (_loss(state) if loss is None else loss), AFTER_OTHERS / 2)


def _note_worth(state: SearchState, node: Candidate, loss: float) -> None:
    """Bring the worth of a state's requests, as it is now, to the states above it."""
    nodes = state.tree.nodes
    while True:
        best = None if node.is_closed else request_worth(state, node, loss=loss)
        for child_id in node.children_ids:
            child = nodes[child_id]
            worth = child.best_request
            if worth is not None and not child.is_closed and (best is None or worth > best):
                best = worth
        was, node.best_request = node.best_request, best
        if node.parent_id is None or was == best:
            break
        node = nodes[node.parent_id]


def best_request(
    state: SearchState, *, weight: float, taken: set[str], barred: set[str]
) -> Candidate | None:
    """Return the state that is to be asked next; None where nothing may be asked.

    The walk from the start goes where the best request is. With a weight it goes to where less
    was tried as well, as UCT does: children count by their visits, those under way included,
    and a further request of a state by those before it.

    Args:
        state: of the search.
        weight: of the bonus, in score; 0 is greedy.
        taken: states that are not asked.
        barred: states at or below which nothing is asked.
    """
    nodes, sqrt, loss = state.tree.nodes, math.sqrt, _loss(state)
    barred = set(barred)
    while True:
        node = state.tree.top
        while True:
            best, best_worth = None, -math.inf
            bonus = weight * sqrt(2 * math.log(max(node.visits + node.pending_visits, 2)))
            is_taken = node.node_id in taken
            own = None if is_taken else request_worth(state, node, loss=loss)
            if own is not None:
                requests = node.expansions if node.parent_id else state.progress.generations
                best, best_worth = node, own + bonus / sqrt(1 + requests)
            for child_id in node.children_ids:
                child = nodes[child_id]
                worth = child.best_request
                if worth is None or child.is_closed or child_id in barred:
                    continue
                if weight:
                    worth += bonus / sqrt(max(child.visits + child.pending_visits, 1))
                # Of equals the deeper one, which is nearer to an answer.
                if worth > best_worth or (best is node and worth == best_worth):
                    best, best_worth = child, worth
            if best is None or best is node:
                break
            node = best
        if best is not None or node.parent_id is None:
            return best
        barred.add(node.node_id)  # all that is open below it is taken
