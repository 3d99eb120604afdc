"""What a task of one's own is made of, and what its proposer and judge are told."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from lats.verdict import Verdict

__all__ = ["Leader", "Look", "Origin", "Problem", "Score"]

StateT = TypeVar("StateT")

Score = float | Verdict | None
"""What a judge says of a state: a figure in [0, 1], the higher the better (True is 1); a
`Verdict`, for sub-scores, checks or words; None, like NaN, where it has nothing to say."""


@dataclass(frozen=True)
class Leader(Generic[StateT]):
    """A state that the search goes on from, and what is known of it.

    Args:
        state: the state.
        mean_score: mean of its scores, drift removed; None when it has none.
        verdict: the last that the judge said of it; None when nothing.
    """

    state: StateT
    mean_score: float | None
    verdict: Verdict | None


@dataclass(frozen=True)
class Origin(Generic[StateT]):
    """What a proposer may want to know beside the state that it goes on from.

    Args:
        attempt: times that this state was gone on from before, or that states were asked for
            from the start. Starts at 0. Another attempt should bring other states.
        leaders: what to go on from, the best first, the state itself in front; none when
            states are asked for from the start. Where states are whole answers there may be
            several to learn from.
        guidelines: what earlier states kept getting wrong, in words.
    """

    attempt: int
    leaders: tuple[Leader[StateT], ...] = ()
    guidelines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """Which judge call this is.

    Args:
        number: judge calls before it in this search. Starts at 0. The same states may come
            again under another number: another opinion is wanted then, not a cached one.
        rubric: name of the rubric to judge by, from the knob `rubrics`.
    """

    number: int
    rubric: str


def _always(_state: object) -> bool:
    return True


@dataclass(frozen=True)
class Problem(Generic[StateT]):
    """A task: what its states are, who proposes them and who judges them.

    Args:
        state_type: type of the states: anything that pydantic's `TypeAdapter` writes as JSON
            and reads back, such as `tuple[int, ...]`, a dataclass or a model.
        propose: `(state, k, origin) -> states`: at most `k` states that follow from one, from
            `start` at first. More are dropped, fewer are fine, none says that it leads
            nowhere. Reads no more than `16 * k` of an iterator.
        judge: `(states, look) -> scores`, one `Score` a state, in their order.
        is_answer: whether a state may be the answer. States that may not are steps towards
            one; every state may by default.
        text: what tells states apart and is drawn of them; their JSON by default. States of
            equal text are one.
        start: what the first states follow from; None where they come from nothing.
        failures: exceptions of `propose` and `judge` that cost the search that call and no
            more. All others end it and reach the caller.
        refusals: exceptions that say that nothing more can be asked; the search ends with the
            best so far.
    """

    state_type: Any
    propose: Callable[
        [StateT | None, int, Origin[StateT]], Iterable[StateT] | Awaitable[Iterable[StateT]]
    ]
    judge: Callable[[Sequence[StateT], Look], Iterable[Score] | Awaitable[Iterable[Score]]]
    is_answer: Callable[[StateT], bool] = field(default=_always, kw_only=True)
    text: Callable[[StateT], str] | None = field(default=None, kw_only=True)
    start: StateT | None = field(default=None, kw_only=True)
    failures: tuple[type[Exception], ...] = field(default=(), kw_only=True)
    refusals: tuple[type[Exception], ...] = field(default=(), kw_only=True)
