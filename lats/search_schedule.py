"""Schedule of a search: generations, judge passes and refinements by the calls that are left.

Without refinement, which is the default:

    1: one candidate
    2 and more: 1 generation (wide), all others are passes

So a smaller search asks the first calls of a larger one, word for word. With refinement, from 5
calls on:

    5: 1 generation (wide), 2 passes, refine, pass
    6: 2 generations, 2 passes, refine, pass
    7: 2 generations, 3 passes, refine, pass       8: as 6, and refine, pass once more; and so on

A third generation takes the place of the third pass where `max_candidates` allows one.

A wide generation asks for half more candidates: one call for them in place of two leaves
a call for another reading. Several proposers each get a generation. Generations travel
together, and so do passes: 2 rounds, and 2 more for each refinement.

Judge calls: batching, reading order, rubric, number of passes. Judges favour places (arXiv
2406.07791), so each seeded order is followed by its reverse: over such a pair of passes every
candidate has the same mean place.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lats.actions import Action, JudgeList
from lats.answers import NodeId
from lats.judges import judge_and_rubric
from lats.posterior import posterior_means
from lats.ranking import is_judged, leading
from lats.result import StopReason
from lats.search_state import SearchState
from lats.search_tree import Candidate

__all__ = [
    "REFINE_CALLS",
    "CallsLeft",
    "Pick",
    "Strategy",
    "close_bracket_round",
    "first_generations",
    "first_passes",
    "judge_round",
    "next_of_bracket",
    "passes_allowed",
    "reading_order",
    "root_generations",
    "split",
    "unread",
    "with_anchors",
]

MANY = 1 << 30


@dataclass(frozen=True, slots=True)
class CallsLeft:
    """Calls that the next rounds may still spend.

    `calls` is the least of the knobs' cap and the driver's remaining calls, `proposer` and
    `judge` are those of the two models.
    """

    calls: int
    proposer: int = MANY
    judge: int = MANY

    def at_most(self, calls: int) -> "CallsLeft":
        """Return the same with no more than that many calls."""
        return replace(self, calls=min(self.calls, calls))

    @property
    def judge_calls(self) -> int:
        """Judge calls that fit if nothing else is asked."""
        return min(self.calls, self.judge)

    @property
    def proposer_calls(self) -> int:
        """Proposer calls that fit if nothing else is asked."""
        return min(self.calls, self.proposer)

    def fits(self, *, proposer: int = 0, judge: int = 0) -> bool:
        """Return whether that many calls fit together."""
        return proposer + judge <= self.calls and proposer <= self.proposer and judge <= self.judge


Strategy = Callable[[SearchState, CallsLeft], list[Action] | StopReason]
"""One policy: the actions of the next round, all of which travel together, or why to stop.

The actions fit into the calls left. `StopReason.CAP`: nothing useful fits any more, whatever
binds. A strategy is a function of the state and keeps nothing."""

Pick = Callable[[SearchState, Sequence[Candidate]], Candidate]
"""Choice of the answer among the candidates that may be one, at least one, the best first.

A function of the state: a search that is saved and loaded again must choose the same."""

REFINE_CALLS = 2
"""Calls that a refinement takes at least: one to propose, one to judge."""


def first_generations(cap: int, *, can_refine: bool, proposers: int = 1) -> int:
    """Return how many calls from scratch a search of `cap` calls, at least 1, begins with."""
    if can_refine and cap >= 4 + REFINE_CALLS:
        return 2 + cap % 2
    return max(min(proposers, cap - 2), 1)


def first_passes(calls: int, *, can_refine: bool) -> int:
    """Return the passes over candidates from scratch, of the calls left, at least 1."""
    if can_refine and calls >= 2 + REFINE_CALLS:
        return 2 + calls % REFINE_CALLS
    return calls


def root_generations(cap: int) -> int:
    """Return how many calls from scratch a search by halving begins with."""
    if cap <= 3:
        return 1 if cap <= 2 else 2
    return min(2 + cap // 8, 4)


def split(total: int, size: int) -> list[int]:
    """Return numbers of candidates that add up to `total`, none above `size`."""
    return [min(size, total - start) for start in range(0, total, size)]


def reading_order(node_ids: Sequence[NodeId], *, seed: int, pass_index: int) -> tuple[NodeId, ...]:
    """Return candidates in the order in which a judge call reads them.

    `pass_index` counts the search's passes from 0. An odd one reverses the order of the even one
    before it, for candidates that both read.
    """
    pair_seed = f"{seed}/{pass_index // 2}/"
    lots = [
        (hashlib.blake2b((pair_seed + node_id).encode(), digest_size=8).digest(), node_id)
        for node_id in node_ids
    ]
    lots.sort(reverse=pass_index % 2 == 1)
    return tuple([node_id for _, node_id in lots])


def unread(state: SearchState) -> list[Candidate]:
    """Return the candidates that wait for a judge, in the order of their birth.

    Those are the youngest. After a round without a usable verdict, candidates that it
    was to read wait once more.
    """
    if not state.task.has_judge:
        return []
    waiting: list[Candidate] = []
    is_unjudged = state.progress.unjudged_rounds > 0
    for node in reversed(state.tree.nodes.values()):
        if node.draft.verified is not None:
            continue  # settled without a judge
        was_asked = node.judge_passes > 0 and not is_unjudged
        if was_asked or node.parent_id is None or is_judged(node):
            break
        waiting.append(node)
    return waiting[::-1]


def with_anchors(state: SearchState, fresh: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates that no judge has read, and the leaders of those that were read.

    The leaders tie the new call to the earlier ones, and are compared with the new candidates.
    Under agreement every candidate is read: all checks are for all.
    """
    if state.knobs.judging == "agreement":
        return [node for node in state.tree.candidates if node.draft.verified is None]
    new = {node.node_id for node in fresh}
    anchors = [node for node in leading(state, state.knobs.leaders) if node.node_id not in new]
    return [*anchors, *fresh]


def passes_allowed(state: SearchState, nodes: Sequence[Candidate]) -> int:
    """Return how often the judge may still read all of these."""
    if not state.task.has_judge:
        return 0
    return max(state.max_passes - max([node.judge_passes for node in nodes], default=0), 0)


def _chunks(ordered: Sequence[NodeId], max_items: int) -> list[tuple[NodeId, ...]]:
    """Return calls that together read all, of nearly equal size.

    Where it takes several, the first candidate is read in each of them, as their anchor.
    """
    if len(ordered) <= max_items:
        return [tuple(ordered)]
    anchor, rest = ordered[0], ordered[1:]
    count = -(-len(rest) // (max_items - 1))
    return [(anchor, *rest[place::count]) for place in range(count)]


def judge_round(
    state: SearchState, nodes: Sequence[Candidate], left: CallsLeft, *, passes: int
) -> list[Action]:
    """Return the judge calls of some passes over candidates, all of one round.

    Where `left` is too little, passes, and then candidates at the end, are left out; the best
    known go first.
    """
    progress, knobs = state.progress, state.knobs
    ids = [node.node_id for node in nodes]
    calls: list[Action] = []
    for number in range(progress.passes, progress.passes + passes):
        judge, rubric = judge_and_rubric(number, state.judges, knobs.rubrics, state.readings)
        if knobs.judging == "pointwise":
            lists: list[tuple[NodeId, ...]] = [(node_id,) for node_id in ids]
        else:
            ordered = reading_order(ids, seed=knobs.seed, pass_index=number)
            # Checks are for all, so agreement has no use for calls that read a part.
            max_items = len(ids) if knobs.judging == "agreement" else knobs.max_items
            lists = _chunks(ordered, max_items)
        for node_ids in lists:
            if len(calls) == left.judge_calls:
                return calls
            index = progress.judge_calls + len(calls)
            calls.append(JudgeList(node_ids, index, rubric, judge=judge))
    return calls


def close_bracket_round(state: SearchState) -> None:
    """Keep the better of each pair that was judged, and the one without a pair; name the last.

    A pair is decided by its own call, which read both; their earlier scores come from calls
    with other rivals.
    """
    progress = state.progress
    if not progress.bracket:
        return
    nodes, losers = state.nodes(progress.bracket), set(progress.losers)
    worth = [
        (node.node_id not in losers, mean, -node.birth, node.node_id)
        for node, mean in zip(nodes, posterior_means(nodes, state.noise), strict=True)
    ]
    pairs = range((len(nodes) + 1) // 2)
    progress.bracket = [max(worth[place], worth[-1 - place])[-1] for place in pairs]
    if progress.champion in progress.losers:
        progress.champion = None
    if len(progress.bracket) == 1:
        progress.champion = progress.bracket[0]
    progress.losers = []


def next_of_bracket(state: SearchState, left: CallsLeft) -> list[Action]:
    """Return the next round of a knock-out: the first of the bracket against the last, and so on.

    A single-elimination tournament; the reading order of a pair is drawn by seed. It ends
    when one is left, or when a whole round does not fit.
    """
    progress = state.progress
    nodes = progress.bracket
    pairs = len(nodes) // 2
    if not pairs or left.judge_calls < pairs:
        progress.bracket = []
        return []
    judge, rubric = judge_and_rubric(
        progress.passes, state.judges, state.knobs.rubrics, state.readings
    )
    return [
        JudgeList(
            reading_order(
                [nodes[place], nodes[len(nodes) - 1 - place]],
                seed=state.knobs.seed,
                pass_index=progress.judge_calls + place,
            ),
            progress.judge_calls + place,
            rubric,
            judge=judge,
        )
        for place in range(pairs)
    ]
