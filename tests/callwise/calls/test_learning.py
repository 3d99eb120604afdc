"""Lessons that a client learns of its endpoint, over a real socket: once, in few requests."""

import asyncio
from dataclasses import replace

import pytest
from aiohttp import web
from pydantic import BaseModel

from callwise.calls import Message, Reply, Sampling
from callwise.calls.capabilities import Capabilities, Lesson
from callwise.calls.errors import (
    BadRequest,
    ContextTooLong,
    ParameterRefused,
    RateLimited,
)
from callwise.calls.learning import LearnedFact, Learner, ModelKnowledge, features_of
from callwise.calls.openai_http import OpenAIClient


class Verdict(BaseModel):
    """A form."""

    score: float


SAMPLING = Sampling(
    temperature=0.6, top_p=0.9, max_tokens=8192, seed=3, top_logprobs=5, presence_penalty=0.1
)
MESSAGES = (Message("system", "Be brief."), Message("user", "hi"))


def refusing(rule, *, status=400, gate=None):
    """Return a server's script that refuses what a rule finds in a body, and answers the rest."""

    async def respond(request, body):
        if gate is not None:
            await gate.wait()
        problem = rule(body)
        if problem is not None:
            return web.json_response({"error": problem}, status=status)
        document = {
            "choices": [{"message": {"content": '{"score": 1}'}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3},
        }
        return web.json_response(document)

    class Script(list):
        """Never runs out."""

        def __bool__(self):
            return True

        def popleft(self):
            return respond

    return Script()


def message(words, **fields):
    """Return an error's object."""
    return {"message": words, **fields}


def no_form(body):
    """Refuse every response_format, as old servers do."""
    if "response_format" in body:
        return message("Unrecognized request argument supplied: response_format")
    return None


def no_schema(body):
    """Refuse a schema, as DeepSeek does."""
    if body.get("response_format", {}).get("type") == "json_schema":
        return message("This response_format type is unavailable now")
    return None


def json_word(body):
    """Refuse JSON mode without the word, as DashScope does."""
    if "response_format" in body and "json" not in str(body["messages"]).lower():
        return message("'messages' must contain the word 'json' in some form")
    return no_schema(body)


def only_default_temperature(body):
    """Refuse a temperature and what goes with it, as reasoning models do, one at a time."""
    for name in ("temperature", "top_p", "presence_penalty"):
        if name in body:
            return message(
                f"Unsupported value: '{name}' does not support {body[name]} with this model. "
                "Only the default (1) value is supported.",
                param=name,
                code="unsupported_value",
            )
    return None


def other_limit(body):
    """Refuse max_tokens, as newer OpenAI models do."""
    if "max_tokens" in body:
        words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        words += "'max_completion_tokens' instead."
        return message(words, param="max_tokens", code="unsupported_parameter")
    return None


def small_limit(body):
    """Refuse a longer answer than the model can give."""
    if body.get("max_tokens", 0) > 4096:
        words = f"max_tokens is too large: {body['max_tokens']}. This model supports at most 4096 "
        return message(words + "completion tokens", param="max_tokens")
    return None


def no_system(body):
    """Refuse the system role, as o1-mini does."""
    if body["messages"][0]["role"] == "system":
        words = "Unsupported value: 'messages[0].role' does not support 'system' with this model."
        return message(words, param="messages[0].role", code="unsupported_value")
    return None


def template(body):
    """Fail in a chat template, as SGLang does."""
    if body["messages"][0]["role"] == "system":
        return message("jinja2.exceptions.TemplateError: System role not supported")
    return None


def no_logprobs(body):
    """Refuse logprobs."""
    return message("`logprobs` is not supported with this model") if "logprobs" in body else None


def short_context(body):
    """Refuse an answer that alone takes more than the context."""
    limit = 2048
    if body["max_tokens"] + 40 > limit:
        return message(
            f"This model's maximum context length is {limit} tokens. However, you requested "
            f"{body['max_tokens'] + 40} tokens (40 in the messages, {body['max_tokens']} in the "
            "completion).",
            code="context_length_exceeded",
        )
    return None


CASES = {
    no_form: (2, Capabilities(schema_mode="prompt")),
    no_schema: (1, Capabilities(schema_mode="json_object")),
    json_word: (1, Capabilities(schema_mode="json_object")),
    only_default_temperature: (
        3,
        Capabilities(refused=frozenset({"temperature", "top_p", "presence_penalty"})),
    ),
    other_limit: (
        1,
        Capabilities(token_limit_field="max_completion_tokens", refused=frozenset({"max_tokens"})),
    ),
    small_limit: (1, Capabilities(max_output_tokens=4096)),
    no_system: (1, Capabilities(system_role="user")),
    template: (1, Capabilities(system_role="user")),
    no_logprobs: (1, Capabilities(refused=frozenset({"logprobs"}))),
    short_context: (1, Capabilities(context_tokens=2048, max_output_tokens=1024)),
}


@pytest.fixture
def structured(ask):
    """Make a structured call with instructions and all kinds of sampling."""
    return lambda **fields: ask(
        messages=MESSAGES, response_model=Verdict, **{"sampling": SAMPLING, **fields}
    )


async def settle(client, call, *, sent):
    """Ask as the budgeter does: again at once, as long as something was learned."""
    for _ in range(20):
        [outcome] = await client.answer([call], model="m", on_sent=sent.append)
        if not isinstance(outcome, ParameterRefused):
            return outcome
    raise AssertionError("it never ends")


@pytest.mark.parametrize("rule", CASES, ids=lambda rule: rule.__name__)
async def test_eight_calls_at_once_pay_once_for_each_fact(server, structured, rule):
    """Every refusal is learned by one request, reported once, and no call is left waiting."""
    refusals, expected = CASES[rule]
    server.script = refusing(rule, status=500 if rule is template else 400)
    client = OpenAIClient(server.url)
    facts, sent = [], []
    client.listen(on_learned=facts.append, on_notice=lambda text: None)
    calls = [structured(sample=index) for index in range(8)]
    replies = await asyncio.gather(*(settle(client, call, sent=sent) for call in calls))
    assert all(isinstance(reply, Reply) for reply in replies)
    assert client.capabilities("m") == expected
    assert len(facts) == refusals
    assert len(sent) == len(server.bodies) == 8 + refusals
    # Another model of the endpoint is another matter.
    assert client.capabilities("other") == Capabilities()
    await client.aclose()


async def test_a_fact_says_what_changes_and_why(server, structured):
    """In one line, for a person, with the endpoint's words."""
    server.script = refusing(no_schema)
    client = OpenAIClient(server.url)
    facts = []
    client.listen(on_learned=facts.append, on_notice=lambda text: None)
    await settle(client, structured(), sent=[])
    (fact,) = facts
    assert fact.capabilities == client.capabilities("m")
    assert "JSON mode" in str(fact)
    assert "This response_format type is unavailable now" in str(fact)
    assert (fact.endpoint, fact.model) == (f"127.0.0.1-{server.url.split(':')[2][:-3]}", "m")
    await client.aclose()


async def test_a_client_that_starts_from_what_was_learned_pays_nothing(server, structured):
    """And none of its calls waits for another."""
    server.script = refusing(no_form)
    client = OpenAIClient(server.url)
    client.start_from("m", Capabilities(schema_mode="prompt"))
    [reply] = await client.answer([structured()], model="m")
    assert isinstance(reply, Reply)
    assert len(server.bodies) == 1
    await client.aclose()


async def test_what_is_refused_for_no_known_reason_stays_an_error(server, structured):
    """One request, and not retryable."""
    server.script = refusing(lambda body: message("computer says no"))
    client = OpenAIClient(server.url)
    [error] = await client.answer([structured()], model="m")
    assert type(error) is BadRequest
    assert not error.is_retryable
    await client.aclose()


async def test_a_prompt_that_is_too_long_is_not_learned_from(server, structured):
    """Shorter answers would not make it fit."""
    words = (
        "This model's maximum context length is 2048 tokens. However, you requested 9000 "
        "tokens (2500 in the messages, 8192 in the completion)."
    )
    server.script = refusing(lambda body: message(words))
    client = OpenAIClient(server.url)
    [error] = await client.answer([structured()], model="m")
    assert type(error) is ContextTooLong
    assert (error.limit_tokens, error.prompt_tokens) == (2048, 2500)
    await client.aclose()


async def test_an_endpoint_that_refuses_whatever_is_sent_is_asked_a_few_times(server, structured):
    """Each fact is learned once, and then it is an error."""
    server.script = refusing(
        lambda body: message("temperature, response_format and max_tokens are not supported")
    )
    client = OpenAIClient(server.url)
    outcome = await settle(client, structured(), sent=[])
    assert type(outcome) is BadRequest
    assert len(server.bodies) < 8
    await client.aclose()


async def test_an_endpoint_that_changes_its_mind_is_learned_again(server, structured):
    """What was confirmed and is refused later is left out from then on."""
    state = {"strict": False}
    server.script = refusing(lambda body: no_schema(body) if state["strict"] else None)
    client = OpenAIClient(server.url)
    sent = []
    await asyncio.gather(*(settle(client, structured(sample=n), sent=sent) for n in range(4)))
    state["strict"] = True
    replies = await asyncio.gather(
        *(settle(client, structured(sample=n), sent=sent) for n in range(4, 8))
    )
    assert all(isinstance(reply, Reply) for reply in replies)
    assert len(sent) == len(server.bodies) <= 4 + 8
    assert client.capabilities("m").schema_mode == "json_object"
    await client.aclose()


async def test_calls_wait_for_the_first_answer_and_then_no_longer(server, structured):
    """Until the model has answered once, one request is under way; then all are."""
    gate = asyncio.Event()
    server.script = refusing(lambda body: None, gate=gate)
    client = OpenAIClient(server.url)
    tasks = [
        asyncio.create_task(client.answer([structured(sample=n)], model="m")) for n in range(1, 5)
    ]
    await asyncio.wait_for(server.arrived.acquire(), 60)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(server.bodies) == 1
    gate.set()
    await asyncio.gather(*tasks)
    gate.clear()
    tasks = [
        asyncio.create_task(client.answer([structured(sample=n)], model="m")) for n in range(5, 9)
    ]
    for _ in range(3 + 4):
        await asyncio.wait_for(server.arrived.acquire(), 60)
    assert len(server.bodies) == 8
    gate.set()
    await asyncio.gather(*tasks)
    await client.aclose()


async def test_confirmed_capabilities_are_not_waited_for(server, structured):
    """Settings may say that they are known to be right."""
    gate = asyncio.Event()
    server.script = refusing(lambda body: None, gate=gate)
    client = OpenAIClient(server.url, capabilities=Capabilities(), is_confirmed=True)
    tasks = [
        asyncio.create_task(client.answer([structured(sample=n)], model="m")) for n in range(1, 5)
    ]
    for _ in range(4):
        await asyncio.wait_for(server.arrived.acquire(), 60)
    gate.set()
    await asyncio.gather(*tasks)
    await client.aclose()


async def test_waiting_calls_go_on_when_the_first_is_cancelled(server, structured):
    """The next one finds out."""
    gate = asyncio.Event()
    server.script = refusing(no_schema, gate=gate)
    client = OpenAIClient(server.url)
    sent = []
    first = asyncio.create_task(client.answer([structured()], model="m"))
    await asyncio.wait_for(server.arrived.acquire(), 60)
    others = [
        asyncio.create_task(settle(client, structured(sample=n), sent=sent)) for n in range(1, 4)
    ]
    await asyncio.sleep(0)
    first.cancel()
    gate.set()
    replies = await asyncio.wait_for(asyncio.gather(*others), 60)
    assert all(isinstance(reply, Reply) for reply in replies)
    await asyncio.gather(first, return_exceptions=True)
    await client.aclose()


async def test_a_failure_that_says_nothing_lets_all_the_others_go(server, structured):
    """A 429 of the first does not put the others in a row."""
    gate = asyncio.Event()

    async def limited(request, body):
        return web.json_response({"error": {"message": "slow down"}}, status=429)

    rest = refusing(lambda body: None, gate=gate)

    class Script(list):
        first = True

        def __bool__(self):
            return True

        def popleft(self):
            was_first, self.first = self.first, False
            return limited if was_first else rest.popleft()

    server.script = Script()
    client = OpenAIClient(server.url)
    tasks = [
        asyncio.create_task(client.answer([structured(sample=n)], model="m")) for n in range(1, 5)
    ]
    for _ in range(4):
        await asyncio.wait_for(server.arrived.acquire(), 60)
    gate.set()
    outcomes = [outcome for [outcome] in await asyncio.gather(*tasks)]
    assert sum(isinstance(outcome, RateLimited) for outcome in outcomes) == 1
    await client.aclose()


async def test_waiting_for_another_call_is_not_part_of_the_timeout(server, structured, pass_time):
    """The time of an attempt begins when it may be sent."""
    gate = asyncio.Event()
    server.script = refusing(lambda body: None, gate=gate)
    client = OpenAIClient(server.url)
    first = asyncio.create_task(client.answer([structured()], model="m"))
    await asyncio.wait_for(server.arrived.acquire(), 60)
    second = asyncio.create_task(
        client.answer([structured(sample=1, timeout_seconds=30)], model="m")
    )
    await asyncio.sleep(0)
    await pass_time(60)
    assert not second.done()
    gate.set()
    [[_], [reply]] = await asyncio.gather(first, second)
    assert isinstance(reply, Reply)
    await client.aclose()


async def test_a_resample_has_another_seed(server, ask):
    """A proxy that caches by the request's bytes cannot give the first sample again."""
    client = OpenAIClient(server.url)
    for sample, seed in ((0, None), (2, None), (0, 7), (2, 7)):
        await client.answer([ask(sample=sample, sampling=Sampling(seed=seed))], model="m")
    assert [body.get("seed") for body in server.bodies] == [None, 2, 7, 9]
    await client.aclose()


async def test_further_fields_go_before_the_calls_own(server, ask):
    """`extra_body` adds fields, and overrides none that the call sets."""
    client = OpenAIClient(server.url)
    extra = {"top_k": 20, "temperature": 9, "model": "other"}
    await client.answer([ask(sampling=Sampling(temperature=0.5, extra_body=extra))], model="m")
    body = server.bodies[0]
    assert (body["top_k"], body["temperature"], body["model"]) == (20, 0.5, "m")
    await client.aclose()


@pytest.mark.parametrize("mode", ["json_object", "prompt"])
@pytest.mark.parametrize("role", ["system", "user"])
async def test_words_for_a_form_always_have_the_word_json(server, ask, mode, role):
    """JSON mode is refused without it."""
    client = OpenAIClient(server.url, capabilities=Capabilities(schema_mode=mode, system_role=role))
    await client.answer([ask(messages=MESSAGES, response_model=Verdict)], model="m")
    messages = server.bodies[0]["messages"]
    assert "json" in str(messages).lower()
    assert [each["role"] for each in messages] == (
        ["system", "user"] if role == "system" else ["user"]
    )
    assert messages[-1]["content"].endswith("hi")
    await client.aclose()


async def test_roles_alternate_where_there_is_no_system_role(server, ask):
    """Messages of one role that follow each other become one."""
    client = OpenAIClient(server.url, capabilities=Capabilities(system_role="user"))
    messages = (
        Message("system", "a"),
        Message("user", "b"),
        Message("user", "c"),
        Message("assistant", "d"),
        Message("user", "e"),
    )
    await client.answer([ask(messages=messages)], model="m")
    sent = [(each["role"], each["content"]) for each in server.bodies[0]["messages"]]
    assert sent == [("user", "a\n\nb\n\nc"), ("assistant", "d"), ("user", "e")]
    await client.aclose()


def test_the_client_is_a_learner():
    """So that a session can keep what it learns."""
    assert isinstance(OpenAIClient("http://localhost:1/v1"), Learner)
    fact = LearnedFact("host", "m", Capabilities(), "sends no seed", "host: no")
    assert str(fact) == "m at host: sends no seed from now on (host: no)"


def test_no_state_is_come_back_to():
    """A client that is told one thing and its opposite stops learning."""
    known = ModelKnowledge(Capabilities())
    there = Lesson(Capabilities(schema_mode="json_object"), "one way")
    assert known.learn(there)
    assert not known.learn(Lesson(Capabilities(), "and back"))
    assert not known.learn(None)
    assert known.capabilities == there.capabilities


def test_features_are_what_can_be_refused():
    """Field names, the kind of form, and whether there is a system message."""
    body = {
        "model": "m",
        "messages": [{"role": "system", "content": "s"}],
        "temperature": 1,
        "response_format": {"type": "json_object"},
    }
    assert features_of(body) == {
        "temperature",
        "response_format",
        "response_format.json_object",
        "role.system",
    }
    assert features_of({"model": "e", "input": ["a"], "encoding_format": "float"}) == {
        "encoding_format"
    }


async def test_embeddings_learn_too(server, ask):
    """A field that an embeddings route does not take is left out."""

    async def refuse(request, body):
        return web.json_response({"error": message("encoding_format is not supported")}, status=400)

    server.script.append(refuse)
    client = OpenAIClient(server.url)
    call = replace(ask(), messages=(), inputs=("a", "b"))
    reply = await settle(client, call, sent=[])
    assert len(reply.vectors) == 2
    assert "encoding_format" not in server.bodies[1]
    await client.aclose()
