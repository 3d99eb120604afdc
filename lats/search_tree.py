"""The candidates of a search: one tree, with or without a start that is no candidate itself.

A node keeps its own scores apart from the values backed up through it. `score_sum / score_count`
is the candidate's own mean score, drift removed. `classic_uct` backs up the mean of all values
at and below it (`value_sum / visits`), the other policies the best posterior mean at or below
it (`best_value`).

Invariant of `classic_uct`, where `own` is 1 for a node whose own value was backed up and 0
otherwise: `visits = own + the children's visits`, and `value_sum` likewise.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated

from pydantic import Field

from lats.answers import Draft, NodeId, Verdict, path_id

__all__ = ["Candidate", "Count", "SearchTree"]

Count = Annotated[int, Field(ge=0)]
"""A number of things; a saved one below 0 is refused, since a cap could be passed by it."""


@dataclass(slots=True)
class Candidate:
    """One candidate with its scores.

    Args:
        depth: edges to the top. 0 for the top.
        birth: candidates born before it, a start included. Starts at 0.
        prior_mean: of a child of a step the score expected of it before any judge read it: its
            parent's posterior mean when it was born, the usual gain of a step left out. None
            elsewhere: then it follows from the scores of its kind, see `posterior`.
        rule_score: the rule score of the reply by itself, in [0, 1], its siblings left aside,
            so that any two can be compared. `classic_uct` only; None elsewhere.
        score_sum: sum of its scores, each with its call's drift removed.
        judge_passes: judge calls that were to read it, failures and missing scores included.
        expansions: calls that refined it, failures included; of a step, that asked for next ones.
        poor_requests: latest requests for next states in a row that failed, brought nothing
            new, or (the first of them) fewer than were asked for; see `widening`.
        visits: candidates with a score at or below it.
        value_sum: sum of the values backed up, each in [0, 1]. `classic_uct` only.
        pending_visits: expansions under way at or below it.
        own_value: its posterior mean when a judge last read it; None when it was never scored.
        best_value: of an answer the best own value at or below it; of a step with scored
            children the best below it. None when there is none.
        best_request: worth of the best request for next states at or below it, see `widening`;
            None where there is none, and in trees of whole answers.
        is_closed: whether nothing at or below it can be expanded any more.
        verdict: the judge's last one; of `classic_uct` the first. None without a usable one.
        assistantness: result of the assistant check, in [0, 1]; None when unchecked or missing.
        checks: whether it passed, by check, over all calls.
        children_ids: in the order of their birth.
    """

    node_id: NodeId
    parent_id: NodeId | None
    depth: int
    draft: Draft
    birth: int
    prior_mean: float | None = None
    rule_score: float | None = None
    score_sum: float = 0.0
    score_count: Count = 0
    judge_passes: Count = 0
    expansions: Count = 0
    poor_requests: Annotated[Count, Field(exclude_if=lambda count: not count)] = 0
    visits: Count = 0
    value_sum: float = 0.0
    pending_visits: Count = 0
    own_value: float | None = None
    best_value: float | None = None
    best_request: Annotated[float | None, Field(exclude_if=lambda worth: worth is None)] = None
    is_closed: bool = False
    verdict: Verdict | None = None
    assistantness: float | None = None
    checks: dict[str, bool] = field(default_factory=dict)
    children_ids: list[NodeId] = field(default_factory=list)

    @property
    def mean_score(self) -> float | None:
        """Mean of its scores, drift removed, in [0, 1]; None when it has none."""
        if not self.score_count:
            return None
        return min(max(self.score_sum / self.score_count, 0.0), 1.0)

    @property
    def mean_value(self) -> float:
        """Mean of the values backed up, in [0, 1]; 0 when there are none."""
        return self.value_sum / self.visits if self.visits else 0.0


def _always(_node: Candidate) -> bool:
    return True


class SearchTree:
    """All candidates by id, in the order of their birth. The first is the top.

    Args:
        start: the top, from which candidates from scratch descend; None where the first
            candidate is the top.
        identity: a reply's text -> a key; replies of equal keys are the same reply. A draft that
            has a key itself is compared by that instead.
    """

    def __init__(self, start: Draft | None, identity: Callable[[str], str]) -> None:
        self.nodes: dict[NodeId, Candidate] = {}
        self.has_start = start is not None
        self._identity = identity
        self._depth_by_key: dict[str, int] = {}
        self._key_by_reply: dict[str, str] = {}
        if start is not None:
            node_id = path_id(None, start.reply)
            self.nodes[node_id] = Candidate(node_id, None, 0, start, 0)
            self._note_key(self.nodes[node_id])

    @classmethod
    def restored(
        cls, nodes: list[Candidate], identity: Callable[[str], str], *, has_start: bool
    ) -> "SearchTree":
        """Return the tree of saved candidates.

        Raises:
            ValueError: when they do not form one tree.
        """
        if (has_start and not nodes) or (nodes and nodes[0].parent_id is not None):
            raise ValueError("the first candidate is the start, and has no parent")
        tree = cls(None, identity)
        tree.has_start = has_start
        for place, node in enumerate(nodes):
            if node.birth != place or node.node_id in tree.nodes:
                raise ValueError(f"candidate {node.node_id} is out of place")
            if place:
                parent = None if node.parent_id is None else tree.nodes.get(node.parent_id)
                if parent is None or node.node_id not in parent.children_ids:
                    raise ValueError(f"candidate {node.node_id} is no child of an earlier one")
                if node.depth != parent.depth + 1:
                    raise ValueError(f"candidate {node.node_id} has depth {node.depth}")
            elif node.depth:
                raise ValueError(f"the start has depth {node.depth}")
            if node.node_id != path_id(node.parent_id, node.draft.reply):
                raise ValueError(f"candidate {node.node_id} does not match its id")
            tree.nodes[node.node_id] = node
            tree._note_key(node)
        if nodes and sum(len(node.children_ids) for node in nodes) != len(nodes) - 1:
            raise ValueError("a child is listed that is not there")
        return tree

    def _note_key(self, node: Candidate, key: str | None = None) -> None:
        """Note the key of a node; the text alone of a start makes no candidate its duplicate."""
        if node.parent_id is None and self.has_start and not node.draft.key:
            return
        key = self.key_of(node.draft) if key is None else key
        known = self._depth_by_key.get(key)
        if known is None or node.depth < known:
            self._depth_by_key[key] = node.depth

    def __len__(self) -> int:
        """Return the number of candidates, a start left out."""
        return len(self.nodes) - self.has_start

    @property
    def top(self) -> Candidate:
        """The start, or where there is none the first candidate.

        Raises:
            LookupError: when the tree is empty.
        """
        for node in self.nodes.values():
            return node
        raise LookupError("the tree is empty")

    @property
    def candidates(self) -> Iterator[Candidate]:
        """All candidates, a start left out, in the order of their birth."""
        return islice(self.nodes.values(), int(self.has_start), None)

    def children(self, node: Candidate) -> list[Candidate]:
        """Return a node's children in the order of their birth."""
        return [self.nodes[child_id] for child_id in node.children_ids]

    def key_of(self, draft: Draft) -> str:
        """Return the key by which a draft is compared; see `identity`. The tree remembers it."""
        if draft.key:
            return f"\0{draft.key}"  # no text's key begins like this
        key = self._key_by_reply.get(draft.reply)
        if key is None:
            key = self._key_by_reply[draft.reply] = self._identity(draft.reply)
        return key

    def has_key(self, key: str, *, max_depth: int | None = None) -> bool:
        """Return whether there is a candidate of this key, at most so many edges from the top."""
        depth = self._depth_by_key.get(key)
        return depth is not None and (max_depth is None or depth <= max_depth)

    def path_to_top(self, node_id: NodeId) -> Iterator[Candidate]:
        """Yield a node, its parent, and so on up to the top."""
        step: NodeId | None = node_id
        while step is not None:
            node = self.nodes[step]
            yield node
            step = node.parent_id

    def add_pending(self, node_id: NodeId, change: int) -> None:
        """Change the count of expansions under way of a node and all above it."""
        step: NodeId | None = node_id
        while step is not None:
            node = self.nodes[step]
            node.pending_visits += change
            step = node.parent_id

    def add(
        self,
        parent: Candidate | None,
        draft: Draft,
        *,
        prior_mean: float | None = None,
        rule_score: float | None = None,
        key: str | None = None,
    ) -> Candidate | None:
        """Return a new child of a node, or the top; None where the parent has this very child.

        `key` is that of the draft, where it is computed already.

        Raises:
            ValueError: when there is a top already.
        """
        if parent is None and self.nodes:
            raise ValueError("the tree has a top")
        parent_id = None if parent is None else parent.node_id
        node_id = path_id(parent_id, draft.reply)
        if node_id in self.nodes:
            return None
        depth = 0 if parent is None else parent.depth + 1
        node = Candidate(node_id, parent_id, depth, draft, len(self.nodes), prior_mean, rule_score)
        self.nodes[node_id] = node
        self._note_key(node, key)
        if parent is not None:
            parent.children_ids.append(node_id)
        return node

    def close(self, node: Candidate, *, is_complete: Callable[[Candidate], bool] = _always) -> None:
        """Close a node to expansions, and each node above it whose children are all closed.

        A node above must be complete as well, where that is not always so.
        """
        for step in self.path_to_top(node.node_id):
            if not all(child.is_closed for child in self.children(step)):
                return
            if step is not node and not is_complete(step):
                return
            step.is_closed = True
