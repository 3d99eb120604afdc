"""Reading an answer as a response model, and asking again when it does not fit.

Models wrap JSON in code fences and words; the first whole JSON object in the text
is taken. What does not validate is asked again, with the problem named, a bounded
number of times: each repair is a call of its own and is counted.
"""

import json
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from turnwise.calls.call import Call, Message
from turnwise.calls.errors import InvalidAnswer

__all__ = ["parse_answer", "repair_call"]

ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_QUOTED_CHARS = 4000
"""How much of a wrong answer a repair quotes back, in characters."""


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_not_json)


def _first_object(text: str) -> Any:
    """Return the first JSON object in a text.

    Raises:
        ValueError: when there is none, or it does not end.
        RecursionError: when it is nested too deeply.
    """
    start = text.find("{")
    if start < 0:
        raise ValueError("there is no JSON object in it")
    return _DECODER.raw_decode(text, start)[0]


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
    try:
        document = _first_object(text)
    except (ValueError, RecursionError) as error:
        raise InvalidAnswer(f"expected JSON for {model.__name__}: {error}", text) from error
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise InvalidAnswer(
            f"answer does not fit {model.__name__}: {_problem_in_words(error)}", text
        ) from error


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
