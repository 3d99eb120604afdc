"""A reply, read as what the call asked for."""

from dataclasses import replace
from typing import NamedTuple

from turnwise.calls.call import Call
from turnwise.calls.errors import InvalidAnswer
from turnwise.calls.reply import Reply
from turnwise.calls.structured import parse_answer

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

    An answer that calls tools and says nothing is left as it is: whoever gave the
    model tools reads those.
    """
    if call.response_model is None or (reply.tool_calls and not reply.text.strip()):
        return Answer(reply)
    try:
        parsed = parse_answer(reply.text, call.response_model)
    except InvalidAnswer as invalid:
        return Answer(reply, invalid)
    return Answer(replace(reply, parsed=parsed))
