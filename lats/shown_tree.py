"""The records that a search's tree is drawn from, and how a text becomes fit to be shown."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lats.result import StopReason

__all__ = ["ShownNode", "ShownTree", "plain_line"]

_JOINERS = frozenset("\u200c\u200d")
"""Invisible, and needed: they make one sign of several."""


@dataclass(frozen=True, slots=True)
class ShownNode:
    """One node of a drawn tree. Its texts are untrusted; whoever draws makes them harmless.

    Args:
        node_id: unique in the tree.
        parent_id: of a node before it; None for the top.
        depth: edges to the top. 0 for the top.
        strategy_tag: the proposer's word for what it tries; may be blank.
        reply: the whole text.
        visits: values backed up through it.
        mean_value: posterior mean of its score; of a classic search, the mean of its visits.
            None where no judge was heard on it.
        sd: posterior standard deviation of its score; None where it is not known.
        scores: scores of its own that went into it; a classic search keeps at most one.
        looks: judge calls that were to read it, failures included.
        calls: its share of the calls, as the head of `lats/shown_nodes.py` says;
            None when not known.
        judge_score: the overall score that the judge gave last; None when missing.
        rule_score: of a classic search, the score by rule.
        assistantness: of a classic search, what the assistant check said.
        attributes: sub-scores that the judge gave last, by name.
        checks_passed: checks that it passed.
        checks_known: checks that were made of it.
        reason: the judge's last words.
        is_start: whether it is what candidates from scratch start from, and none itself.
        is_best: whether the search answers with it.
        is_dropped: whether the search had given it up for better ones.
    """

    node_id: str
    parent_id: str | None
    depth: int
    strategy_tag: str
    reply: str
    visits: int = 0
    mean_value: float | None = None
    sd: float | None = None
    scores: int = 0
    looks: int = 0
    calls: float | None = None
    judge_score: float | None = None
    rule_score: float | None = None
    assistantness: float | None = None
    attributes: Mapping[str, float] = field(default_factory=dict)
    checks_passed: int = 0
    checks_known: int = 0
    reason: str = ""
    is_start: bool = False
    is_best: bool = False
    is_dropped: bool = False


@dataclass(frozen=True, slots=True)
class ShownTree:
    """A tree to draw.

    Args:
        kind: `classic` for `classic_uct`, `posterior` for every other policy.
        nodes: a parent before its children, siblings in the order of their birth. The first
            is the top: of a posterior search the start.
        stop_reason: why the search stopped; None while it has not.
        calls: asked in all.
        rounds: of the search.
        chance_best: probability that no other candidate is better; None when not known.
        was_judged_again: whether a classic search looked at its pick a second time.
        final_score: what came of that; None when missing.
    """

    kind: Literal["classic", "posterior"]
    nodes: tuple[ShownNode, ...]
    stop_reason: StopReason | None
    calls: int
    rounds: int
    chance_best: float | None = None
    was_judged_again: bool = False
    final_score: float | None = None

    @property
    def candidates(self) -> tuple[ShownNode, ...]:
        """All nodes but a start."""
        return tuple(node for node in self.nodes if not node.is_start)

    @property
    def head(self) -> str:
        """Why it stopped and what it took, in one line of our own words."""
        noun = "replies" if self.kind == "classic" else "candidates"
        return (
            f"{self.stop_reason or 'under way'}: {self.calls} calls, {self.rounds} rounds, "
            f"{len(self.candidates)} {noun}"
        )

    def children(self) -> dict[str, list[ShownNode]]:
        """Return the children of every node by its id, in the order of their birth."""
        found: dict[str, list[ShownNode]] = {node.node_id: [] for node in self.nodes}
        for node in self.nodes:
            if node.parent_id is not None:
                found[node.parent_id].append(node)
        return found


def plain_line(text: str, max_chars: int | None = None) -> str:
    """Return a text as one line that can be shown, cut with an ellipsis where it is too long.

    Spaces and line ends become one space. What a terminal or a reader would obey rather
    than show is left out: control characters, and marks that turn the direction of text.
    What cannot be written becomes the replacement character.
    """
    if not text.isascii() or not text.isprintable():
        text = "".join(map(_shown_char, text))
    line = " ".join(text.split())
    if max_chars is None or len(line) <= max_chars:
        return line
    return line[: max_chars - 1] + "…"


def _shown_char(char: str) -> str:
    category = unicodedata.category(char)
    if category in {"Cs", "Cn"}:
        return "\N{REPLACEMENT CHARACTER}"
    if category == "Cc":
        return " " if char.isspace() else ""
    return "" if category == "Cf" and char not in _JOINERS else char
