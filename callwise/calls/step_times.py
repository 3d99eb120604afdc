"""Times of the steps before and after calls: processor work, such as reading an answer.

Measured by a clock of the process, so they differ from run to run: they are in no ledger row, no
recording and no file, and a strict replay has its own. `StepTimes.statistics` shows them.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["StepTimes", "timed", "times_kept"]


class StepTimes:
    """Runs and seconds of steps, by name.

    Args:
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self._runs: defaultdict[str, int] = defaultdict(int)
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, name: str, seconds: float) -> None:
        """Count one run of a step."""
        self._runs[name] += 1
        self._seconds[name] += seconds

    def statistics(self) -> Mapping[str, Mapping[str, float]]:
        """Return `runs` and `seconds` of each step, in the order in which the first ones ended."""
        return {
            name: {"runs": runs, "seconds": self._seconds[name]}
            for name, runs in self._runs.items()
        }


_TIMES: ContextVar[StepTimes | None] = ContextVar("step_times", default=None)
"""The counts of the running node's steps; None counts none."""


@contextmanager
def times_kept(times: StepTimes) -> Iterator[None]:
    """Count the steps of this task, and of those it starts."""
    token = _TIMES.set(times)
    try:
        yield
    finally:
        _TIMES.reset(token)


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Count the block as one run of a step, where steps are counted."""
    times = _TIMES.get()
    if times is None:
        yield
        return
    begun = times.clock()
    try:
        yield
    finally:
        times.add(name, times.clock() - begun)
