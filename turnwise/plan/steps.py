"""What a plan is made of: calls, and how they wait for each other.

    Step
    |- PlannedCall   one call
    |- Serial        each step waits for the one before it
    |- Parallel      steps that start together
    |- Wave          steps that start together, so many at a time
    `- Network       named steps, each waits for some of those before it

A step without calls takes no time, and what waits for it waits for what it waits for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from turnwise.calls.call import Purpose, Role

__all__ = ["Network", "Parallel", "PlannedCall", "Serial", "Step", "Wave", "with_calls"]


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call that a turn will ask.

    Args:
        node: the node that asks.
        role: which model serves it.
        purpose: what for.
        input_tokens: estimated tokens of its prompt.
        output_tokens: estimated tokens of its answer.
        speculative: asked before it is known to be needed.
        is_repairable: whether its answer must have a form, and a wrong one is asked again on
            top of what is planned.
    """

    node: str
    role: Role
    purpose: Purpose
    input_tokens: int = 0
    output_tokens: int = 0
    speculative: bool = False
    is_repairable: bool = True

    def __post_init__(self) -> None:
        """Refuse negative tokens."""
        if self.input_tokens < 0 or self.output_tokens < 0:
            raise ValueError(f"tokens are at least 0, got {self}")


@dataclass(frozen=True, slots=True)
class Serial:
    """Steps one after another."""

    steps: tuple["Step", ...] = ()


@dataclass(frozen=True, slots=True)
class Parallel:
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
        strangers = sorted(set(self.waits) - seen)
        if strangers:
            raise ValueError(f"{strangers[0]!r} waits and is no part")


Step = PlannedCall | Serial | Parallel | Wave | Network


def with_calls(step: Step, change: Callable[[PlannedCall], Step]) -> Step:
    """Return a plan in which every call is what `change` makes of it."""
    match step:
        case PlannedCall():
            return change(step)
        case Serial(steps):
            return Serial(tuple(with_calls(inner, change) for inner in steps))
        case Parallel(steps):
            return Parallel(tuple(with_calls(inner, change) for inner in steps))
        case Wave(steps, max_concurrency):
            return Wave(tuple(with_calls(inner, change) for inner in steps), max_concurrency)
        case Network(parts, waits):
            return Network({name: with_calls(part, change) for name, part in parts.items()}, waits)
