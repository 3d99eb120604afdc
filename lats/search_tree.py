"""The candidates of a search: a tree under a start that is no candidate itself.

Unlike the classic tree, a node keeps what judges said of it apart from what was backed
up through it: `score_sum / score_count` is the candidate's own mean score, drift removed;
what is backed up is the best of those means, at or below it, as it is believed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from lats.answers import Draft, NodeId, Verdict, path_id
from lats.similarity import identity_key

__all__ = ["Candidate", "Forest"]


@dataclass(slots=True)
class Candidate:
    """One candidate, and what is known of it.

    Args:
        node_id: a digest of the drafts from the start down to this one.
        parent_id: None for the start only.
        depth: edges to the start. 0 for the start, 1 for a candidate from scratch.
        draft: what was proposed.
        birth: candidates born before it, the start included. Starts at 0.
        prior_mean: the score expected of it before any judge read it: its parent's posterior
            mean when it was born, what refining usually adds left out; None for one from
            scratch, where it is the mean of all.
        score_sum: sum of its scores, each with its call's drift removed.
        score_count: how many those are. Starts at 0.
        looks: judge calls that were to read it, failures and missing scores included.
        expansions: calls that went on from it, failures included.
        visits: candidates with a score at or below it.
        pending_visits: expansions under way at or below it.
        own_value: its posterior mean when a judge last read it; None when it was never scored.
        best_value: of an answer the best own value at or below it; of a step with scored
            children the best below it. None when there is none.
        is_closed: whether nothing at or below it can be expanded any more.
        verdict: the last that a judge said of it; None when nothing usable was said.
        checks: whether it passed, by check, over all calls.
        children_ids: in the order of their birth.
    """

    node_id: NodeId
    parent_id: NodeId | None
    depth: int
    draft: Draft
    birth: int
    prior_mean: float | None = None
    score_sum: float = 0.0
    score_count: int = 0
    looks: int = 0
    expansions: int = 0
    visits: int = 0
    pending_visits: int = 0
    own_value: float | None = None
    best_value: float | None = None
    is_closed: bool = False
    verdict: Verdict | None = None
    checks: dict[str, bool] = field(default_factory=dict)
    children_ids: list[NodeId] = field(default_factory=list)

    @property
    def mean_score(self) -> float | None:
        """Mean of its scores, drift removed; None when it has none."""
        return self.score_sum / self.score_count if self.score_count else None


class Forest:
    """All candidates by id, in the order of their birth. The first is the start."""

    def __init__(self, start: Draft) -> None:
        top = Candidate(path_id(None, start.reply), None, 0, start, 0)
        self.nodes: dict[NodeId, Candidate] = {top.node_id: top}
        self.start_id = top.node_id
        self._keys: set[str] = set()

    @classmethod
    def restored(cls, nodes: list[Candidate]) -> "Forest":
        """Return a forest of the candidates of a saved one.

        Raises:
            ValueError: when they do not form one tree under a start.
        """
        if not nodes or nodes[0].parent_id is not None:
            raise ValueError("the first candidate is the start, and has no parent")
        forest = cls(nodes[0].draft)
        forest.nodes = {}
        for place, node in enumerate(nodes):
            if node.birth != place or node.node_id in forest.nodes:
                raise ValueError(f"candidate {node.node_id} is out of place")
            if place:
                parent = None if node.parent_id is None else forest.nodes.get(node.parent_id)
                if parent is None or node.node_id not in parent.children_ids:
                    raise ValueError(f"candidate {node.node_id} is no child of an earlier one")
                if node.depth != parent.depth + 1:
                    raise ValueError(f"candidate {node.node_id} has depth {node.depth}")
            if node.node_id != path_id(node.parent_id, node.draft.reply):
                raise ValueError(f"candidate {node.node_id} is not what its id says")
            forest.nodes[node.node_id] = node
        if nodes[0].depth:
            raise ValueError(f"the start has depth {nodes[0].depth}")
        if sum(len(node.children_ids) for node in nodes) != len(nodes) - 1:
            raise ValueError("a child is listed that is not there")
        forest.start_id = nodes[0].node_id
        forest._keys = {identity_key(node.draft.reply) for node in nodes[1:]}
        return forest

    def __len__(self) -> int:
        """Return how many candidates there are, the start left out."""
        return len(self.nodes) - 1

    @property
    def start(self) -> Candidate:
        """The start; no candidate."""
        return self.nodes[self.start_id]

    @property
    def candidates(self) -> Iterator[Candidate]:
        """All but the start, in the order of their birth."""
        nodes = iter(self.nodes.values())
        next(nodes)
        return nodes

    def children(self, node: Candidate) -> list[Candidate]:
        """Return a node's children in the order of their birth."""
        return [self.nodes[child_id] for child_id in node.children_ids]

    def knows(self, key: str) -> bool:
        """Return whether a candidate with this `identity_key` is there."""
        return key in self._keys

    def path_to_start(self, node_id: NodeId) -> Iterator[Candidate]:
        """Yield a node, its parent, and so on up to the start."""
        step: NodeId | None = node_id
        while step is not None:
            node = self.nodes[step]
            yield node
            step = node.parent_id

    def add(self, parent: Candidate, draft: Draft, *, prior_mean: float | None) -> Candidate | None:
        """Return a new child of a node; None where it has this very child."""
        node_id = path_id(parent.node_id, draft.reply)
        if node_id in self.nodes:
            return None
        node = Candidate(
            node_id, parent.node_id, parent.depth + 1, draft, len(self.nodes), prior_mean
        )
        self.nodes[node_id] = node
        self._keys.add(identity_key(draft.reply))
        parent.children_ids.append(node_id)
        return node

    def close(self, node: Candidate) -> None:
        """Mark a node as not worth expanding, and what that closes above it."""
        for step in self.path_to_start(node.node_id):
            if not all(child.is_closed for child in self.children(step)):
                return
            step.is_closed = True
