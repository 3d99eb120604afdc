"""Reading an answer as a response model, and asking again when it does not fit.

Models wrap JSON in code fences and words, and some think aloud before it; the first
whole JSON object in the text that fits is taken. What does not fit is asked again, with
the problem named, a bounded number of times: each repair is a call of its own and is
counted.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from math import isfinite
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from turnwise.calls.call import Call, Message
from turnwise.calls.errors import InvalidAnswer
from turnwise.calls.payload import mended, well_formed

__all__ = ["parse_answer", "repair_call"]

ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_QUOTED_CHARS = 4000
"""How much of a wrong answer a repair quotes back, in characters."""

MAX_TRIED_BRACES = 64
"""How many opening braces are tried as the start of an object; bounds the work on nonsense."""


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise ValueError(f"{digits[:20]} is too large a number")
    return number


_DECODER = json.JSONDecoder(parse_constant=_not_json, parse_float=_finite)


def _objects(text: str) -> Iterator[Any]:
    """Yield the whole JSON objects of a text in order, but none from inside another.

    After a brace that begins no object the search goes on where the decoder gave up,
    not one character later: what stands inside a broken object is not the answer.

    Raises:
        ValueError: when there is none, saying what is wrong with the first that begins.
    """
    # Halves of an emoji come escaped, or raw where a client let them through.
    needs_mending = "\\u" in text or well_formed(text) is not text
    problem = ""
    is_found = False
    start = text.find("{")
    for _ in range(MAX_TRIED_BRACES):
        if start < 0:
            break
        try:
            document, end = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError as error:
            problem = problem or str(error)
            if error.msg.startswith("Unterminated"):
                break
            end = max(error.pos, start + 1)
        except (ValueError, RecursionError) as error:
            problem = problem or str(error)
            break
        else:
            is_found = True
            yield mended(document) if needs_mending else document
        start = text.find("{", end)
    if not is_found:
        raise ValueError(problem or "there is no JSON object in it")


def _problem_in_words(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [
        f"{'.'.join(map(str, problem['loc'])) or 'answer'}: {problem['msg']}"
        for problem in problems[:8]
    ]
    if len(problems) > len(lines):
        lines.append(f"and {len(problems) - len(lines)} more")
    return "; ".join(lines)


def parse_answer(text: str, model: type[ModelT]) -> ModelT:
    """Return an answer's text as a response model.

    Args:
        text: the answer. Untrusted: it is parsed as JSON and never evaluated.
        model: the pydantic model that it must fit.

    Raises:
        InvalidAnswer: when there is no JSON object, or it does not validate.
    """
    misfit: ValidationError | None = None
    try:
        for document in _objects(text):
            try:
                return model.model_validate(document)
            except ValidationError as error:
                misfit = misfit or error
    except ValueError as error:
        raise InvalidAnswer(f"expected JSON for {model.__name__}: {error}", text) from error
    words = _problem_in_words(misfit) if misfit else "no object was tried"
    raise InvalidAnswer(f"answer does not fit {model.__name__}: {words}", text) from misfit


def repair_call(call: Call, invalid: InvalidAnswer) -> Call:
    """Return the call that asks for the same answer again, with what was wrong.

    It repeats the original messages (a provider's prompt cache serves them) and
    appends the wrong answer and the problem. Its `repair` index is one higher.
    """
    quoted = invalid.text[:MAX_QUOTED_CHARS]
    messages = (
        *call.messages,
        Message("assistant", quoted),
        Message(
            "user",
            f"That answer cannot be used: {invalid.problem}. "
            "Answer the same request again with one valid JSON object and nothing else.",
        ),
    )
    return replace(call, messages=messages, repair=call.repair + 1)
