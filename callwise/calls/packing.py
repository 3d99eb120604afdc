"""Several small questions of one kind in one prompt: one call, and an answer for each.

Packed are calls that are equal in everything but their last message: same role, purpose, form of
answer, parameters, and messages before. Which ones, follows from their order alone, never from
load. Each question is between two lines with a mark that occurs in none of them, so that no
text can pass for another question. The joint form has one field for each answer, and one that is
missing or does not fit costs no other: its question is asked alone, as it would have been.

The packed call is one call, with one key and one row. Its usage is apportioned among the answers
that it has, by the length of their texts; the parts add up to what was reported.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

from pydantic import BaseModel, create_model
from pydantic.json_schema import SkipJsonSchema

from callwise.calls.call import Call, Message
from callwise.calls.reply import Reply
from callwise.calls.structured import SeparateAnswers
from callwise.calls.together import apportioned_usage, input_weight

__all__ = ["MIN_LOWER_SD", "Pack", "can_pack", "packed", "packs_of", "unpacked"]

MIN_LOWER_SD = -0.05
"""Least lower bound of the difference in quality with which questions may be packed, in standard
deviations of a turn's quality."""

MARK_DIGITS = 8
"""Hexadecimal digits of a mark: of those 4 billion the first is taken that no question has."""


@dataclass(frozen=True, slots=True)
class Pack:
    """Calls that travel in one prompt.

    Args:
        places: where they are among the calls that are asked together, in order.
        call: the packed call.
    """

    places: tuple[int, ...]
    call: Call


@lru_cache(maxsize=256)
def _joint_form(form: type[BaseModel], count: int) -> type[BaseModel]:
    """Return a form with one optional answer for each question, named by its number."""
    # Asked for without null; read with it, so that one answer that does not fit costs no other.
    answer: Any = form | cast("Any", SkipJsonSchema)[None]
    fields: dict[str, Any] = {_field(place): (answer, None) for place in range(count)}
    return create_model(f"{form.__name__}For{count}", __base__=SeparateAnswers, **fields)


def _field(place: int) -> str:
    return f"answer_{place + 1}"


def can_pack(call: Call) -> bool:
    """Return whether a call may be asked together with others of its kind.

    It needs a form of answer and one text as its last message; resamples, repairs, calls with
    tools, several choices or a listener are asked alone.
    """
    if call.response_model is None or not call.messages:
        return False
    last = call.messages[-1]
    is_plain = last.role == "user" and not (last.parts or last.tool_calls or last.name)
    is_first = not (call.sample or call.repair)
    return (
        is_plain
        and is_first
        and not call.tools
        and call.listener is None
        and (call.sampling.n == 1 and not call.stream and call.sampling.top_logprobs is None)
    )


def packs_of(
    calls: Sequence[Call], sizes: Sequence[int], instructions: Sequence[str]
) -> list[Pack]:
    """Return the packs of calls that are asked together, by the order of their first question.

    Args:
        sizes: most questions in the prompt of each call's kind; below 2 packs none.
        instructions: the text before the questions, for each call.
    """
    kinds: dict[Any, list[int]] = {}
    for place, (call, size) in enumerate(zip(calls, sizes, strict=True)):
        if size >= 2 and can_pack(call):
            kinds.setdefault(_kind(call), []).append(place)
    packs: list[Pack] = []
    for places in kinds.values():
        size = sizes[places[0]]
        for start in range(0, len(places), size):
            together = tuple(places[start : start + size])
            if len(together) >= 2:
                asked = [calls[place] for place in together]
                packs.append(Pack(together, packed(asked, instructions[together[0]])))
    return sorted(packs, key=lambda pack: pack.places)


def _kind(call: Call) -> Any:
    """Return what calls of one prompt have in common."""
    before = call.messages[:-1]
    shared = replace(call, messages=call.messages[-1:], listener=None)
    rest = repr(replace(shared, messages=(Message("user", ""),)))
    return call.response_model, repr(before), rest


def packed(calls: Sequence[Call], instructions: str) -> Call:
    """Return one call that asks the questions of several.

    Args:
        calls: two or more of one kind; see `can_pack`.
        instructions: the text before them.

    Raises:
        ValueError: when there are fewer than two.
    """
    if len(calls) < 2:
        raise ValueError(f"a pack has two or more calls; got {len(calls)}")
    first = calls[0]
    texts = [call.messages[-1].content for call in calls]
    mark = _mark(texts)
    count = len(texts)
    questions = [
        f"--- question {number} of {count} [{mark}] ---\n{text}\n--- end [{mark}] ---"
        for number, text in enumerate(texts, 1)
    ]
    form = first.response_model
    limit = first.sampling.max_tokens
    sampling = replace(first.sampling, max_tokens=None if limit is None else limit * count)
    content = "\n\n".join((instructions, *questions))
    note = f"{count} questions in one prompt"
    return replace(
        first,
        messages=(*first.messages[:-1], replace(first.messages[-1], content=content)),
        response_model=None if form is None else _joint_form(form, count),
        sampling=sampling,
        note="; ".join(filter(None, (first.note, note))),
    )


def _mark(texts: Sequence[str]) -> str:
    """Return a mark that is in none of the texts. The same texts have the same one."""
    whole = "\0".join(texts).encode("utf-8", "surrogatepass")
    number = 0
    while True:
        digest = hashlib.sha256(whole + number.to_bytes(4, "big")).hexdigest()[:MARK_DIGITS]
        if not any(digest in text for text in texts):
            return digest
        number += 1


def unpacked(calls: Sequence[Call], reply: Reply) -> list[Reply | None]:
    """Return the reply to each question of a pack; None where its answer is missing.

    Args:
        calls: those that were packed, in order.
        reply: of the packed call, `parsed`.
    """
    answers = [getattr(reply.parsed, _field(place), None) for place in range(len(calls))]
    texts = ["" if answer is None else answer.model_dump_json() for answer in answers]
    weights = [
        0 if text == "" else input_weight(call) for text, call in zip(texts, calls, strict=True)
    ]
    usages = apportioned_usage(reply.usage, weights, list(map(len, texts)))
    return [
        None
        if answer is None
        else replace(reply, text=text, parsed=answer, usage=usage, chunks=(), reasoning_text="")
        for answer, text, usage in zip(answers, texts, usages, strict=True)
    ]
