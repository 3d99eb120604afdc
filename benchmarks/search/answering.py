"""Answers to proposals, out of a recorded prompt, and what they are counted as.

Proposers get recorded candidates, judges recorded samples. Where the record is exhausted, a
request brings nothing and was paid all the same. The classic search is answered as the
others are: its root plan is one candidate (in a tree the task itself, which is not
judged), its expansions and top-ups are the next candidates, and its judge requests read
one candidate each.

A recorded candidate has no strategy tag. Each gets a number for one, since candidates
without tags would make the classic search pay a top-up that real ones would not.
"""

from benchmarks.search.pools import OVERALL, Item, PoolPrompt
from lats.actions import Action, Generate, JudgeList, Refine
from lats.answers import ActionAnswer, Draft, Drafts, NodeId, Verdict, Verdicts
from lats.classic_uct import ASSISTANT_CHECK, SINGLE
from lats.policy import SearchPolicy

__all__ = ["Recorded"]

_PAYLOAD = "item"


class Recorded:
    """Answers proposals from the record, and counts.

    Args:
        prompt: asked.
        search: its tree gives the candidate that a proposal is about.
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

    def answers(self) -> list[Item]:
        """Return all items that were handed out and are answers, or all where none is one."""
        items = list(self._by_id.values())
        return [item for item in items if not item.is_step] or items

    def answer(self, action: Action) -> ActionAnswer:
        """Return the recorded answer to one action."""
        match action:
            case Generate(prompt="plan"):
                start = self._prompt.start
                return self._drafts(self._prompt.generate(1) if start is None else [start])
            case Generate():
                return self._drafts(self._prompt.generate(action.k))
            case Refine():
                return self._drafts(self._prompt.expand(self._item(action.node_ids[0]), action.k))
            case JudgeList():
                return self._verdicts(action)

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
                    key=item.key,
                )
            )
        self.completions += len(drafts)
        return Drafts(drafts=tuple(drafts))

    def _verdicts(self, action: JudgeList) -> Verdicts:
        items = [self._item(node_id) for node_id in action.node_ids]
        self.items += len(items)
        if action.rubric == ASSISTANT_CHECK:
            return Verdicts({})
        is_single = action.rubric == SINGLE
        said = self._prompt.judge(items, OVERALL if is_single else action.rubric)
        by_id = {
            node_id: Verdict(score=verdict.score) if is_single else verdict
            for node_id, verdict in zip(action.node_ids, said, strict=True)
            if verdict is not None
        }
        return Verdicts(by_id)
