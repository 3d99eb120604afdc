"""treequest's StandardMCTS and AB-MCTS-A on our prompts, under our cap and our count.

Its generate function returns a state and a score, so a node costs two requests: one
generation of one candidate, and one judge request that reads it. B requests are B / 2
nodes, one after the other. Settings are its defaults; the final pick is its own `top_k`,
which takes the highest raw score, over answers where some candidates are only steps. A
score that never came is given as the mean of those that did, since a node needs one.
Where candidates are steps, an answer that is visited again backs up its own score and
costs nothing, and a step without a recorded next one is reported as a dead end.

**Packed**, it pays as our own searches do: one request proposes `k` children of a node and one
reads them all; the next visits to that node take those that are left, at no cost.

What it can raise ends the benchmark: nothing is caught here.
"""

from typing import Any

import numpy as np

from benchmarks.search.metering import Metered
from benchmarks.search.pools import Item, PoolPrompt
from benchmarks.search.running import Run

__all__ = ["REASON_ABSENT", "is_installed", "treequest_ab_mcts_a", "treequest_mcts"]

NODE_REQUESTS = 2
"""Requests of one node: to propose it, and to score it."""

MAX_FREE_STEPS = 256
"""Visits to finished answers, which cost nothing, after which a search ends."""

DEAD_END = 0.0
"""Score of a step that nothing follows on, reported in the place of a next step's."""

REASON_ABSENT = "treequest is not installed; it is in the `bench` extra"


def is_installed() -> bool:
    """Return whether treequest can be imported."""
    try:
        import treequest  # noqa: F401
    except ImportError:
        return False
    return True


def treequest_mcts(prompt: PoolPrompt, cap: int, *, k: int = 1) -> Run:
    """Return what StandardMCTS picks: UCT with softmax priors, 2 samples an expansion."""
    import treequest

    return _run(treequest.StandardMCTS(), prompt, cap, k)


def treequest_ab_mcts_a(prompt: PoolPrompt, cap: int, *, k: int = 1) -> Run:
    """Return what AB-MCTS-A picks: Thompson sampling over going wider or deeper."""
    import treequest

    return _run(treequest.ABMCTSA(), prompt, cap, k)


def _run(algorithm: Any, prompt: PoolPrompt, cap: int, k: int) -> Run:
    meter = Metered(prompt, cap)
    if cap == 1:
        found = meter.generate(1)
        meter.rounds += 1
        return meter.run(found[0] if found else None, "cap")
    before = np.random.get_state()  # noqa: NPY002 - the one generator that treequest reads
    np.random.seed(prompt.seed % 2**32)  # noqa: NPY002
    try:
        state, reason = _grow(algorithm, _Children(meter, k))
    finally:
        np.random.set_state(before)  # noqa: NPY002
    return meter.run(_pick(algorithm, state), reason)


class _Children:
    """Children of nodes, each with its score, proposed and read `k` at a time."""

    def __init__(self, meter: Metered, k: int) -> None:
        self._meter, self._k = meter, k
        self._waiting: dict[str | None, list[tuple[Item, float]]] = {}

    @property
    def are_left(self) -> bool:
        """Whether any node can have another child."""
        return self._meter.left >= NODE_REQUESTS or any(self._waiting.values())

    def can_have(self, parent: Item | None) -> bool:
        """Return whether another child is paid for already, or can be."""
        is_waiting = bool(self._waiting.get(parent and parent.item_id))
        return is_waiting or self._meter.left >= NODE_REQUESTS

    def next(self, parent: Item | None) -> tuple[Item, float] | None:
        """Return another child; None where there are no more."""
        waiting = self._waiting.setdefault(parent and parent.item_id, [])
        if not waiting:
            found = self._meter.generate(self._k, parent)
            self._meter.rounds += 1
            if found:
                scores = self._meter.judge(found)
                self._meter.rounds += 1
                usual = self._meter.usual_score
                filled = [usual if score is None else score for score in scores]
                waiting += list(zip(found, filled, strict=True))[::-1]
        return waiting.pop() if waiting else None


def _grow(algorithm: Any, children: _Children) -> tuple[Any, str]:
    """Return the tree when the cap is spent, or nothing new comes, and which it was."""
    state, scores, free_steps = algorithm.init_tree(), dict[str, float](), 0
    has_steps = False
    while children.are_left and free_steps < MAX_FREE_STEPS:
        state, trials = algorithm.ask_batch(state, 1, ["propose"])
        parent: Item | None = trials[0].parent_state
        told: tuple[Item | None, float]
        if parent is not None and has_steps and not parent.is_step:
            # A finished answer has no next step: visiting it again backs up its score.
            told, free_steps = (parent, scores[parent.item_id]), free_steps + 1
        elif not children.can_have(parent):
            break
        else:
            found = children.next(parent)
            if found is None and (parent is None or not has_steps):
                return state, "exhausted"
            told = (parent, DEAD_END) if found is None else found
            if found is not None:
                has_steps |= found[0].is_step
                scores[found[0].item_id] = found[1]
        state = algorithm.tell(state, trials[0].trial_id, told)
    return state, "cap"


def _pick(algorithm: Any, state: Any) -> Item | None:
    import treequest

    if not algorithm.get_state_score_pairs(state):
        return None

    def answers_first(pairs: list[tuple[Item, float]]) -> list[tuple[Item, float]]:
        return sorted(pairs, key=lambda pair: (pair[0].is_step, -pair[1]))

    best: Item = treequest.top_k(state, algorithm, 1, ranking_fn=answers_first)[0][0]
    return best
