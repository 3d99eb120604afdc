"""Planned calls and how they wait for each other, and their rounds.

    Step
    |- PlannedCall   one call
    |- InSequence    each step waits for the one before it
    |- InParallel    steps that start together
    |- Wave          steps that start together, so many at a time
    `- Network       named steps, each waits for some of those before it

A step without calls takes no time, and what waits for it waits for what it waits for.

Everything is measured on one form, `FlatPlan`. A round is a call's place in its longest chain of
waiting. For seconds, see `makespan`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from callwise.calls.call import Purpose, Role

__all__ = [
    "REPAIR_QUOTE_TOKENS",
    "REPAIR_WORDS_TOKENS",
    "BoundTask",
    "BoundTimes",
    "FlatPlan",
    "InParallel",
    "InSequence",
    "Network",
    "PlannedCall",
    "Step",
    "Wave",
    "flatten",
    "moments_of",
    "repair_tokens",
    "rounds",
    "with_calls",
    "with_repairs",
]


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call that a turn will ask.

    Args:
        role: whose limits it counts against, and which model serves it where `model` names none.
        input_tokens: estimated tokens of its prompt.
        output_tokens: estimated tokens of its answer.
        speculative: asked before it is known to be needed.
        is_repairable: whether its answer must have a form, and a wrong one is asked again on
            top of what is planned.
        model: the role or model that a policy asks; empty where it asks that of the role.
    """

    node: str
    role: Role
    purpose: Purpose
    input_tokens: int = 0
    output_tokens: int = 0
    speculative: bool = False
    is_repairable: bool = True
    model: str = ""

    @property
    def served_by(self) -> Role:
        """The role whose endpoint serves it, as far as that is a role's."""
        return Role(self.model) if self.model in tuple(Role) else self.role

    def __post_init__(self) -> None:
        """Refuse negative tokens."""
        if self.input_tokens < 0 or self.output_tokens < 0:
            raise ValueError(f"tokens are at least 0, got {self}")


@dataclass(frozen=True, slots=True)
class InSequence:
    """Steps one after another."""

    steps: tuple["Step", ...] = ()


@dataclass(frozen=True, slots=True)
class InParallel:
    """Steps that start together."""

    steps: tuple["Step", ...] = ()


@dataclass(frozen=True, slots=True)
class Wave:
    """Steps that start together, at most `max_concurrency` at a time.

    A step starts when the one `max_concurrency` places before it has ended, which is
    exact for steps of equal length.
    """

    steps: tuple["Step", ...]
    max_concurrency: int

    def __post_init__(self) -> None:
        """Refuse a wave in which nothing could start."""
        if self.max_concurrency < 1:
            raise ValueError(f"max_concurrency is at least 1, got {self.max_concurrency}")


@dataclass(frozen=True, slots=True)
class Network:
    """Named steps that wait for some of those named before them.

    Args:
        parts: each step by its name, in an order in which they could run one by one.
        waits: for each name the names that it waits for; an absent one waits for none.
    """

    parts: Mapping[str, "Step"]
    waits: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        """Refuse a part that waits for itself, for a later one, or for none that exists."""
        seen: set[str] = set()
        for name in self.parts:
            missing = [other for other in self.waits.get(name, ()) if other not in seen]
            if missing:
                raise ValueError(f"{name!r} waits for {missing[0]!r}, which is not before it")
            seen.add(name)
        unknown = sorted(set(self.waits) - seen)
        if unknown:
            raise ValueError(f"{unknown[0]!r} waits and is no part")


Step = PlannedCall | InSequence | InParallel | Wave | Network


def with_calls(step: Step, change: Callable[[PlannedCall], Step]) -> Step:
    """Return a plan in which every call is what `change` makes of it."""
    match step:
        case PlannedCall():
            return change(step)
        case InSequence(steps):
            return InSequence(tuple(with_calls(inner, change) for inner in steps))
        case InParallel(steps):
            return InParallel(tuple(with_calls(inner, change) for inner in steps))
        case Wave(steps, max_concurrency):
            return Wave(tuple(with_calls(inner, change) for inner in steps), max_concurrency)
        case Network(parts, waits):
            return Network({name: with_calls(part, change) for name, part in parts.items()}, waits)


REPAIR_WORDS_TOKENS = 80
"""Estimated tokens of the words that name the problem in one repair."""

REPAIR_QUOTE_TOKENS = 120
"""Estimated tokens of the part of a wrong answer that a repair quotes, if it is that long."""


def repair_tokens(output_tokens: int) -> int:
    """Return by how much each repair's prompt grows where answers have so many tokens."""
    return min(output_tokens, REPAIR_QUOTE_TOKENS) + REPAIR_WORDS_TOKENS


def _repaired(call: PlannedCall, max_repairs: int) -> Step:
    """Return a call and its repairs, each with the problems before it in its prompt."""
    grown = repair_tokens(call.output_tokens)
    repairs = (
        replace(call, input_tokens=call.input_tokens + times * grown)
        for times in range(1, max_repairs + 1)
    )
    return InSequence((call, *repairs))


def with_repairs(step: Step, max_repairs: int) -> Step:
    """Return the plan with every structured call repaired as often as it may be.

    Args:
        max_repairs: repairs of one call; 0 returns the plan as it is.
    """
    if max_repairs <= 0:
        return step
    return with_calls(
        step, lambda call: _repaired(call, max_repairs) if call.is_repairable else call
    )


@dataclass(frozen=True, slots=True)
class BoundTask:
    """One call and the places of the calls that it waits for, all of them before it."""

    call: PlannedCall
    after: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FlatPlan:
    """A plan's calls in an order in which they could be asked one by one.

    Args:
        ends: for each part of a network the places of the calls that its end waits
            for; empty when it ends immediately.
    """

    tasks: tuple[BoundTask, ...]
    ends: Mapping[str, tuple[int, ...]]


class _Flattening:
    def __init__(self) -> None:
        self.tasks: list[BoundTask] = []
        self.ends: dict[str, tuple[int, ...]] = {}

    def add(self, step: Step, after: tuple[int, ...]) -> tuple[int, ...]:
        """Add a step's calls and return the places that its end waits for."""
        match step:
            case PlannedCall():
                self.tasks.append(BoundTask(step, after))
                return (len(self.tasks) - 1,)
            case InSequence(steps):
                for inner in steps:
                    after = self.add(inner, after)
                return after
            case InParallel(steps):
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


@dataclass(frozen=True, slots=True)
class BoundTimes:
    """Times at which the reply is out and the turn is over, from the turn's start.

    Args:
        reply: rounds or seconds until the reply.
        turn: rounds or seconds until everything has ended; at least `reply`.
    """

    reply: float
    turn: float


def moments_of(
    plan: FlatPlan, ends: Sequence[float], reply_part: str, start: float = 0.0
) -> BoundTimes:
    """Return when the reply is out and the turn over, by when each call ends.

    Args:
        reply_part: the part of its network after which the reply is out; where there
            is none, the reply is out at the end.
        start: where the turn starts: what waits for no call is then over.
    """
    turn = max(ends, default=start)
    reply_ends = plan.ends.get(reply_part)
    if reply_ends is None:
        return BoundTimes(turn, turn)
    return BoundTimes(max((ends[place] for place in reply_ends), default=start), turn)


def rounds(plan: FlatPlan, *, reply_part: str) -> BoundTimes:
    """Return the longest chains of calls: whole numbers. See `moments_of`."""
    ends: list[float] = []
    for task in plan.tasks:
        ends.append(1 + max((ends[other] for other in task.after), default=0.0))
    return moments_of(plan, ends, reply_part)
