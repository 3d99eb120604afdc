"""A user's own task: its states, and the functions that propose, judge and verify them."""

import math
import reprlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Generic, TypeVar

from lats.answers import Verdict
from lats.callables import check_function
from lats.search_state import TaskTraits
from lats.spending import Priced

__all__ = ["JudgedState", "Problem", "ProblemPass", "ProposalContext", "Score", "Verified"]

StateT = TypeVar("StateT")

Score = float | Mapping[str, Any] | Verdict | None
"""A judge's score of a state: a figure in the problem's `score_range`, the higher the better
(True is the best); a mapping with such a `score` and any of `reason`, `attributes`, `checks` and
`answer`; a `Verdict`, whose scores are in [0, 1]; None, like NaN, where there is no opinion."""

Proposed = Iterable[StateT] | Priced[Iterable[StateT]]
Judged = Iterable[Score] | Priced[Iterable[Score]]
Verified = bool | float | None
"""A verifier's result on a state; see `Problem`."""


@dataclass(frozen=True)
class JudgedState(Generic[StateT]):
    """A state to refine, with its mean score (drift removed) and its last verdict, if any."""

    state: StateT
    mean_score: float | None
    verdict: Verdict | None


@dataclass(frozen=True)
class ProposalContext(Generic[StateT]):
    """Context of a proposal, in addition to the state that it follows from.

    Args:
        attempt: earlier proposals from this state, or from the start. Starts at 0. Another
            attempt should bring other states.
        leaders: states to improve on, the best first, the state itself in front; none when
            states are asked for from the start. Where states are whole answers there may be
            several to learn from.
        guidelines: repeated failings of earlier states. Untrusted.
        proposer: name of the proposer that is asked, where the problem has several; else blank.
    """

    attempt: int
    leaders: tuple[JudgedState[StateT], ...] = ()
    guidelines: tuple[str, ...] = ()
    proposer: str = ""


@dataclass(frozen=True, slots=True)
class ProblemPass:
    """One judge call.

    Args:
        number: judge calls before it in this search. Starts at 0. The same states may come
            again under another number: another opinion is wanted then, not a cached one.
        rubric: one of the knob `rubrics`.
        judge: its name, where the problem has several; else blank.
    """

    number: int
    rubric: str
    judge: str = ""


Proposer = Callable[
    [StateT | None, int, ProposalContext[StateT]], Proposed[StateT] | Awaitable[Proposed[StateT]]
]
"""`(state, k, context) -> states`, see `Problem`."""

Judge = Callable[[Sequence[StateT], ProblemPass], Judged | Awaitable[Judged]]
"""`(states, judge_pass) -> scores`, see `Problem`."""


def _always(_state: object) -> bool:
    return True


@dataclass(frozen=True)
class Problem(Generic[StateT]):
    """A task: its states, and the functions that propose, judge and verify them.

    `propose`, `judge` and `verify` may be plain functions or coroutine functions.

    Args:
        state_type: type of the states: anything that pydantic's `TypeAdapter` writes as JSON
            and reads back, such as `tuple[int, ...]`, a dataclass or a model.
        propose: `(state, k, context) -> states`: at most `k` states that follow from one, from
            `start` at first. More are dropped, fewer are fine, none closes the state. At most
            `16 * k` of an iterator are read. The states may be in a `Priced`. Or several of these
            by name, such as other models or prompts: each proposal then goes to one of them, see
            `lats.proposers`.
        judge: `(states, judge_pass) -> scores`, one `Score` per state, in their order, or a
            `Priced` of them. Or several of these by name, such as other models, which then judge
            passes one after another. None where `verify` decides alone.
        verify: `(state) -> result`, exact and repeatable, and no call against the cap. True: the
            state is right, and the search ends with it. False: it is not; it is answered with only
            where there is nothing else, and no step follows from it. A float in [0, 1] is the
            share of checks that it passed: states that passed more go first, and the judge decides
            between others; without a judge it is the score, and 1 ends the search. None: not
            settled. A verifier that should count as a call is a `judge`, with `stop_score=1`.
        is_answer: whether a state may be the answer. States that may not are steps towards
            one; every state may by default.
        text: the text by which states differ and are drawn; their JSON by default. States of
            equal text are one.
        key: states of equal keys are one, whatever their texts: `lats.identity_key` of a text
            leaves case and final marks aside. A str, a number, or a tuple of them.
        start: the state that the first ones follow from; None where there is none.
        score_range: worst and best score that the judge gives.
        failures: exceptions of `propose` and `judge` that cost the search that call and no
            more; of `verify`, that settle nothing. All others end it and reach the caller. With
            `ValueError` among them, so do results that cannot be read, as a model's wrong number
            of scores.
        refusals: exceptions after which no more can be asked; the search ends with the best so
            far.
        proposer_costs: of one call of each proposer, relative to the others', above 0; 1 where it
            is not given. Gain for cost decides who is asked.

    Raises:
        TypeError: when a function cannot be called as it will be.
        ValueError: when there is neither a judge nor a verifier, or `score_range` is no range.
    """

    state_type: Any
    propose: Proposer[StateT] | Mapping[str, Proposer[StateT]]
    judge: Judge[StateT] | Mapping[str, Judge[StateT]] | None = None
    verify: Callable[[StateT], Verified | Awaitable[Verified]] | None = field(
        default=None, kw_only=True
    )
    is_answer: Callable[[StateT], bool] = field(default=_always, kw_only=True)
    text: Callable[[StateT], str] | None = field(default=None, kw_only=True)
    key: Callable[[StateT], Any] | None = field(default=None, kw_only=True)
    start: StateT | None = field(default=None, kw_only=True)
    score_range: tuple[float, float] = field(default=(0.0, 1.0), kw_only=True)
    failures: tuple[type[Exception], ...] = field(default=(), kw_only=True)
    refusals: tuple[type[Exception], ...] = field(default=(), kw_only=True)
    proposer_costs: Mapping[str, float] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        """Check the parts."""
        for name, propose in _by_name(self.propose, "propose").items():
            check_function(propose, name, ("state", "k", "context"), "states", is_awaited=True)
        for name, judge in ({} if self.judge is None else _by_name(self.judge, "judge")).items():
            check_function(judge, name, ("states", "judge_pass"), "scores", is_awaited=True)
        for name, parameters, returns, is_awaited in _OPTIONAL_PARTS:
            if (function := getattr(self, name)) is not None:
                check_function(function, name, parameters, returns, is_awaited=is_awaited)
        if self.judge is None and self.verify is None:
            raise ValueError("a problem needs a judge, or a verify where answers can be checked")
        _check_kinds(self)
        for name in ("failures", "refusals"):
            for kind in _in_tuple(getattr(self, name), name):
                if not (isinstance(kind, type) and issubclass(kind, Exception)):
                    raise TypeError(f"{name} has {kind!r}; give a tuple of exception types")
        low, high = _in_tuple(self.score_range, "score_range", size=2)
        is_finite = all(isinstance(each, Real) and math.isfinite(each) for each in (low, high))
        if not (is_finite and low < high):
            raise ValueError(
                f"score_range is {self.score_range!r}; give the worst and the best score, the "
                "worst first and less than the best. Negate a loss"
            )

    @property
    def traits(self) -> TaskTraits:
        """Traits that decide how a search reads its scores."""
        low, high = self.score_range
        return TaskTraits(
            self.judge is not None, self.verify is not None, (float(low), float(high))
        )


_OPTIONAL_PARTS = (
    ("verify", ("state",), "True, False, a share of checks, or None", True),
    ("is_answer", ("state",), "bool", False),
    ("text", ("state",), "str", False),
    ("key", ("state",), "str", False),
)
"""Functions that a problem may have: parameters, result, and whether it is awaited."""


def _by_name(functions: Any, name: str) -> dict[str, Any]:
    """Return a function, or several, each by what it is called in errors.

    Raises:
        ValueError: when there are none.
    """
    if not isinstance(functions, Mapping):
        return {name: functions}
    if not functions:
        raise ValueError(f"{name} is an empty mapping; give at least one function")
    return {f"{name}[{each!r}]": function for each, function in functions.items()}


def _check_kinds(problem: Problem[Any]) -> None:
    """Check parts that may be left out, but not be something else.

    Raises:
        TypeError: when one is.
    """
    if problem.is_answer is None:
        raise TypeError("is_answer is None; leave it out where every state may be the answer")
    if not isinstance(problem.proposer_costs, Mapping):
        raise TypeError(
            f"proposer_costs is {reprlib.repr(problem.proposer_costs)}; give a mapping of the "
            "names of propose to figures above 0"
        )


def _in_tuple(value: Any, name: str, size: int | None = None) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list) or (size is not None and len(value) != size):
        wanted = "a tuple" if size is None else f"a tuple of {size}"
        raise TypeError(f"{name} is {reprlib.repr(value)}; give {wanted}")
    return tuple(value)
