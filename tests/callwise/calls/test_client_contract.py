"""Contract of every client, checked with the fake, the HTTP clients and LangChain's."""

import asyncio

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

from callwise.calls import Call, Client, Message, Purpose, Reply, Role
from callwise.calls.errors import CallError, ConnectionFailed, ServerFailed
from callwise.calls.langchain_client import LangChainClient
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.openai_sdk import OpenAISdkClient
from callwise.testing.fakes import ScriptedClient


class EchoModel(BaseChatModel):
    """A LangChain model that repeats the last message, waits on `hold`, fails on `fail`."""

    arrived: asyncio.Semaphore = None
    asked: list = Field(default_factory=list)

    @property
    def _llm_type(self):
        return "echo"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        raise NotImplementedError

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        self.asked.append(messages)
        self.arrived.release()
        text = messages[-1].text
        if text == "hold":
            await asyncio.Event().wait()
        if text == "fail":
            error = RuntimeError("boom")
            error.status_code = 500
            raise error
        message = AIMessage(
            text, usage_metadata={"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


class LengthEmbeddings(Embeddings):
    """Embeds a text as its length and a one."""

    def embed_documents(self, texts):
        """Return one vector a text."""
        return [[float(len(text)), 1.0] for text in texts]

    def embed_query(self, text):
        """Return one vector."""
        return [float(len(text)), 1.0]


class Case:
    """A client, what it received, and how to know that something arrived."""

    def __init__(self, client, received, arrived):
        self.client = client
        self.received = received
        self.arrived = arrived


def fake_case():
    """Return the fake and what it counted."""
    arrived = asyncio.Semaphore(0)

    async def script(call):
        arrived.release()
        text = call.messages[-1].content if call.messages else ""
        if text == "hold":
            await asyncio.Event().wait()
        return ServerFailed("boom", status=500) if text == "fail" else text

    client = ScriptedClient(script)
    return Case(client, lambda: client.sent_requests, arrived.acquire)


def langchain_case():
    """Return LangChain's client and what its model was asked."""
    model = EchoModel(arrived=asyncio.Semaphore(0))
    client = LangChainClient(model, embeddings=LengthEmbeddings())
    return Case(client, lambda: len(model.asked), model.arrived.acquire)


def http_case(server, client_class):
    """Return an HTTP client and what the server received."""
    return Case(client_class(server.url), lambda: len(server.bodies), server.arrived.acquire)


@pytest.fixture(params=["fake", "langchain", OpenAIClient, OpenAISdkClient])
async def case(request, server):
    """Each kind of client in turn."""
    made = {"fake": fake_case, "langchain": langchain_case}.get(request.param)
    case = made() if made else http_case(server, request.param)
    yield case
    await case.client.aclose()


def chat(text):
    """Return a chat call."""
    return Call(Role.MAIN, Purpose.OTHER, (Message("user", text),))


async def test_it_is_a_client_and_not_simulated(case):
    """It has the protocol's methods and does not label its answers as simulated."""
    assert isinstance(case.client, Client)
    assert not case.client.is_simulated


async def test_answers_come_in_the_order_of_the_calls(case):
    """Each answer is at the index of its call."""
    texts = ["one", "two", "three"]
    replies = await case.client.answer([chat(text) for text in texts], model="m")
    assert [reply.text for reply in replies] == texts
    assert all(isinstance(reply, Reply) and reply.usage.total_tokens for reply in replies)


async def test_an_error_is_at_the_index_of_its_call(case):
    """One call's failure leaves the others their answers, and is not raised."""
    first, second, third = await case.client.answer(
        [chat("one"), chat("fail"), chat("three")], model="m"
    )
    assert (first.text, third.text) == ("one", "three")
    assert isinstance(second, ServerFailed)
    assert second.status == 500
    assert second.was_sent


async def test_embeddings_come_in_the_order_of_the_inputs(case):
    """One vector a text, in the order of the texts."""
    call = Call(Role.EMBED, Purpose.EMBED, inputs=("a", "bbb", "cc"))
    [reply] = await case.client.answer([call], model="m")
    assert reply.vectors == ((1.0, 1.0), (3.0, 1.0), (2.0, 1.0))
    assert reply.usage.output_tokens is not None


async def test_on_sent_is_called_once_for_each_request(case):
    """`on_sent` is called for exactly the requests that arrived, failures included."""
    sent = []
    calls = [chat("one"), chat("fail"), chat("three")]
    await case.client.answer(calls, model="m", on_sent=sent.append)
    assert sorted(sent) == [0, 1, 2]
    assert case.received() == 3


async def test_without_on_sent_it_answers_all_the_same(case):
    """The keyword may be left out, or be None."""
    [reply] = await case.client.answer([chat("one")], model="m", on_sent=None)
    assert reply.text == "one"


async def test_a_cancelled_call_says_that_its_request_left(case):
    """After a cancellation `on_sent` has been called for what arrived."""
    sent = []
    task = asyncio.create_task(
        case.client.answer([chat("hold"), chat("two")], model="m", on_sent=sent.append)
    )
    await case.arrived()
    await case.arrived()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(sent) == [0, 1]
    assert case.received() == 2


async def test_it_answers_after_a_cancellation(case):
    """A cancelled call does not spoil the client."""
    task = asyncio.create_task(case.client.answer([chat("hold")], model="m"))
    await case.arrived()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    [reply] = await case.client.answer([chat("again")], model="m")
    assert reply.text == "again"


async def test_closing_twice_is_safe(case):
    """The second close does nothing, with or without calls before."""
    await case.client.answer([chat("one")], model="m")
    await case.client.aclose()
    await case.client.aclose()


async def test_a_refused_connection_counts_no_request(client_class, unused_port):
    """Nothing left the machine, so nothing is counted."""
    sent = []
    client = client_class(f"http://127.0.0.1:{unused_port}/v1")
    [error] = await client.answer([chat("one")], model="m", on_sent=sent.append)
    assert isinstance(error, ConnectionFailed)
    assert not error.was_sent
    assert sent == []
    await client.aclose()


async def test_a_langchain_model_that_cannot_connect_counts_no_request():
    """An error whose chain says that no connection was made was not sent."""

    class ConnectError(Exception):
        pass

    class Refused(EchoModel):
        async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
            raise RuntimeError("connection error") from ConnectError("refused")

    sent = []
    client = LangChainClient(Refused())
    [error] = await client.answer([chat("one")], model="m", on_sent=sent.append)
    assert isinstance(error, CallError)
    assert not error.was_sent
    assert sent == []
