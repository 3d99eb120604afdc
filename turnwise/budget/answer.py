"""A reply, read as what the call asked for."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import orjson

from turnwise.calls.answer_text import was_cut
from turnwise.calls.call import Call
from turnwise.calls.errors import InvalidAnswer
from turnwise.calls.reply import Reply
from turnwise.calls.structured import read_answer

__all__ = ["Answer", "read_reply"]


class Answer(NamedTuple):
    """A reply, and whether it can be used.

    Args:
        reply: the reply, its `parsed` set where it fits a response model.
        invalid: why it does not fit, or None when it does.
        notes: what had to be mended or left out to read it, in a few words each.
    """

    reply: Reply
    invalid: InvalidAnswer | None = None
    notes: tuple[str, ...] = ()


def read_reply(call: Call, reply: Reply) -> Answer:
    """Return a reply read as the call's response model, where it has one.

    The answer is its text, or what stands in its place: the arguments of a tool call, or
    the model's reasoning. A reply to a call with tools that calls some of them and has no
    text is left as it is: whoever gave the model tools reads those.
    """
    is_blank = not reply.text.strip()
    if call.response_model is None or (call.tools and reply.tool_calls and is_blank):
        return Answer(reply)
    problem: InvalidAnswer | None = None
    for text, note in _texts(reply):
        try:
            read = read_answer(
                text,
                call.response_model,
                finish_reason=reply.finish_reason,
                prompt=call.messages,
                is_thoughts=bool(text) and text == reply.reasoning_text,
            )
        except InvalidAnswer as invalid:
            problem = problem or invalid
        else:
            notes = (note, *read.notes) if note else read.notes
            return Answer(replace(reply, parsed=read.parsed), notes=notes)
    return Answer(reply, problem)


def _texts(reply: Reply) -> Iterator[tuple[str, str]]:
    """Yield the texts that may hold the answer, each with a note on where it was."""
    yield reply.text, ""
    for tool_call in reply.tool_calls:
        function = tool_call.get("function")
        arguments = function.get("arguments") if isinstance(function, Mapping) else None
        if isinstance(arguments, Mapping):
            arguments = orjson.dumps(dict(arguments)).decode()
        if isinstance(arguments, str) and arguments != reply.text:
            yield arguments, "read from a tool call"
    # A model that was cut while it reasoned has not answered.
    if not (reply.text.strip() or was_cut(reply.finish_reason)):
        yield reply.reasoning_text, "read from the reasoning"
