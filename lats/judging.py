"""Judge rounds: who is read beside whom, in which order, by which rubric, how often."""

from collections.abc import Sequence

from lats.candidate import Candidate
from lats.moves import JudgeList
from lats.ordering import reading_order
from lats.posterior import belief
from lats.search_state import SearchState
from lats.standing import is_heard, leading
from lats.strategy import Left
from lats.tree import NodeId

__all__ = [
    "close_bracket_round",
    "judge_round",
    "next_of_bracket",
    "open_bracket",
    "passes_allowed",
    "unread",
    "with_anchors",
]


def unread(state: SearchState) -> list[Candidate]:
    """Return the candidates that wait for a judge, in the order of their birth.

    Those are the youngest. After a round in which no judge was heard, candidates that it
    was to read wait once more.
    """
    waiting: list[Candidate] = []
    is_deaf = state.progress.deaf_rounds > 0
    for node in reversed(state.forest.nodes.values()):
        was_asked = node.looks > 0 and not is_deaf
        if was_asked or node.parent_id is None or is_heard(node):
            break
        waiting.append(node)
    return waiting[::-1]


def with_anchors(state: SearchState, fresh: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates that no judge has read, beside the leaders of those that were.

    The leaders tie the new call to the earlier ones, and are compared with the new ones
    in the same breath. Under agreement every candidate is read: all checks are for all.
    """
    if state.knobs.judging == "agreement":
        return list(state.forest.candidates)
    new = {node.node_id for node in fresh}
    anchors = [node for node in leading(state, state.knobs.leaders) if node.node_id not in new]
    return [*anchors, *fresh]


def passes_allowed(state: SearchState, nodes: Sequence[Candidate]) -> int:
    """Return how often the judge may still read all of these."""
    if state.knobs.judging == "agreement":
        return state.cap
    return max(state.knobs.max_passes - max((node.looks for node in nodes), default=0), 0)


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
    state: SearchState, nodes: Sequence[Candidate], left: Left, *, passes: int
) -> list[JudgeList]:
    """Return the judge calls of some passes over candidates, all of one round.

    Args:
        state: of the search.
        nodes: whom to read; at least one.
        left: what may be spent. Passes, and then candidates at the end, are left out where
            it is too little; the best known go first.
        passes: times that each is read, at least 1.
    """
    progress, knobs = state.progress, state.knobs
    calls: list[JudgeList] = []
    for number in range(progress.passes, progress.passes + passes):
        rubric = knobs.rubrics[number % len(knobs.rubrics)]
        if knobs.judging == "pointwise":
            lists: list[tuple[NodeId, ...]] = [(node.node_id,) for node in nodes]
        else:
            ids = [node.node_id for node in nodes]
            ordered = reading_order(ids, seed=knobs.seed, look=number)
            # Checks are for all, so agreement has no use for calls that read a part.
            is_whole = knobs.judging == "agreement"
            lists = [ordered] if is_whole else _chunks(ordered, knobs.max_items)
        for node_ids in lists:
            if len(calls) == left.judge_calls:
                return calls
            calls.append(JudgeList(node_ids, progress.looks + len(calls), rubric))
    return calls


def open_bracket(state: SearchState, nodes: Sequence[Candidate]) -> None:
    """Begin a knock-out among candidates, seeded by what is known of them."""
    state.progress.bracket = [node.node_id for node in nodes]


def close_bracket_round(state: SearchState) -> None:
    """Let the better of each pair that was judged go on, and who had no pair; name the last.

    A pair is decided by what its own call said: the two were read in the same breath, while
    their earlier scores come from calls beside other rivals.
    """
    progress = state.progress
    if not progress.bracket:
        return
    progress.bracket = _winners(state)
    if progress.champion in progress.losers:
        progress.champion = None
    if len(progress.bracket) == 1:
        progress.champion = progress.bracket[0]
    progress.losers = []


def _winners(state: SearchState) -> list[NodeId]:
    nodes, losers = state.nodes(state.progress.bracket), set(state.progress.losers)
    halves = (len(nodes) + 1) // 2
    winners = []
    for place in range(halves):
        rival = len(nodes) - 1 - place
        pair = [nodes[place]] if rival <= place else [nodes[place], nodes[rival]]
        best = max(
            pair,
            key=lambda node: (
                node.node_id not in losers,
                belief(node, state.noise).mean,
                -node.birth,
            ),
        )
        winners.append(best.node_id)
    return winners


def next_of_bracket(state: SearchState, left: Left) -> list[JudgeList]:
    """Return the next round of a knock-out: the first of the bracket against the last, and so on.

    A single-elimination tournament; who of a pair is read first is drawn by seed. It ends
    when one is left, or when a whole round does not fit.

    Args:
        state: of the search; its bracket says who is still in.
        left: what may be spent.
    """
    progress = state.progress
    nodes = progress.bracket
    pairs = len(nodes) // 2
    if not pairs or left.judge_calls < pairs:
        progress.bracket = []
        return []
    rubric = state.knobs.rubrics[progress.passes % len(state.knobs.rubrics)]
    return [
        JudgeList(
            reading_order(
                [nodes[place], nodes[len(nodes) - 1 - place]],
                seed=state.knobs.seed,
                look=progress.looks + place,
            ),
            progress.looks + place,
            rubric,
        )
        for place in range(pairs)
    ]
