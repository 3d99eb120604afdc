"""A node's question to a model, declared once: who asks, plans or holds back reads it here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel

from callwise.calls import LLM, Call, CallError, CallRefused, Purpose, Role, Sampling
from callwise.calls.errors import ContentRefused, EmptyAnswer, InvalidAnswer
from nodes.prompt import clip
from nodes.records import Degradation
from nodes.turn import PROMPT_FIELDS, TurnView, chat

__all__ = [
    "BOOKKEEPING_LEASE",
    "CANDIDATE_TOKENS",
    "MAX_DETAIL_CHARS",
    "Question",
    "Tokens",
    "ask_or",
    "degradation_of",
]

AnswerT = TypeVar("AnswerT", bound=BaseModel)
ResultT = TypeVar("ResultT")

MAX_DETAIL_CHARS = 300
"""Longest explanation that a degradation carries, in characters."""


def degradation_of(error: CallError, *, node: str) -> Degradation:
    """Return what a node says about going on without its call.

    Args:
        error: what ended the call.
        node: the node that asked.

    Raises:
        CallError: the error itself, when it is fatal.
    """
    if error.is_fatal:
        raise error
    detail = clip(f"{type(error).__name__}: {error}", MAX_DETAIL_CHARS)
    if isinstance(error, CallRefused):
        return Degradation(node=node, reason="refused", detail=detail)
    if isinstance(error, InvalidAnswer | EmptyAnswer | ContentRefused):
        return Degradation(node=node, reason="invalid", detail=detail)
    return Degradation(node=node, reason="failed", detail=detail)


async def ask_or(
    llm: LLM,
    call: Call,
    *,
    node: str,
    answer: type[AnswerT],
    convert: Callable[[AnswerT], ResultT],
    fallback: Callable[[], ResultT],
) -> tuple[ResultT, Degradation | None]:
    """Return what the model answered, or what the rules say and why.

    Args:
        llm: who reaches the model.
        call: what to ask; its `response_model` is `answer`.
        node: name of the asking node.
        answer: what the model answers with.
        convert: makes the node's result of the answer. It raises InvalidAnswer when
            the answer fits its model and still cannot be used.
        fallback: the rules. Called only when there is no usable answer.

    Raises:
        CallError: a fatal one.
        TypeError: when the llm breaks its contract and leaves the answer unparsed.
    """
    try:
        parsed = (await llm.ask(call)).parsed
        if not isinstance(parsed, answer):
            raise TypeError(
                f"{node}: the llm returned {type(parsed).__name__} for {answer.__name__}"
            )
        return convert(parsed), None
    except CallError as error:
        degradation = degradation_of(error, node=node)
    return fallback(), degradation


BOOKKEEPING_LEASE = "bookkeeping"
"""The lease of a turn that the questions after the reply draw on."""


CANDIDATE_TOKENS = 150
"""Expected answer tokens of each candidate that a call of the search writes."""


class Tokens(NamedTuple):
    """Estimated tokens of one call. Of a repair the prompt grows."""

    input: int
    output: int


def _nothing(_view: TurnView) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Question(Generic[AnswerT, ResultT]):
    """One structured call of a node, without the material of a turn.

    Args:
        node: the node that asks.
        role: which model answers.
        purpose: what for.
        prompt: name of its file in `nodes/prompts`, before the language.
        answer: the form that is asked for.
        fields: names of `nodes.turn.PROMPT_FIELDS` that the prompt shows.
        sampling: temperature and longest answer.
        tokens: expected of one call. Prompts: rounded means over the shipped conversations;
            answers: guesses at a real model's length. `report --table plan` shows both
            against the actual.
        convert: makes the node's result of an answer. It raises InvalidAnswer when the answer
            fits its form and still cannot be used.
        fallback: the rules, when there is no usable answer.
        asked: fields that are not shown as `PROMPT_FIELDS` shows them.
        lease: the lease of the turn that the call may draw on.
        speaks_for: the nodes whose questions a fused one takes the place of.
    """

    node: str
    role: Role
    purpose: Purpose
    prompt: str
    answer: type[AnswerT]
    fields: tuple[str, ...]
    sampling: Sampling
    tokens: Tokens
    convert: Callable[[AnswerT, TurnView], ResultT]
    fallback: Callable[[TurnView], ResultT]
    asked: Callable[[TurnView], Mapping[str, Any]] = _nothing
    lease: str | None = None
    speaks_for: tuple[str, ...] = ()

    def call(self, view: TurnView) -> Call:
        """Return the call about a turn."""
        shown = {name: PROMPT_FIELDS[name](view) for name in self.fields}
        return Call(
            role=self.role,
            purpose=self.purpose,
            messages=chat(self.prompt, view.language, **shown, **self.asked(view)),
            response_model=self.answer,
            sampling=self.sampling,
            lease=self.lease,
        )

    async def ask(self, llm: LLM, view: TurnView) -> tuple[ResultT, Degradation | None]:
        """Return what the model answered about a turn, or what the rules say and why.

        Raises:
            CallError: a fatal one.
        """
        return await ask_or(
            llm,
            self.call(view),
            node=self.node,
            answer=self.answer,
            convert=lambda answer: self.convert(answer, view),
            fallback=lambda: self.fallback(view),
        )
