"""The simulated server answers as the in-process client does, and logs what it received."""

import asyncio
import base64
import json
import struct
from contextlib import asynccontextmanager
from typing import Annotated

import aiohttp
import pytest
from pydantic import BaseModel, Field

from callwise.calls import Call, Message, Purpose, Reply, Role, Sampling
from callwise.calls.capabilities import Capabilities
from callwise.calls.errors import (
    AuthFailed,
    BadResponse,
    CallError,
    CallTimeout,
    ConnectionFailed,
    InvalidAnswer,
    RateLimited,
    ServerFailed,
    StreamCut,
)
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.structured import parse_answer
from callwise.simulator import SimulatedClient, SimulatedSettings
from callwise.simulator.server import SimServer, serve


class Plan(BaseModel):
    """The answer of a planner."""

    goal: str
    reply: str
    bubbles: list[str]


class Verdict(BaseModel):
    """A judge's verdict on one reply."""

    id: str
    score: Annotated[float, Field(ge=0, le=1)]


class Verdicts(BaseModel):
    """The answer of a judge about the candidates."""

    candidates: list[Verdict]


def make_call(number=0, model=Plan, **fields):
    """Return a call as the pipeline makes it."""
    material = {"language": "zh", "user_text": f"我今天跑了{number}公里。", "count": 2}
    messages = (
        Message("system", "Static instructions."),
        Message("user", json.dumps(material, ensure_ascii=False)),
    )
    return Call(Role.MAIN, Purpose.PLAN, messages, response_model=model, **fields)


@asynccontextmanager
async def running(settings=None, *, schema_mode="json_schema", **options):
    """Yield a server and a real client of it."""
    async with SimServer(settings, **options) as server:
        client = OpenAIClient(
            server.base_url, api_key="any", capabilities=Capabilities(schema_mode=schema_mode)
        )
        try:
            yield server, client
        finally:
            await client.aclose()


async def one(client, call):
    """Return the outcome of a single call."""
    (outcome,) = await client.answer([call], model="m")
    return outcome


def what_was_said(outcome):
    """Return what must agree over HTTP and in process: everything but time and label."""
    if isinstance(outcome, Reply):
        return (
            outcome.text,
            outcome.choices,
            outcome.vectors,
            outcome.usage.input_tokens,
            outcome.usage.output_tokens,
            outcome.model,
            outcome.finish_reason,
            "".join(outcome.chunks),
            outcome.token_logprobs,
        )
    return type(outcome)


async def test_http_and_process_give_the_same_answers():
    """Structured, plain, streamed, cut and embedding calls agree byte for byte."""
    calls = [
        make_call(1),
        make_call(2, None),
        make_call(3, stream=True),
        make_call(4, None, stream=True),
        make_call(5, sampling=Sampling(temperature=0.7, max_tokens=9)),
        make_call(5, sample=2, sampling=Sampling(temperature=0.7)),
        make_call(5, sample=1, sampling=Sampling(temperature=0.7, seed=4)),
        make_call(6, None, sampling=Sampling(n=2)),
        make_call(7, Verdicts, sampling=Sampling(top_logprobs=5)),
        make_call(7, Verdicts, sampling=Sampling(top_logprobs=5), stream=True, sample=1),
        make_call(8, Verdicts, sampling=Sampling(top_logprobs=0, n=2, max_tokens=60)),
        make_call(9, None, sampling=Sampling(top_logprobs=20), stream=True),
        Call(Role.EMBED, Purpose.EMBED, inputs=("one two", "三四")),
    ]
    inside = SimulatedClient()
    async with running() as (_, client):
        for call in calls:
            over_http = what_was_said(await one(client, call))
            assert over_http == what_was_said(await one(inside, call))


async def test_every_schema_mode_is_understood():
    """A client that gives the schema as text gets answers that fit, too."""
    for schema_mode in ("json_schema", "json_object", "prompt"):
        async with running(schema_mode=schema_mode) as (_, client):
            reply = await one(client, make_call())
            assert parse_answer(reply.text, Plan).reply


async def test_equal_bodies_count_as_samples():
    """The wire has no sample index, so the n-th equal body gets the n-th sample."""
    inside = SimulatedClient()
    async with running() as (server, client):
        texts = [(await one(client, make_call())).text for _ in range(3)]
    assert texts == [(await one(inside, make_call(sample=n))).text for n in range(3)]
    assert [entry.sample for entry in server.log] == [0, 1, 2]
    assert len({entry.body_digest for entry in server.log}) == 1


async def test_scripted_faults_reach_the_client_as_errors():
    """Each fault ends in its error; the answer after it is the one that was due."""
    script = ["429", "500", "401", "html", "cut_stream", "malformed_json", "ok"]
    async with running(SimulatedSettings(retry_after_seconds=3), faults=script) as (server, client):
        outcomes = [await one(client, make_call(number)) for number in range(7)]
    assert [type(outcome) for outcome in outcomes] == [
        RateLimited,
        ServerFailed,
        AuthFailed,
        BadResponse,
        ConnectionFailed,
        Reply,
        Reply,
    ]
    assert outcomes[0].retry_after_seconds == 3
    with pytest.raises(InvalidAnswer):
        parse_answer(outcomes[5].text, Plan)
    assert [entry.fault for entry in server.log] == script
    assert [entry.status for entry in server.log] == [429, 500, 401, 200, 200, 200, 200]


async def test_a_retry_gets_the_answer_that_was_due():
    """Failed attempts do not count as samples."""
    async with running(faults=["500", "cut_stream", "ok"]) as (server, client):
        outcomes = [await one(client, make_call(stream=True)) for _ in range(3)]
    assert isinstance(outcomes[1], StreamCut)
    assert outcomes[2].text == (await one(SimulatedClient(), make_call())).text
    assert [entry.sample for entry in server.log] == [0, 0, 0]


async def test_a_timeout_hangs_until_the_client_leaves(pass_time):
    """The request is logged on arrival, and the server does not wait for clients when it stops."""
    async with running(faults=["timeout"]) as (server, client):
        asking = asyncio.create_task(one(client, make_call(timeout_seconds=30)))
        await server.log.reached(1)
        await pass_time(60)
        assert isinstance(await asking, CallTimeout)
        assert [entry.status for entry in server.log] == [None]


async def test_a_timeout_ends_after_its_time():
    """Clients that do not leave are disconnected."""
    settings = SimulatedSettings(timeout_seconds=0.01)
    async with running(settings, faults=["timeout"]) as (_, client):
        assert isinstance(await one(client, make_call()), ConnectionFailed)


async def test_a_hanging_request_does_not_hold_the_server():
    """Stopping the server lets go of requests that hang."""
    async with SimServer(faults=["timeout"]) as server:
        client = OpenAIClient(server.base_url, api_key="any")
        hanging = asyncio.create_task(one(client, make_call()))
        await server.log.reached(1)
    assert isinstance(await hanging, CallError)
    await client.aclose()


async def test_the_log_equals_what_was_sent_with_faults_and_cancellations():
    """Every request that left the machine arrived, whatever its outcome."""
    settings = SimulatedSettings(
        error_rate_429=0.2, error_rate_500=0.1, timeout_rate=0.1, timeout_seconds=0.01, seed=3
    )
    sent = []
    async with running(settings) as (server, client):

        async def attempt(number):
            return await client.answer([make_call(number)], model="m", on_sent=sent.append)

        tasks = [asyncio.create_task(attempt(number)) for number in range(60)]
        await server.log.reached(20)
        for task in tasks[::7]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.log.reached(len(sent))
        assert len(server.log) == len(sent)
        faults = {entry.fault for entry in server.log}
        assert {"ok", "429", "500", "timeout"} <= faults


async def test_faults_agree_with_the_process():
    """The same settings fail the same calls, over HTTP and in process."""
    settings = SimulatedSettings(error_rate_429=0.3, error_rate_500=0.2, malformed_json_rate=0.3)
    inside = SimulatedClient(settings)
    async with running(settings) as (_, client):
        for number in range(12):
            for _ in range(2):
                over_http = what_was_said(await one(client, make_call(number)))
                if isinstance(over_http, tuple):
                    break
            for _ in range(2):
                in_process = what_was_said(await one(inside, make_call(number)))
                if isinstance(in_process, tuple):
                    break
            assert over_http == in_process


async def test_latency_is_real_only_where_asked():
    """The virtual latency, scaled, is slept before the answer."""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    virtual = (await one(SimulatedClient(), make_call())).latency_seconds
    async with running(SimulatedSettings(real_time_scale=0.5), sleep=sleep) as (_, client):
        await one(client, make_call())
    assert slept == [pytest.approx(virtual * 0.5)]
    async with running(sleep=sleep) as (_, client):
        await one(client, make_call())
    assert len(slept) == 1


async def test_a_client_that_leaves_uses_no_sample():
    """A request that was cancelled while its answer was on the way was not answered."""
    came, gone = asyncio.Event(), asyncio.Event()

    async def sleep(_seconds):
        came.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    async with running(SimulatedSettings(real_time_scale=1.0), sleep=sleep) as (server, client):
        for expected in (0, 0):
            came.clear()
            gone.clear()
            asking = asyncio.create_task(one(client, make_call()))
            await came.wait()
            asking.cancel()
            await gone.wait()
            assert server.log[-1].sample == expected


async def test_pages_models_and_labels():
    """A browser sees that this is simulated, and every answer has the header."""
    async with SimServer() as server, aiohttp.ClientSession(server.origin) as session:
        async with session.get("/") as response:
            assert "simulated" in await response.text()
            assert response.content_type == "text/plain"
        async with session.get("/v1/models") as response:
            names = [row["id"] for row in (await response.json())["data"]]
            assert all(name.startswith("simulated-") for name in names)
        message = {"role": "user", "content": "hi"}
        body = {"model": "gpt-x", "messages": [message]}
        async with session.post("/v1/chat/completions", json=body) as response:
            assert response.headers["X-Callwise-Simulated"] == "1"
            assert (await response.json())["model"] == "simulated-gpt-x"
        async with session.get("/__log") as response:
            (entry,) = (await response.json())["requests"]
        assert entry["model"] == "gpt-x"
        assert entry["request_id"] == 1


async def test_streams_follow_the_protocol():
    """Usage comes only when asked for, and `[DONE]` ends the stream."""
    message = {"role": "user", "content": "hi"}
    async with SimServer() as server, aiohttp.ClientSession(server.origin) as session:
        for options in ({}, {"stream_options": {"include_usage": True}}):
            body = {"model": "m", "messages": [message], "stream": True, **options}
            async with session.post("/v1/chat/completions", json=body) as response:
                lines = (await response.text()).split("\n\n")
            assert lines[-2:] == ["data: [DONE]", ""]
            chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
            assert any("usage" in chunk for chunk in chunks) == bool(options)
            assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"


async def test_embeddings_come_as_numbers_or_base64():
    """Both encodings of the protocol hold the same vectors."""
    async with SimServer() as server, aiohttp.ClientSession(server.origin) as session:
        found = []
        for encoding in ("float", "base64"):
            body = {"model": "e", "input": "green tea", "encoding_format": encoding}
            async with session.post("/v1/embeddings", json=body) as response:
                found.append((await response.json())["data"][0]["embedding"])
    numbers, text = found
    assert struct.unpack("<256f", base64.b64decode(text)) == pytest.approx(numbers, abs=1e-6)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"{}", b'{"messages": []}', b"\xff"])
async def test_bodies_that_are_not_understood_get_400(data):
    """Nonsense gets an error in the protocol, and is logged."""
    async with SimServer() as server, aiohttp.ClientSession(server.origin) as session:
        for path in ("/v1/chat/completions", "/v1/embeddings"):
            async with session.post(path, data=data) as response:
                assert response.status == 400
                assert "error" in await response.json()
        assert [entry.status for entry in server.log] == [400, 400]


async def test_the_log_file_has_a_line_for_each_request(tmp_path):
    """The file is complete while the server runs, and is appended to."""
    path = tmp_path / "log.jsonl"
    for _ in range(2):
        async with running(log_file=path, faults=["429"]) as (server, client):
            await one(client, make_call(1))
            await one(client, make_call(2))
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            assert lines[-2:] == [entry.arrival() for entry in server.log]
    assert len(path.read_text().splitlines()) == 4


async def test_serve_says_where_it_is_until_cancelled():
    """The command's server reports its URL once it listens, and stops on cancellation."""
    ready = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve("127.0.0.1", 0, SimulatedSettings(), on_ready=ready.set_result)
    )
    client = OpenAIClient(await ready, api_key="any")
    assert isinstance(await one(client, make_call()), Reply)
    await client.aclose()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_port_in_use_is_an_error():
    """Two servers cannot listen on one port."""
    async with SimServer() as server:
        port = int(server.origin.rpartition(":")[2])
        with pytest.raises(OSError, match=str(port)):
            async with SimServer(port=port):
                pass


def test_a_server_that_does_not_run_has_no_url():
    """Asking for the URL too early is an error that says what to do."""
    with pytest.raises(RuntimeError, match="async with"):
        _ = SimServer().base_url


async def test_a_batch_of_conversations_is_answered_as_each_alone():
    """The batch route gives a choice for each conversation, and their usage together."""
    conversations = [[{"role": "user", "content": f"Hello, {name}"}] for name in ("Ada", "Bo")]
    async with SimServer() as server, aiohttp.ClientSession(server.base_url + "/") as session:
        alone = []
        for messages in conversations:
            async with session.post(
                "chat/completions", json={"model": "m", "seed": 3, "messages": messages}
            ) as response:
                alone.append(await response.json())
        async with session.post(
            "chat/completions/batch", json={"model": "m", "seed": 3, "messages": conversations}
        ) as response:
            together = await response.json()
    assert [choice["index"] for choice in together["choices"]] == [0, 1]
    for choice, single in zip(together["choices"], alone, strict=True):
        assert choice["message"] == single["choices"][0]["message"]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert together["usage"][name] == sum(single["usage"][name] for single in alone)
    assert [entry.items for entry in server.log] == [1, 1, 2]


@pytest.mark.parametrize("field", [{"stream": True}, {"n": 2}, {"tools": []}, {"messages": []}])
async def test_a_batch_that_the_route_cannot_serve_is_refused(field):
    """Streams, several choices, tools and an empty list are a 400, as on vLLM's route."""
    body = {"model": "m", "messages": [[{"role": "user", "content": "Hello"}]], **field}
    async with (
        SimServer() as server,
        aiohttp.ClientSession(server.base_url + "/") as session,
        session.post("chat/completions/batch", json=body) as response,
    ):
        assert response.status == 400


async def test_a_server_that_crashes_breaks_its_connections():
    """A request under way fails, a later one finds no server, and neither counts as answered."""
    async with running(SimulatedSettings(real_time_scale=100.0)) as (server, client):
        asking = asyncio.create_task(one(client, make_call(1)))
        await server.log.reached(1)
        await server.crash()
        assert isinstance(await asking, ConnectionFailed)
        assert isinstance(await one(client, make_call(2)), ConnectionFailed)
        assert [entry.is_answered for entry in server.log] == [False]


async def test_a_path_may_fail_alone():
    """Every request there is a 500, and others are answered."""
    async with running(failing_paths=("/v1/embeddings",)) as (_, client):
        texts = Call(Role.EMBED, Purpose.EMBED, inputs=("one",))
        outcomes = [await one(client, call) for call in (texts, make_call(1), texts)]
    assert [type(outcome) for outcome in outcomes] == [ServerFailed, Reply, ServerFailed]


async def test_a_connection_that_closes_before_its_answer_is_no_error_of_the_server(caplog):
    """The answer counts as not written, and the log has no error."""
    crashing: list[asyncio.Task[None]] = []

    async def close_connections(_seconds: float) -> None:
        crashing.append(asyncio.create_task(server.crash()))
        await asyncio.sleep(0)

    settings = SimulatedSettings(real_time_scale=1.0)
    async with SimServer(settings, sleep=close_connections) as server:
        client = OpenAIClient(server.base_url, api_key="any")
        assert isinstance(await one(client, make_call()), ConnectionFailed)
        await crashing[0]
        await client.aclose()
        assert [entry.is_answered for entry in server.log] == [False]
    assert "Error handling request" not in caplog.text
