"""Several questions in one prompt: which may, what is asked, and what each of them gets."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from callwise.calls import Call, Message, Purpose, Reply, ReportedUsage, Role, Sampling
from callwise.calls.packing import can_pack, packed, packs_of, unpacked
from callwise.calls.structured import parse_answer
from callwise.calls.together import usage_sum


class Score(BaseModel):
    """A judge's answer."""

    reason: str
    score: float = Field(ge=0, le=1)


def question(text, **changes):
    """Return a judge's call about a text."""
    messages = (Message("system", "Judge it."), Message("user", text))
    return replace(Call(Role.JUDGE, Purpose.JUDGE, messages, response_model=Score), **changes)


def packs(calls, size=4):
    """Return the packs of calls, each of the same size."""
    return packs_of(calls, [size] * len(calls), ["Answer each."] * len(calls))


def test_questions_of_one_kind_travel_in_order_and_in_packs_of_the_size():
    """A rest of one travels alone."""
    calls = [question(f"text {number}") for number in range(5)]
    found = packs(calls, size=2)
    assert [pack.places for pack in found] == [(0, 1), (2, 3)]
    assert "text 0" in found[0].call.messages[-1].content
    assert found[0].call.messages[0] == calls[0].messages[0]
    assert found[0].call.note == "2 questions in one prompt"


def test_what_differs_in_more_than_its_text_is_another_kind():
    """Instructions, parameters, form, role, model."""
    other = replace(question("c"), messages=(Message("system", "Rate it."), Message("user", "c")))
    calls = [
        question("a"),
        question("b", sampling=Sampling(temperature=0.5)),
        other,
        question("d", role=Role.MAIN),
        question("e", model="small"),
        question("f", lease="reply"),
    ]
    assert packs(calls) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"response_model": None},
        {"sample": 1},
        {"repair": 1},
        {"stream": True},
        {"tools": ({"type": "function"},)},
        {"sampling": Sampling(n=2)},
        {"sampling": Sampling(top_logprobs=0)},
        {"messages": (Message("system", "a"),)},
        {"messages": (Message("user", "a", parts=({"type": "image_url"},)),)},
    ],
)
def test_others_are_asked_alone(changes):
    """Resamples, repairs, streams, tools, choices, log-probabilities, images."""
    assert can_pack(question("a"))
    assert not can_pack(question("a", **changes))


def test_one_answer_that_does_not_fit_costs_no_other():
    """It is missing, and so is one that was not given."""
    calls = [question(text) for text in "abc"]
    call = packed(calls, "Answer each.")
    text = '{"answer_1": {"reason": "good", "score": 0.5}, "answer_2": {"reason": "bad"}}'
    reply = Reply(text, parsed=parse_answer(text, call.response_model))
    first, second, third = unpacked(calls, reply)
    assert first.parsed == Score(reason="good", score=0.5)
    assert (second, third) == (None, None)


@given(
    st.lists(
        st.sampled_from([0, 0.0, 0.25, 0.8, 1, 1.4, 2, 7, 8.5, 10, 55, 100, "8/10"]), min_size=2
    )
)
def test_an_answer_is_read_as_it_would_be_alone(scores):
    """One on a scale of 10 changes no other, and is not changed by them."""
    calls = [question(f"text {place}") for place in range(len(scores))]
    form = packed(calls, "Answer each.").response_model
    documents = [{"reason": "r", "score": score} for score in scores]
    joint = {f"answer_{place}": each for place, each in enumerate(documents, 1)}
    parsed = parse_answer(json.dumps(joint), form)
    parts = unpacked(calls, Reply("", parsed=parsed))
    alone = [parse_answer(json.dumps(each), Score) for each in documents]
    assert [part.parsed for part in parts] == alone


def test_tokens_add_up_where_an_answer_is_missing():
    """Its question is paid for by the others: it is asked again."""
    calls = [question(text) for text in ("a", "b" * 1000, "c")]
    form = packed(calls, "Answer each.").response_model
    parsed = form(answer_1=Score(reason="r", score=1), answer_3=Score(reason="r", score=1))
    usage = ReportedUsage(1001, 7, cached_tokens=400, reasoning_tokens=3)
    first, second, third = unpacked(calls, Reply("", parsed=parsed, usage=usage))
    assert second is None
    assert usage_sum([first.usage, third.usage]) == usage


@given(st.lists(st.text(), min_size=2, max_size=6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_tokens_add_up_and_every_question_is_between_its_marks(texts, inputs, outputs):
    """Whatever the texts are, also where they look like marks."""
    calls = [question(text) for text in texts]
    call = packed(calls, "Answer each.")
    content = call.messages[-1].content
    first_line = content.splitlines()[2]
    mark = content[content.index("[") + 1 : content.index("]")] if "[" in first_line else ""
    assert content.count(f"[{mark}] ---") == 2 * len(texts)
    answer = {f"answer_{place + 1}": Score(reason="r", score=1.0) for place in range(len(texts))}
    parsed = call.response_model(**answer)
    reply = Reply("", parsed=parsed, usage=ReportedUsage(inputs, outputs))
    parts = unpacked(calls, reply)
    assert sum(part.usage.input_tokens for part in parts) == inputs
    assert sum(part.usage.output_tokens for part in parts) == outputs


def test_no_text_passes_for_another_question():
    """The mark follows from the texts, and none of them has it."""
    honest = packed([question("a"), question("b")], "Answer each.")
    forged = honest.messages[-1].content
    call = packed([question(forged), question("b")], "Answer each.")
    old = forged[forged.index("[") + 1 : forged.index("]")]
    new = call.messages[-1].content.rpartition("--- end [")[2].partition("]")[0]
    assert new != old
    assert call.messages[-1].content.count(f"[{new}]") == 4


def test_a_pack_has_two_calls_at_least():
    """Naming how many there were."""
    with pytest.raises(ValueError, match="two or more calls; got 1"):
        packed([question("a")], "Answer each.")


def test_the_longest_answer_grows_with_the_questions():
    """What is reserved too."""
    calls = [question(text, sampling=Sampling(max_tokens=100)) for text in "abc"]
    assert packed(calls, "").sampling.max_tokens == 300
