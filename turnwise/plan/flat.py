"""A plan as a list of calls, each with the calls that it waits for.

Everything that is measured in a plan is measured on this one form, so that counts,
rounds and seconds cannot disagree about what the plan says.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from turnwise.plan.steps import Network, Parallel, PlannedCall, Serial, Step, Wave

__all__ = ["FlatPlan", "Task", "flatten"]


@dataclass(frozen=True, slots=True)
class Task:
    """One call and the places of the calls that it waits for, all of them before it."""

    call: PlannedCall
    after: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FlatPlan:
    """A plan's calls in an order in which they could be asked one by one.

    Args:
        tasks: the calls.
        ends: for each part of a network the places of the calls that its end waits
            for; empty when it ends at once.
    """

    tasks: tuple[Task, ...]
    ends: Mapping[str, tuple[int, ...]]


class _Flattening:
    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.ends: dict[str, tuple[int, ...]] = {}

    def add(self, step: Step, after: tuple[int, ...]) -> tuple[int, ...]:
        """Add a step's calls and return the places that its end waits for."""
        match step:
            case PlannedCall():
                self.tasks.append(Task(step, after))
                return (len(self.tasks) - 1,)
            case Serial(steps):
                for inner in steps:
                    after = self.add(inner, after)
                return after
            case Parallel(steps):
                return self._add_wave(steps, max(len(steps), 1), after)
            case Wave(steps, max_concurrency):
                return self._add_wave(steps, max_concurrency, after)
            case Network():
                return self._add_network(step, after)

    def _add_wave(
        self, steps: tuple[Step, ...], max_concurrency: int, after: tuple[int, ...]
    ) -> tuple[int, ...]:
        ends: list[tuple[int, ...]] = []
        for place, inner in enumerate(steps):
            before = ends[place - max_concurrency] if place >= max_concurrency else ()
            ends.append(self.add(inner, _union(after, before)))
        return _union(*ends) if ends else after

    def _add_network(self, network: Network, after: tuple[int, ...]) -> tuple[int, ...]:
        ends: dict[str, tuple[int, ...]] = {}
        for name, inner in network.parts.items():
            waits = [ends[other] for other in network.waits.get(name, ())]
            ends[name] = self.add(inner, _union(after, *waits))
        self.ends.update(ends)
        return _union(after, *ends.values())


def _union(*places: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({place for group in places for place in group}))


def flatten(step: Step) -> FlatPlan:
    """Return a plan's calls with the calls that each waits for."""
    flattening = _Flattening()
    flattening.add(step, ())
    return FlatPlan(tuple(flattening.tasks), flattening.ends)
