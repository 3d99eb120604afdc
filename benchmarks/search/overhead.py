"""Processor time of a search per step, compared with treequest's.

A **step** is one action: asked for, and answered. treequest's step brings one
node: its one answer is a state and its score. Ours are two kinds of step, one that
proposes several candidates and one that judges several, so the time per node is given
as well.

There is no model: every candidate is a text made from a counter, every score is
drawn from the same seeded sequence, and both are made outside the clock. So what is
timed is the search alone. treequest is driven in place, by its `ask_batch` and `tell`;
its default, which copies the tree at each step, costs far more. `classic_uct` is given
a rule score of a constant, since the rules are an argument of it.

Each search is grown to a size and timed over the steps that take it from 10 % below
that size to 10 % above. The searches take turns, several times over, so that whatever
else the machine does falls on all of them; the median of the turns counts.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from lats.actions import Action, JudgeList
from lats.answers import ActionAnswer, Draft, Drafts, Verdict, Verdicts
from lats.classic_uct import ClassicUct
from lats.policy import SearchPolicy
from lats.rule_score import ReplyContext
from lats.search import PosteriorSearch
from lats.search_knobs import EarlyExitKnobs, SearchKnobs

__all__ = ["REFERENCE", "SIZES", "TARGETS_MICROSECONDS", "StepCost", "engines", "measure_overhead"]

SIZES = (100, 1000, 10_000)
"""Nodes of a tree at which a step is timed."""

MAX_SLOW_NODES = 1000
"""Largest tree of `classic_uct`, whose knobs allow 64 rollouts of 16 candidates, and of
AB-MCTS-A, whose time a step grows too fast."""

TARGETS_MICROSECONDS: Mapping[int, float] = MappingProxyType({100: 50.0, 1000: 100.0})
"""Most time that a step of ours should take, by size."""

PLANNED = "listwise, its own size"
"""`listwise` plans 10 calls at most, some 20 candidates; it never has a larger tree."""

REFERENCE = "treequest StandardMCTS"
WINDOW = 0.1
_MANY = 1_000_000

Advance = Callable[[], tuple[int, int]]
"""Makes one round -> nanoseconds, steps. (0, 0) when the search is over."""


@dataclass(frozen=True, slots=True)
class StepCost:
    """Cost of one search at one size.

    Args:
        engine: which search.
        nodes: size of its tree, in candidates.
        step_microseconds: median over the turns, a step.
        node_microseconds: the same a new candidate.
        ratio: a step's time in units of treequest's plain one at this size; None where
            there is none in the run.
        is_ours: whether it is one of `lats`.
    """

    engine: str
    nodes: int
    step_microseconds: float
    node_microseconds: float
    ratio: float | None
    is_ours: bool

    @property
    def target_microseconds(self) -> float | None:
        """Return the most that a step of ours should take at this size; None without a promise."""
        return TARGETS_MICROSECONDS.get(self.nodes) if self.is_ours else None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is kept; None where there is none."""
        target = self.target_microseconds
        return None if target is None else self.step_microseconds <= target


class _Grown:
    """A search that is driven round by round, and how many candidates it has."""

    def __init__(self, advance: Advance, count_nodes: Callable[[], int]) -> None:
        self.advance = advance
        self.count_nodes = count_nodes


def _scores(seed: int) -> Iterator[float]:
    lots = random.Random(seed)
    while True:
        yield min(max(lots.gauss(0.6, 0.15), 0.0), 1.0)


def _ours(search: SearchPolicy, seed: int) -> _Grown:
    scores, made = _scores(seed), iter(range(_MANY))

    def answer(action: Action) -> ActionAnswer:
        if isinstance(action, JudgeList):
            return Verdicts({each: Verdict(score=next(scores)) for each in action.node_ids})
        return Drafts(tuple(Draft(reply=f"reply {next(made)}") for _ in range(action.k)))

    def advance() -> tuple[int, int]:
        began = time.thread_time_ns()
        actions = search.ask()
        spent = time.thread_time_ns() - began
        for action in actions:
            told = answer(action)
            began = time.thread_time_ns()
            search.tell(action.action_id, told)
            spent += time.thread_time_ns() - began
        return (spent, len(actions)) if actions else (0, 0)

    return _Grown(advance, lambda: len(search.tree))


def _treequest(name: str, seed: int) -> _Grown:
    import numpy as np
    import treequest

    algorithm: Any = treequest.StandardMCTS() if name == REFERENCE else treequest.ABMCTSA()
    np.random.seed(seed)  # noqa: NPY002 - the only generator that AB-MCTS-A reads
    scores, made = _scores(seed), iter(range(_MANY))
    held = {"state": algorithm.init_tree()}

    def advance() -> tuple[int, int]:
        told = (f"reply {next(made)}", next(scores))
        began = time.thread_time_ns()
        state, trials = algorithm.ask_batch(held["state"], 1, ["propose"])
        held["state"] = algorithm.tell(state, trials[0].trial_id, told)
        return time.thread_time_ns() - began, 1

    return _Grown(advance, lambda: len(held["state"].tree) - 1)


def _posterior(policy: str, nodes: int) -> Callable[[int], _Grown]:
    def start(seed: int) -> _Grown:
        knobs = SearchKnobs(
            policy=policy,
            max_calls=2 * nodes + 100,
            early_exit=EarlyExitKnobs(enabled=False),
            seed=seed,
        )
        return _ours(PosteriorSearch(knobs), seed)

    return start


def _classic(nodes: int) -> Callable[[int], _Grown]:
    def start(seed: int) -> _Grown:
        knobs = SearchKnobs(
            rollouts=64,
            # 64 rollouts are the most; so a larger tree needs wider expansions.
            expand_k=min(max(-(-nodes * 12 // 640), 2), 16),
            early_exit=EarlyExitKnobs(enabled=False),
            max_top_ups=0,
            seed=seed,
        )
        context = ReplyContext(user_text="hello")
        return _ours(ClassicUct(knobs, context, scorer=lambda *_: 0.5), seed)

    return start


def _listwise(seed: int) -> _Grown:
    knobs = SearchKnobs(
        policy="listwise", max_calls=10, early_exit=EarlyExitKnobs(enabled=False), seed=seed
    )
    return _ours(PosteriorSearch(knobs), seed)


def engines(nodes: int) -> dict[str, Callable[[int], _Grown]]:
    """Return what can be timed at a size, by name: a function of the seed.

    treequest is left out where it is not installed.
    """
    found: dict[str, Callable[[int], _Grown]] = {
        "posterior_uct": _posterior("posterior_uct", nodes),
        "halving": _posterior("halving", nodes),
    }
    if nodes <= MAX_SLOW_NODES:
        found["classic_uct"] = _classic(nodes)
    try:
        import treequest  # noqa: F401
    except ImportError:
        return found
    found[REFERENCE] = partial(_treequest, REFERENCE)
    if nodes <= MAX_SLOW_NODES:
        found["treequest AB-MCTS-A"] = partial(_treequest, "treequest AB-MCTS-A")
    return found


def _timed(grown: _Grown, low: float, high: float) -> tuple[float, float]:
    """Return microseconds a step and a node while a tree grows from `low` to `high` nodes."""
    while grown.count_nodes() < low:
        if not grown.advance()[1]:
            raise RuntimeError(f"a search ended with {grown.count_nodes()} nodes, before {low}")
    first, spent, steps = grown.count_nodes(), 0, 0
    while grown.count_nodes() < high:
        nanoseconds, made = grown.advance()
        if not made:
            break
        spent += nanoseconds
        steps += made
    if not steps:
        raise RuntimeError(f"a search took no step between {low} and {high} nodes")
    nodes = grown.count_nodes() - first
    return spent / steps / 1000, spent / max(nodes, 1) / 1000


def measure_overhead(
    *,
    turns: int = 5,
    sizes: Sequence[int] = SIZES,
    progress: Callable[[str], None] = lambda _line: None,
) -> list[StepCost]:
    """Return the cost of a step of every search at every size.

    Args:
        turns: times that each is grown and timed; the median counts. Larger trees than
            `MAX_SLOW_NODES` are grown once: steps there are many, and growing takes a minute.
        sizes: in nodes.
        progress: called with what is under way.
    """
    rows: list[StepCost] = []
    for nodes in sizes:
        progress(f"overhead at {nodes} nodes")
        starts = engines(nodes)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in starts}
        for turn in range(turns if nodes <= MAX_SLOW_NODES else 1):
            for name, start in starts.items():
                window = (nodes * (1 - WINDOW), nodes * (1 + WINDOW))
                times[name].append(_timed(start(turn), *window))
        rows += _rows(nodes, times)
    return [*_planned(turns), *rows]


def _planned(turns: int) -> list[StepCost]:
    """Return the cost of a whole planned search, a step: `listwise` has no larger tree."""
    times = [_timed(_listwise(turn), 0, _MANY) for turn in range(max(20, turns))]
    size = _listwise(0)
    while size.advance()[1]:
        pass
    return _rows(size.count_nodes(), {PLANNED: times})


def _rows(nodes: int, times: Mapping[str, Sequence[tuple[float, float]]]) -> list[StepCost]:
    medians = {
        name: tuple(statistics.median(column) for column in zip(*pairs, strict=True))
        for name, pairs in times.items()
    }
    reference = medians.get(REFERENCE)
    return [
        StepCost(
            engine=name,
            nodes=nodes,
            step_microseconds=step,
            node_microseconds=node,
            ratio=step / reference[0] if reference else None,
            is_ours=not name.startswith("treequest"),
        )
        for name, (step, node) in medians.items()
    ]
