"""What is drawn of each candidate of a live search, and what it cost.

**What a candidate cost** is its share of the calls that were asked for it: of a proposer
call each child that came of it (and of other calls to the same parent) bears an equal
part, of all judge calls a part by its `looks`. A proposer call that brought no child is
borne by what it went on from. So the shares add up to the calls of the search; only
failed assistant checks of a classic search leave no trace of whose they were.
"""

from lats.actions import Kind
from lats.result import SearchResult
from lats.search_tree import Candidate, Forest
from lats.shown_tree import ShownNode
from lats.tree import Node, Tree

__all__ = ["nodes_of_forest", "nodes_of_tree"]


def nodes_of_forest(forest: Forest, result: SearchResult) -> tuple[ShownNode, ...]:
    """Return the records of a posterior search's candidates, the start first."""
    best_id = None if result.best is None else result.best.node_id
    looks = sum(node.looks for node in forest.candidates)
    per_look = result.asked.get(Kind.JUDGE_LIST, 0) / looks if looks else 0.0
    generations = result.asked.get(Kind.GENERATE, 0)
    dropped = _dropped(forest, set(result.survivors))
    shown = []
    for node in forest.nodes.values():
        calls = node.looks * per_look
        asked = generations if node is forest.start else node.expansions
        calls += 0 if node.children_ids else asked
        if node.parent_id is not None:
            parent = forest.nodes[node.parent_id]
            of_parent = generations if parent is forest.start else parent.expansions
            calls += of_parent / len(parent.children_ids)
        shown.append(
            _of_candidate(
                node,
                result,
                calls=calls,
                is_best=node.node_id == best_id,
                is_dropped=node.node_id in dropped,
            )
        )
    return tuple(shown)


def _dropped(forest: Forest, survivors: set[str]) -> set[str]:
    """Return the nodes below the start that are neither survivors nor below one."""
    dropped: set[str] = set()
    if survivors:
        for node in forest.candidates:
            is_gone = node.depth == 1 and node.node_id not in survivors
            if is_gone or node.parent_id in dropped:
                dropped.add(node.node_id)
    return dropped


def _of_candidate(
    node: Candidate, result: SearchResult, *, calls: float, is_best: bool, is_dropped: bool
) -> ShownNode:
    known = (result.beliefs or {}).get(node.node_id) if node.score_count else None
    verdict = node.verdict
    return ShownNode(
        node_id=node.node_id,
        parent_id=node.parent_id,
        depth=node.depth,
        strategy_tag=node.draft.strategy_tag,
        reply=node.draft.reply,
        visits=node.visits,
        mean_value=node.own_value if known is None else known.mean,
        sd=None if known is None else known.sd,
        scores=node.score_count,
        looks=node.looks,
        calls=calls,
        judge_score=None if verdict is None else verdict.score,
        attributes={} if verdict is None else dict(verdict.attributes),
        checks_passed=sum(node.checks.values()),
        checks_known=len(node.checks),
        reason="" if verdict is None else verdict.reason,
        is_start=node.parent_id is None,
        is_best=is_best,
        is_dropped=is_dropped,
    )


def nodes_of_tree(tree: Tree, best_id: str | None) -> tuple[ShownNode, ...]:
    """Return the records of a classic tree."""
    return tuple(
        _of_node(node, tree, is_best=node.node_id == best_id) for node in tree.nodes.values()
    )


def _of_node(node: Node, tree: Tree, *, is_best: bool) -> ShownNode:
    calls = node.looks + (0 if node.children_ids else node.expansions)
    calls += node.checked_assistantness is not None
    if node.parent_id is None:
        share = 1.0
    else:
        parent = tree.nodes[node.parent_id]
        share = parent.expansions / len(parent.children_ids)
    said = node.judgement
    figures = (
        {} if said is None else said.model_dump(exclude={"score", "reason"}, exclude_none=True)
    )
    return ShownNode(
        node_id=node.node_id,
        parent_id=node.parent_id,
        depth=node.depth,
        strategy_tag=node.draft.strategy_tag,
        reply=node.draft.reply,
        visits=node.visits,
        mean_value=node.mean_value if node.visits else None,
        scores=int(node.judged_score is not None),
        looks=node.looks,
        calls=calls + share,
        judge_score=node.judged_score,
        rule_score=node.fast_score,
        assistantness=node.checked_assistantness,
        attributes=figures,
        reason="" if said is None else said.reason,
        is_best=is_best,
    )
