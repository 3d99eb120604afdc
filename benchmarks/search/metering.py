"""A prompt with a meter: what a peer asks, counted as our own searches are counted.

One call of `generate`, `expand` or `judge` is one request, whatever it brings. A request
that brings nothing was paid all the same.
"""

from collections.abc import Sequence

from benchmarks.search.pools import OVERALL, Item, PoolPrompt
from benchmarks.search.running import Run
from lats.answers import Verdict

__all__ = ["Metered"]


class Metered:
    """One prompt as a peer sees it: candidates and scores, and no truth.

    Args:
        prompt: a fresh one.
        cap: requests that the peer may spend.
    """

    def __init__(self, prompt: PoolPrompt, cap: int) -> None:
        self._prompt = prompt
        self.cap = cap
        self.requests = 0
        self.completions = 0
        self.items = 0
        self.rounds = 0
        self._score_sum = 0.0
        self._scores = 0

    @property
    def left(self) -> int:
        """Requests that still fit."""
        return self.cap - self.requests

    def _pay(self) -> None:
        if self.left < 1:
            raise RuntimeError(f"a peer passed its cap of {self.cap} requests")
        self.requests += 1

    def generate(self, k: int, parent: Item | None = None) -> list[Item]:
        """Return new candidates, from scratch or from a parent; one request."""
        self._pay()
        found = self._prompt.generate(k) if parent is None else self._prompt.expand(parent, k)
        self.completions += len(found)
        return found

    def judge(self, items: Sequence[Item]) -> list[float | None]:
        """Return a score in [0, 1] for each item, None where none came; one request."""
        self._pay()
        self.items += len(items)
        verdicts: list[Verdict | None] = self._prompt.judge(items, OVERALL)
        scores = [None if verdict is None else verdict.score for verdict in verdicts]
        for score in scores:
            if score is not None:
                self._score_sum += score
                self._scores += 1
        return scores

    @property
    def usual_score(self) -> float:
        """Mean of all scores so far, 0.5 before there is one: it replaces a missing one.

        For peers that cannot do without a score. Any other figure would be an opinion.
        """
        return self._score_sum / self._scores if self._scores else 0.5

    def run(self, pick: Item | None, stop_reason: str) -> Run:
        """Return what became of it, in the form of our own searches."""
        return Run(
            truth=self._prompt.random_truth() if pick is None else self._prompt.truth(pick),
            requests=self.requests,
            completions=self.completions,
            items=self.items,
            rounds=self.rounds,
            misses=self._prompt.misses,
            stop_reason=stop_reason,
            expansions=self._prompt.expansions,
            exhausted=self._prompt.exhausted,
        )
