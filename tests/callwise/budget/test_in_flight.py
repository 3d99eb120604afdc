"""Replies, read as what their calls asked for."""

import pytest
from pydantic import BaseModel

from callwise.budget.in_flight import read_reply
from callwise.calls import Call, Message, Purpose, Role
from callwise.calls.reply import Reply


class Plan(BaseModel):
    """A form with a field that must be there."""

    goal: str
    score: float = 0.0


CALL = Call(Role.MAIN, Purpose.PLAN, (Message("user", "{}"),), response_model=Plan)
WRITTEN = '{"goal": "x"}'


def _tool_call(arguments):
    return {"id": "1", "type": "function", "function": {"name": "Plan", "arguments": arguments}}


@pytest.mark.parametrize(
    ("reply", "note"),
    [
        (Reply(WRITTEN), None),
        (Reply("", tool_calls=(_tool_call(WRITTEN),)), "read from a tool call"),
        (Reply("", tool_calls=(_tool_call({"goal": "x"}),)), "read from a tool call"),
        (Reply("I call it.", tool_calls=(_tool_call(WRITTEN),)), "read from a tool call"),
        (Reply(WRITTEN, tool_calls=(_tool_call(WRITTEN),)), None),
        (Reply(" ", reasoning_text=f"So: {WRITTEN}"), "read from the reasoning"),
    ],
)
def test_the_answer_is_read_where_it_is(reply, note):
    """The text, a tool's arguments as text or object, the reasoning where nothing else is."""
    answer = read_reply(CALL, reply)
    assert (answer.reply.parsed, answer.invalid) == (Plan(goal="x"), None)
    assert answer.notes == (() if note is None else (note,))


def test_reasoning_next_to_a_text_is_not_the_answer():
    """Nor is reasoning that was cut off."""
    for reply in (
        Reply("I do not know.", reasoning_text=WRITTEN),
        Reply("", reasoning_text=WRITTEN, finish_reason="length"),
    ):
        answer = read_reply(CALL, reply)
        assert answer.reply.parsed is None
        assert answer.invalid is not None
        assert answer.invalid.is_cut is (reply.finish_reason == "length")


def test_what_was_mended_is_noted():
    """The notes are shown with the call."""
    answer = read_reply(CALL, Reply("{'goal': 'x', 'score': 'high'}"))
    assert answer.notes == ("repaired its JSON", "left out score")


def test_calls_of_tools_are_left_to_their_caller():
    """Where the call offered tools, and the model wrote no text."""
    call = Call(
        Role.MAIN,
        Purpose.PLAN,
        (Message("user", "{}"),),
        response_model=Plan,
        tools=({"type": "function"},),
    )
    reply = Reply("", tool_calls=(_tool_call(WRITTEN),))
    assert read_reply(call, reply) == (reply, None, ())


def test_the_finish_reason_decides_whether_it_was_cut():
    """A cut answer is asked again as one."""
    invalid = read_reply(CALL, Reply("Let me see", finish_reason="length")).invalid
    assert invalid is not None
    assert invalid.is_cut
    assert not read_reply(CALL, Reply("Let me see", finish_reason="stop")).invalid.is_cut
