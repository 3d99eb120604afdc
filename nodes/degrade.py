"""Going on without a model: a node whose call ended without an answer uses its rules.

A refusal, an answer that does not fit, and an endpoint that failed are all survived and
said. A fatal error (`CallError.is_fatal`: a wrong key, a missing recording) is raised:
the next call would meet it again, and rules must not hide it.
"""

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel

from nodes.prompt import clip
from nodes.records import Degradation
from turnwise.calls import Asker, Call, CallError, CallRefused
from turnwise.calls.errors import ContentRefused, EmptyAnswer, InvalidAnswer

__all__ = ["MAX_DETAIL_CHARS", "ask_or", "degradation_of"]

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
    asker: Asker,
    call: Call,
    *,
    node: str,
    answer: type[AnswerT],
    convert: Callable[[AnswerT], ResultT],
    fallback: Callable[[], ResultT],
) -> tuple[ResultT, Degradation | None]:
    """Return what the model answered, or what the rules say and why.

    Args:
        asker: who reaches the model.
        call: what to ask; its `response_model` is `answer`.
        node: name of the asking node.
        answer: what the model answers with.
        convert: makes the node's result of the answer. It raises InvalidAnswer when
            the answer fits its model and still cannot be used.
        fallback: the rules. Called only when there is no usable answer.

    Raises:
        CallError: a fatal one.
        TypeError: when the asker breaks its contract and leaves the answer unparsed.
    """
    try:
        parsed = (await asker.ask(call)).parsed
        if not isinstance(parsed, answer):
            raise TypeError(
                f"{node}: the asker returned {type(parsed).__name__} for {answer.__name__}"
            )
        return convert(parsed), None
    except CallError as error:
        degradation = degradation_of(error, node=node)
    return fallback(), degradation
