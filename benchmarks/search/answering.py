"""Answers to proposals, out of a recorded prompt, and what they are counted as.

Proposers get recorded candidates, judges recorded samples. Where the record is dry, a
request brings nothing and was paid all the same. The classic search is answered as the
others are: its root plan is one candidate (in a tree the task itself, which nobody
judged), its expansions and top-ups are the next candidates, and its judge requests read
one candidate each.

A recorded candidate has no strategy tag. Each gets a number for one, since candidates
without tags would make the classic search pay a top-up that real ones would not.
"""

from benchmarks.search.pools import OVERALL, Item, PoolPrompt
from lats.actions import (
    CheckAssistant,
    ExpandNode,
    Generate,
    JudgeList,
    Move,
    PlanRoot,
    Proposal,
    Refine,
    TopUp,
)
from lats.answers import Draft, Drafts, NodeId, Verdicts
from lats.judgement import Judgement
from lats.policy import Answer, SearchPolicy

__all__ = ["Recorded"]

_PAYLOAD = "item"


class Recorded:
    """Answers proposals from the record, and counts.

    Args:
        prompt: asked.
        search: whose tree says which candidate a proposal is about.
    """

    def __init__(self, prompt: PoolPrompt, search: SearchPolicy) -> None:
        self._prompt = prompt
        self._search = search
        self._by_id: dict[str, Item] = {}
        self.completions = 0
        self.items = 0

    def item_of(self, draft: Draft) -> Item:
        """Return the item that a draft was made of."""
        return self._by_id[draft.payload[_PAYLOAD]]

    def answer(self, move: Proposal | Move) -> Answer:
        """Return the recorded answer to one proposal."""
        match move:
            case PlanRoot():
                start = self._prompt.start
                return self._drafts(self._prompt.generate(1) if start is None else [start])
            case Generate():
                return self._drafts(self._prompt.generate(move.k))
            case ExpandNode() | TopUp():
                return self._drafts(self._prompt.expand(self._item(move.node_id), move.k))
            case Refine():
                return self._drafts(self._prompt.expand(self._item(move.node_ids[0]), move.k))
            case JudgeList():
                return self._verdicts(move)
            case CheckAssistant():
                self.items += 1
                return Judgement()
            case _:
                return self._judgement(move.node_id)

    def _item(self, node_id: NodeId) -> Item:
        return self.item_of(self._search.tree.nodes[node_id].draft)

    def _drafts(self, items: list[Item]) -> Drafts:
        drafts: list[Draft] = []
        for item in items:
            self._by_id[item.item_id] = item
            tag = f"{self.completions + len(drafts):02d}"
            drafts.append(
                Draft(
                    reply=item.text,
                    strategy_tag=tag,
                    payload={_PAYLOAD: item.item_id},
                    is_step=item.is_step,
                )
            )
        self.completions += len(drafts)
        return Drafts(drafts=tuple(drafts))

    def _verdicts(self, move: JudgeList) -> Verdicts:
        items = [self._item(node_id) for node_id in move.node_ids]
        self.items += len(items)
        said = self._prompt.judge(items, move.rubric)
        by_id = {
            node_id: verdict
            for node_id, verdict in zip(move.node_ids, said, strict=True)
            if verdict is not None
        }
        return Verdicts(by_id)

    def _judgement(self, node_id: NodeId) -> Judgement:
        self.items += 1
        (said,) = self._prompt.judge([self._item(node_id)], OVERALL)
        return Judgement() if said is None else Judgement(score=said.score)
