"""The simulated model is one pure function on the wire format."""

import json

import orjson
import pytest
from pydantic import BaseModel, ValidationError

from callwise.calls import Message, Sampling
from callwise.calls.errors import InvalidAnswer
from callwise.calls.repair import repair_call
from callwise.calls.structured import parse_answer
from callwise.calls.wire import chat_body
from callwise.simulator import SimulatedModel, SimulatedSettings
from callwise.simulator.model import body_digest, count_tokens, malformed


class Plan(BaseModel):
    """The answer of a planner."""

    goal: str
    reply: str
    confidence: float


def test_equal_bodies_get_equal_answers(body_of, english):
    """Another instance, and a body that went through JSON, answer byte for byte alike."""
    body = body_of(english, Plan)
    first = SimulatedModel(4).answer(body, 2)
    assert first == SimulatedModel(4).answer(orjson.loads(orjson.dumps(body)), 2)
    assert first == SimulatedModel(settings=SimulatedSettings(seed=4)).answer(body, 2)


def test_sample_seed_model_and_material_change_the_answer(body_of, english, chinese):
    """Whatever may change the answer does."""
    model = SimulatedModel()
    texts = {
        model.answer(body_of(english, Plan)).text,
        model.answer(body_of(english, Plan), 1).text,
        SimulatedModel(1).answer(body_of(english, Plan)).text,
        model.answer(body_of(chinese, Plan)).text,
        model.answer({**body_of(english, Plan), "model": "other"}).text,
        model.answer({**body_of(english, Plan), "temperature": 0.3}).text,
    }
    assert len(texts) == 6


def test_streaming_is_not_identity(body_of, english):
    """Streaming does not change an answer."""
    body = body_of(english, Plan)
    streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
    assert SimulatedModel().answer(body) == SimulatedModel().answer(streamed)


def test_a_repair_draws_another_answer_about_the_same_material(ask, english):
    """The material is found behind the repair's words, and the answer fits."""
    call = repair_call(ask(english, Plan), InvalidAnswer("nonsense", "{"))
    text = SimulatedModel().answer(chat_body(call, model="m")).text
    assert parse_answer(text, Plan)
    assert text != SimulatedModel().answer(chat_body(ask(english, Plan), model="m")).text


def test_plain_chat_is_answered_in_its_language(ask):
    """Without JSON the last user message decides the language."""
    model = SimulatedModel()
    chinese = model.answer(chat_body(ask("你今天好吗？我有点累。"), model="m")).text
    english = model.answer(chat_body(ask("How are you today?"), model="m")).text
    assert not chinese.isascii()
    assert "“" in english or english.isascii()


def test_several_choices_differ(body_of, english):
    """`n` choices are drawn apart, and all count as output."""
    answer = SimulatedModel().answer(body_of(english, sampling=Sampling(n=3)))
    assert len(set(answer.choices)) == 3
    assert answer.text == answer.choices[0]
    assert answer.usage.output_tokens == sum(count_tokens(text) for text in answer.choices)


def test_the_token_limit_cuts(body_of, english):
    """Text beyond `max_tokens` is cut off, and the finish reason is `length`."""
    answer = SimulatedModel().answer(body_of(english, Plan, sampling=Sampling(max_tokens=8)))
    assert answer.finish_reason == "length"
    assert 0 < answer.usage.output_tokens <= 8


def test_stop_strings_end_the_answer(body_of, english):
    """Nothing from the stop string on is answered."""
    whole = SimulatedModel().answer(body_of(english)).text
    stopped = SimulatedModel().answer({**body_of(english), "stop": ["e"]}).text
    assert "e" in whole
    assert "e" not in stopped


def test_a_forced_tool_is_called(body_of, english):
    """A named or required tool gets arguments that fit its parameters."""
    tool = {
        "type": "function",
        "function": {"name": "plan", "parameters": Plan.model_json_schema()},
    }
    for choice in ("required", {"type": "function", "function": {"name": "plan"}}):
        body = {**body_of(english), "tools": [tool], "tool_choice": choice}
        answer = SimulatedModel().answer(body)
        assert answer.finish_reason == "tool_calls"
        (call,) = answer.tool_calls
        assert call["function"]["name"] == "plan"
        assert Plan.model_validate_json(call["function"]["arguments"])
    assert not SimulatedModel().answer({**body_of(english), "tools": [tool]}).tool_calls


def test_json_mode_without_a_schema_gives_an_object(body_of, english):
    """JSON mode alone is answered by an object with a reply."""
    body = {**body_of(english), "response_format": {"type": "json_object"}}
    assert set(json.loads(SimulatedModel().answer(body).text)) == {"reply"}


def test_latency_grows_with_the_answer_and_scales(body_of, english):
    """Latency is virtual seconds: base, tokens, noise, times the scale."""
    plain = SimulatedSettings(latency_sigma=0.0)
    answer = SimulatedModel(settings=plain).answer(body_of(english, Plan))
    expected = 0.4 + 0.00002 * answer.usage.input_tokens + 0.012 * answer.usage.output_tokens
    assert answer.latency_seconds == pytest.approx(expected, abs=1e-6)
    instant = SimulatedModel(settings=SimulatedSettings(latency_scale=0))
    assert instant.answer(body_of(english, Plan)).latency_seconds == 0.0


def test_strange_bodies_are_answered():
    """Content parts, lone surrogates, null content and no user at all do no harm."""
    model = SimulatedModel()
    for content in ([{"type": "text", "text": "hi"}], "a\ud800b", None, "", "x" * 100_000):
        for role in ("user", "system", "assistant"):
            assert model.answer({"model": "m", "messages": [{"role": role, "content": content}]})


def test_surrogates_do_not_break_the_digest():
    """A body that UTF-8 cannot encode has its own identity."""
    first = {"messages": [{"role": "user", "content": "a\ud800"}]}
    second = {"messages": [{"role": "user", "content": "a\ud801"}]}
    assert body_digest(first) != body_digest(second)


def test_malformed_texts_do_not_parse(body_of, english):
    """Each way to spoil an answer leaves nothing to read."""
    for sample in range(40):
        text = SimulatedModel().answer(body_of(english, Plan), sample).text
        for number in range(3):
            with pytest.raises(InvalidAnswer):
                parse_answer(malformed(text, number), Plan)


def test_a_schema_in_the_instructions_does_not_change_the_rubric(body_of, english):
    """A schema in the system message is no part of the judge's instructions."""
    from callwise.simulator.request import read_material

    rubrics = {
        read_material(body_of(english, Plan, schema_mode=mode)).rubric
        for mode in ("json_schema", "json_object", "prompt")
    }
    assert len(rubrics) == 1


def test_settings_refuse_what_cannot_be():
    """Unknown names, rates above 1 and rates that exceed 1 together are errors."""
    for wrong in (
        {"sed": 1},
        {"error_rate_429": 1.2},
        {"error_rate_429": 0.6, "error_rate_500": 0.5},
    ):
        with pytest.raises(ValidationError):
            SimulatedSettings(**wrong)


def test_messages_of_assistants_are_no_material(ask, english):
    """The last JSON object of the user counts, not an earlier or an assistant's one."""
    from callwise.simulator.request import read_material

    call = ask({"user_text": "first"})
    messages = (*call.messages, Message("user", json.dumps(english)), Message("assistant", "{}"))
    body = {"messages": [{"role": m.role, "content": m.content} for m in messages]}
    assert read_material(body).user_text == english["user_text"]


def test_a_model_remembers_a_bounded_number_of_texts():
    """However many replies it reads, judges and answers, it keeps the latest ones only."""
    model = SimulatedModel(seed=91)
    for number in range(1100):
        model.true_quality(f"text {number}")
        model._judge.bias(f"text {number}", "rubric", "score")
    assert model._phrases.read.cache_info().currsize == 512
    assert model._judge.bias.cache_info().currsize == 1024
