"""A user's own task as a search: its states as drafts, its rounds answered by its functions."""

import asyncio
import hashlib
import inspect
import math
import reprlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from numbers import Real
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_core import PydanticSerializationError

from lats.actions import Action, JudgeList, Refine
from lats.answers import (
    MAX_REPLY_CHARS,
    ActionAnswer,
    Draft,
    Drafts,
    NoAnswer,
    NodeId,
    Verdict,
    Verdicts,
    clean_text,
)
from lats.result import StateError
from lats.search import PosteriorSearch
from lats.search_tree import SearchTree
from lats.similarity import text_key

__all__ = [
    "JudgedState",
    "Problem",
    "ProblemPass",
    "ProblemRounds",
    "ProposalContext",
    "Score",
    "StateDrafts",
]

StateT = TypeVar("StateT")

Score = float | Verdict | None
"""A judge's score of a state: a figure in [0, 1], the higher the better (True is 1); a
`Verdict`, for sub-scores, checks or a reason; None, like NaN, where there is no opinion."""


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
    [StateT | None, int, ProposalContext[StateT]], Iterable[StateT] | Awaitable[Iterable[StateT]]
]
"""`(state, k, context) -> states`, see `Problem`."""

Judge = Callable[[Sequence[StateT], ProblemPass], Iterable[Score] | Awaitable[Iterable[Score]]]
"""`(states, judge_pass) -> scores`, see `Problem`."""


def _always(_state: object) -> bool:
    return True


@dataclass(frozen=True)
class Problem(Generic[StateT]):
    """A task: its states, and the functions that propose and judge them.

    Args:
        state_type: type of the states: anything that pydantic's `TypeAdapter` writes as JSON
            and reads back, such as `tuple[int, ...]`, a dataclass or a model.
        propose: `(state, k, context) -> states`: at most `k` states that follow from one, from
            `start` at first. More are dropped, fewer are fine, none closes the state. At most
            `16 * k` of an iterator are read. Or several of these by name, such as other models or
            prompts: each proposal then goes to one of them, see `lats.proposers`.
        judge: `(states, judge_pass) -> scores`, one `Score` per state, in their order; or several
            of these by name, such as other models, which then judge passes one after another.
        is_answer: whether a state may be the answer. States that may not are steps towards
            one; every state may by default.
        text: the text by which states differ and are drawn; their JSON by default. States of
            equal text are one.
        start: the state that the first ones follow from; None where there is none.
        failures: exceptions of `propose` and `judge` that cost the search that call and no
            more. All others end it and reach the caller.
        refusals: exceptions after which no more can be asked; the search ends with the best so
            far.
        proposer_costs: of one call of each proposer, relative to the others', above 0; 1 where it
            is not given. Gain for cost decides who is asked.
    """

    state_type: Any
    propose: Proposer[StateT] | Mapping[str, Proposer[StateT]]
    judge: Judge[StateT] | Mapping[str, Judge[StateT]]
    is_answer: Callable[[StateT], bool] = field(default=_always, kw_only=True)
    text: Callable[[StateT], str] | None = field(default=None, kw_only=True)
    start: StateT | None = field(default=None, kw_only=True)
    failures: tuple[type[Exception], ...] = field(default=(), kw_only=True)
    refusals: tuple[type[Exception], ...] = field(default=(), kw_only=True)
    proposer_costs: Mapping[str, float] = field(default_factory=dict, kw_only=True)


_PAYLOAD_KEY = "state"
_DIGEST_CHARS = 10


class StateDrafts(Generic[StateT]):
    """Turns a problem's states into drafts and drafts into states, for one search.

    A search compares replies by their words, case and punctuation left aside, and cuts
    long ones. Texts of states may differ in just that (`a+b` and `a-b`), so where a text
    would be taken for another one's, a digest of it is put behind it.

    Raises:
        TypeError: when states of the problem's type cannot be written as JSON.
    """

    def __init__(self, problem: Problem[StateT]) -> None:
        try:
            self._adapter: TypeAdapter[StateT] = TypeAdapter(problem.state_type)
            self._json: TypeAdapter[Any] = TypeAdapter(Any)
        except PydanticSchemaGenerationError as error:
            raise TypeError(
                f"states of type {problem.state_type!r} cannot be written as JSON; use a "
                "dataclass, a tuple, a pydantic model or a builtin type"
            ) from error
        self._problem = problem
        self._known: dict[str, str] = {}
        self._offered: dict[str, str] = {}
        self._nodes_noted = 0

    def draft(self, state: StateT, *, source: str) -> Draft:
        """Return the draft of a state, as its type validates it; `source` is for errors.

        Raises:
            TypeError: when it is no such state, does not survive being written as JSON, or
                its text is none.
            ValueError: when its text is blank.
        """
        try:
            state = self._adapter.validate_python(state)
            written = self._adapter.dump_json(state)
            if self._adapter.dump_json(self._adapter.validate_json(written)) != written:
                raise TypeError(
                    f"{source} gave {reprlib.repr(state)}, which JSON does not give back as it was"
                )
        except ValidationError as error:
            said = error.errors(include_url=False, include_context=False)[0]["msg"]
            raise TypeError(f"{source} gave {reprlib.repr(state)}, no state: {said}") from error
        except PydanticSerializationError as error:
            raise TypeError(
                f"{source} gave {reprlib.repr(state)}, which JSON cannot hold: {error}"
            ) from error
        text = written.decode() if self._problem.text is None else self._problem.text(state)
        if not isinstance(text, str):
            raise TypeError(f"text of {reprlib.repr(state)} is a {type(text).__name__}")
        reply = self._reply(text)
        if not reply:
            raise ValueError(f"text of {reprlib.repr(state)} is blank")
        payload = {_PAYLOAD_KEY: self._json.validate_json(written)}
        return Draft(reply=reply, payload=payload, is_step=not self._problem.is_answer(state))

    def start(self) -> Draft:
        """Return the draft of the problem's start; a blank one without a start."""
        if self._problem.start is None:
            return Draft(reply="")
        start = self.draft(self._problem.start, source="start")
        return Draft(reply=start.reply, payload=start.payload)

    def state(self, draft: Draft) -> StateT:
        """Return the state of a draft.

        Raises:
            StateError: when the draft has none of this type.
        """
        candidate = f"candidate {draft.reply[:40]!r}"
        if _PAYLOAD_KEY not in draft.payload:
            raise StateError(
                f"{candidate} has no state: it was not saved by `solve`; resume one that was"
            )
        try:
            return self._adapter.validate_json(self._json.dump_json(draft.payload[_PAYLOAD_KEY]))
        except ValidationError as error:
            said = error.errors(include_url=False, include_context=False)[0]["msg"]
            raise StateError(f"{candidate} has a state of another type: {said}") from error

    def begin_round(self, tree: SearchTree) -> None:
        """Note the replies of the tree before the drafts of a round are made.

        A draft depends on the tree and on the drafts before it in its round, so a restored
        search makes the same ones.
        """
        for node in islice(tree.candidates, self._nodes_noted, None):
            self._known.setdefault(text_key(node.draft.reply), node.draft.reply)
        self._nodes_noted = len(tree)
        self._offered = {}

    def _reply(self, text: str) -> str:
        reply = clean_text(text, MAX_REPLY_CHARS)
        if not reply:
            return ""
        if reply != text.strip():
            reply = _marked(reply, text)
        key = text_key(reply)
        if self._known.get(key, self._offered.setdefault(key, reply)) != reply:
            return _marked(reply, text)
        return reply


def _marked(reply: str, text: str) -> str:
    """Return a reply with a digest of the whole text behind it."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    return f"{reply[: MAX_REPLY_CHARS - _DIGEST_CHARS - 2].rstrip()} #{digest}"


_SLACK = 1e-9
"""Rounding error by which sums of floats may lie outside [0, 1]."""

MAX_READ_PER_WANTED = 16
"""Proposed states that are read for each that was asked for."""


class ProblemRounds(Generic[StateT]):
    """Answers the rounds of one search from a problem's functions."""

    def __init__(
        self, problem: Problem[StateT], drafts: StateDrafts[StateT], search: PosteriorSearch
    ) -> None:
        self._problem = problem
        self._drafts = drafts
        self._search = search

    def _state(self, node_id: NodeId) -> StateT:
        return self._drafts.state(self._search.tree.nodes[node_id].draft)

    async def answer(self, actions: Sequence[Action]) -> list[ActionAnswer]:
        """Answer a round together. Drafts are made in its order, not in that of arrival."""
        tasks = [asyncio.ensure_future(self._asked(action)) for action in actions]
        try:
            raw = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._drafts.begin_round(self._search.tree)
        return [self._read(action, said) for action, said in zip(actions, raw, strict=True)]

    async def _asked(self, action: Action) -> Any:
        """Return the result of the problem's function; of a failure, `NoAnswer`."""
        said: Any
        try:
            if isinstance(action, JudgeList):
                states = [self._state(node_id) for node_id in action.node_ids]
                judge = self._problem.judge
                judge = judge[action.judge] if isinstance(judge, Mapping) else judge
                said = judge(states, ProblemPass(action.pass_index, action.rubric, action.judge))
            else:
                ids = action.node_ids if isinstance(action, Refine) else ()
                leaders = tuple(map(self._leader, ids))
                start = leaders[0].state if leaders else self._problem.start
                context = ProposalContext(
                    action.attempt, leaders, action.guidelines, action.proposer
                )
                propose = self._problem.propose
                propose = propose[action.proposer] if isinstance(propose, Mapping) else propose
                said = propose(start, action.k, context)
            return await said if inspect.isawaitable(said) else said
        except self._problem.refusals as error:
            return NoAnswer(is_refused=True, detail=f"{type(error).__name__}: {error}")
        except self._problem.failures as error:
            return NoAnswer(detail=f"{type(error).__name__}: {error}")

    def _leader(self, node_id: NodeId) -> JudgedState[StateT]:
        node = self._search.tree.nodes[node_id]
        return JudgedState(self._drafts.state(node.draft), node.mean_score, node.verdict)

    def _read(self, action: Action, said: Any) -> ActionAnswer:
        if isinstance(said, NoAnswer):
            return said
        if isinstance(action, JudgeList):
            return self._verdicts(action, said)
        states = islice(_items(said, "propose", "states"), MAX_READ_PER_WANTED * action.k)
        return Drafts(drafts=tuple(self._drafts.draft(each, source="propose") for each in states))

    def _verdicts(self, action: JudgeList, said: Any) -> Verdicts:
        asked = len(action.node_ids)
        scores = list(islice(_items(said, "judge", "scores"), asked + 1))
        if len(scores) != asked:
            got = "more" if len(scores) > asked else str(len(scores))
            raise ValueError(
                f"judge returned {got} scores for {asked} states; give None for a state that "
                "has none"
            )
        found = {}
        for node_id, score in zip(action.node_ids, scores, strict=True):
            verdict = _verdict(score, self._search.tree.nodes[node_id].draft.reply)
            if verdict is not None:
                found[node_id] = verdict
        return Verdicts(found)


def _items(said: Any, function: str, wanted: str) -> Iterable[Any]:
    if isinstance(said, str | bytes | Mapping) or not isinstance(said, Iterable):
        raise TypeError(f"{function} returned {reprlib.repr(said)}, expected {wanted} in a list")
    return said


def _verdict(score: Any, reply: str) -> Verdict | None:
    if score is None or isinstance(score, Verdict):
        return score
    if not isinstance(score, Real):
        raise TypeError(
            f"judge scored {reply[:40]!r} {reprlib.repr(score)}; expected a figure in [0, 1], a "
            "Verdict, or None"
        )
    figure = float(score)
    if math.isnan(figure):
        return None
    if not -_SLACK <= figure <= 1 + _SLACK:
        raise ValueError(f"judge scored {reply[:40]!r} {figure}; expected a figure in [0, 1]")
    return Verdict(score=min(max(figure, 0.0), 1.0))
