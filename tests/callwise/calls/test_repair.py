"""Asking again when an answer does not fit."""

from dataclasses import replace

import pytest
from pydantic import BaseModel

from callwise.calls import Call, Message, Purpose, Role, Sampling
from callwise.calls.errors import InvalidAnswer
from callwise.calls.repair import MAX_REPAIR_TOKENS, repair_call
from callwise.calls.structured import parse_answer


class Plan(BaseModel):
    """A form with a field that must be there."""

    goal: str
    steps: list[str] = []


CALL = Call(
    Role.MAIN,
    Purpose.PLAN,
    (Message("system", "You plan. Answer with one JSON object."), Message("user", '{"a": "早"}')),
    response_model=Plan,
    sampling=Sampling(temperature=0.7, max_tokens=100, seed=3),
)
CHINESE = replace(
    CALL, messages=(Message("system", "你来安排。只回答一个 JSON 对象。"), CALL.messages[1])
)


def _repaired(text, call=CALL, finish_reason=None):
    with pytest.raises(InvalidAnswer) as caught:
        parse_answer(text, Plan, finish_reason=finish_reason)
    return repair_call(call, caught.value)


def test_a_repair_repeats_the_question_and_names_the_problem():
    """The prefix stays, the wrong answer is quoted, and it counts up."""
    repaired = _repaired('{"steps": ["a"]}')
    assert repaired.messages[:2] == CALL.messages
    wrong, request = repaired.messages[2:]
    assert (wrong.role, wrong.content) == ("assistant", '{"steps": ["a"]}')
    assert request.role == "user"
    assert "`goal` is missing" in request.content
    assert "`goal`, `steps`" in request.content
    assert "JSON" in request.content
    assert (repaired.repair, repair_call(repaired, InvalidAnswer("x", "")).repair) == (1, 2)


def test_a_repair_quotes_little():
    """A long wrong answer is not paid for again; thoughts are not quoted."""
    wrong = _repaired("<think>" + "t" * 500 + "</think>" + "y" * 10_000).messages[-2].content
    assert len(wrong) <= 400
    assert "t" not in wrong


def test_an_empty_answer_leaves_no_empty_message():
    """Templates and endpoints refuse one."""
    repaired = _repaired("")
    assert repaired.messages[-2].content == "…"
    assert "no JSON object" in repaired.messages[-1].content
    assert "`goal`" in repaired.messages[-1].content


@pytest.mark.parametrize(
    ("text", "finish_reason", "words"),
    [
        ('{"steps": []}', None, "缺少 `goal`"),
        ('{"goal": 7}', None, "`goal` 必须是文字"),
        ("好的", None, "没有可以读取的 JSON 对象"),
        ('{"goal": "x', "length", "截断"),
    ],
)
def test_a_repair_speaks_the_language_of_the_prompt(text, finish_reason, words):
    """Material in another language does not change it."""
    request = _repaired(text, CHINESE, finish_reason).messages[-1].content
    assert words in request
    assert "answer" not in request.lower()


def test_a_cut_answer_may_be_longer_and_is_asked_to_be_shorter():
    """Asked again with the same limit it would be cut again."""
    repaired = _repaired('{"goal": "x', finish_reason="length")
    assert repaired.sampling.max_tokens == 150
    assert "shorter" in repaired.messages[-1].content
    assert _repaired("", finish_reason="length").sampling.max_tokens == 200
    big = replace(CALL, sampling=Sampling(max_tokens=MAX_REPAIR_TOKENS - 1))
    limit = _repaired("", big, "length").sampling.max_tokens
    assert limit == MAX_REPAIR_TOKENS
    larger = replace(CALL, sampling=Sampling(max_tokens=MAX_REPAIR_TOKENS * 2))
    assert _repaired("", larger, "length").sampling.max_tokens == MAX_REPAIR_TOKENS * 2
    assert _repaired("", replace(CALL, sampling=Sampling()), "length").sampling.max_tokens is None


def test_the_seed_changes_and_the_temperature_stays():
    """A caching endpoint cannot return the same answer."""
    repaired = _repaired("no")
    assert (repaired.sampling.seed, repaired.sampling.temperature) == (4, 0.7)
    assert repaired.sampling.max_tokens == 100
    assert _repaired("no", replace(CALL, sampling=Sampling())).sampling == Sampling()


def test_an_invalid_answer_without_details_is_put_as_it_is():
    """Such as one that a node refused by its own rule."""
    content = repair_call(CALL, InvalidAnswer("too many bubbles", "a\nb")).messages[-1].content
    assert "too many bubbles" in content
