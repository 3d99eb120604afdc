"""The tree of replies. A node is a whole reply; a child is a variant of its parent.

Invariant, where `own` is 1 for a node whose own value was backed up and 0 otherwise:
`visits = own + the children's visits`, and `value_sum` likewise. So the mean value of a
node is the mean over itself and everything below it that has a value.
"""

from collections.abc import Iterator
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from lats.answers import Draft, NodeId, path_id
from lats.judgement import Judgement
from lats.similarity import text_key

__all__ = ["Node", "Tree"]


class Node(BaseModel):
    """One reply in the tree, and what is known of it."""

    model_config = ConfigDict(extra="forbid")

    node_id: NodeId
    parent_id: NodeId | None
    """None for the root."""

    depth: int
    """Edges to the root. 0 for the root."""

    draft: Draft
    fast_score: float
    """The rule score of the reply by itself, in [0, 1]; its siblings left aside, so that any
    two nodes can be compared."""

    visits: int = 0
    """Values backed up through this node. Starts at 0."""

    value_sum: float = 0.0
    """Sum of those values, each in [0, 1]."""

    judgement: Judgement | None = None
    """The judge's first word on this reply; None when it was never judged."""

    checked_assistantness: float | None = None
    """The assistant check's word, in [0, 1]; None when unchecked or missing."""

    looks: int = 0
    """Times that a judge was asked about this reply, failures included."""

    expansions: int = 0
    """Times that variants of this reply were asked for, failures included."""

    is_closed: bool = False
    """Whether nothing at or below it can be expanded any more."""

    children_ids: list[NodeId] = Field(default_factory=list)

    @property
    def mean_value(self) -> float:
        """Mean of the values backed up, in [0, 1]; 0 when there are none."""
        return self.value_sum / self.visits if self.visits else 0.0

    @property
    def judged_score(self) -> float | None:
        """The judge's overall score, or None when it is missing."""
        return None if self.judgement is None else self.judgement.score


class Tree(BaseModel):
    """All nodes by id, in the order of their birth. The first is the root."""

    model_config = ConfigDict(extra="forbid")

    nodes: dict[NodeId, Node] = {}
    _text_keys: set[str] = PrivateAttr(default_factory=set)

    @model_validator(mode="after")
    def _is_one_tree(self) -> Self:
        listed = [child_id for node in self.nodes.values() for child_id in node.children_ids]
        if len(set(listed)) != len(listed) or not set(listed) <= self.nodes.keys():
            raise ValueError("a child is listed twice, or is not in the tree")
        born: set[NodeId] = set()
        for node_id, node in self.nodes.items():
            if node_id != node.node_id:
                raise ValueError(f"node {node.node_id} stands under the id {node_id}")
            if (node.parent_id is None) != (not born):
                raise ValueError(f"node {node_id} is not the root, and has no parent")
            if node.parent_id is not None and (
                node.parent_id not in born or node_id not in self.nodes[node.parent_id].children_ids
            ):
                raise ValueError(f"node {node_id} is not a child of {node.parent_id}")
            born.add(node_id)
        self._text_keys = {text_key(node.draft.reply) for node in self.nodes.values()}
        return self

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def root(self) -> Node:
        """The root.

        Raises:
            LookupError: when the tree is empty.
        """
        for node in self.nodes.values():
            return node
        raise LookupError("the tree is empty")

    def knows(self, key: str) -> bool:
        """Return whether a reply with this `text_key` stands in the tree."""
        return key in self._text_keys

    def children(self, node: Node) -> list[Node]:
        """Return a node's children in the order of their birth."""
        return [self.nodes[child_id] for child_id in node.children_ids]

    def path_to_root(self, node_id: NodeId) -> Iterator[Node]:
        """Yield a node, its parent, and so on up to the root."""
        step: NodeId | None = node_id
        while step is not None:
            node = self.nodes[step]
            yield node
            step = node.parent_id

    def add(self, parent: Node | None, draft: Draft, *, fast_score: float) -> Node:
        """Return a new node under a parent, or the root when there is none.

        Raises:
            ValueError: when there is a root already, or the parent has this child.
        """
        if parent is None and self.nodes:
            raise ValueError("the tree has a root")
        parent_id = None if parent is None else parent.node_id
        node_id = path_id(parent_id, draft.reply)
        if node_id in self.nodes:
            raise ValueError(f"node {node_id} is in the tree")
        node = Node(
            node_id=node_id,
            parent_id=parent_id,
            depth=0 if parent is None else parent.depth + 1,
            draft=draft,
            fast_score=fast_score,
        )
        self.nodes[node_id] = node
        self._text_keys.add(text_key(draft.reply))
        if parent is not None:
            parent.children_ids.append(node_id)
        return node

    def close(self, node: Node) -> None:
        """Mark a leaf as not worth expanding again, and what that closes above it."""
        for step in self.path_to_root(node.node_id):
            if not all(child.is_closed for child in self.children(step)):
                return
            step.is_closed = True
