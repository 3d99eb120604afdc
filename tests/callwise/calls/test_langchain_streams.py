"""Streams of a budgeted model: piece by piece as they come, and settled however they end."""

import asyncio
import gc
import json
import threading
from contextlib import aclosing

import pytest
from aiohttp import web
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGenerationChunk
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel, Field

from callwise.budget import Budgeter, Limits, ScopeKind
from callwise.budget.layers.cache import MemoryCache
from callwise.calls import Endpoint, Prices, Reply, ReportedUsage, Role
from callwise.calls.chat_model import BudgetedChatModel
from callwise.calls.errors import CallRefused, CallTimeout, ServerFailed, StreamCut
from callwise.calls.langchain_client import LangChainClient
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.pieces import Piece
from callwise.calls.retry import RetryPolicy
from callwise.testing.fakes import ScriptedClient

PRICES = Prices(1.0, 2.0)
AT_ONCE = RetryPolicy(first_wait_seconds=0, max_wait_seconds=0)
WORDS = ("Lo", "ng ", "ago")


class Form(BaseModel):
    """A form."""

    score: float


async def until(is_so):
    """Let others run until something is so, in this loop or in another thread's."""
    async with asyncio.timeout(60):  # so that a failure is no hang
        while not is_so():  # noqa: ASYNC110 - an event of asyncio works in one loop only
            await asyncio.sleep(0)


def budgeted(client, **more):
    """Return a budgeter on one client, and a model on it."""
    budgeter = Budgeter({Role.MAIN: Endpoint("e", "m", client, PRICES)}, retry=AT_ONCE, **more)
    return budgeter, BudgetedChatModel(llm=budgeter)


class Gated:
    """A client whose stream goes on when a test says so; `stop_after` breaks it off."""

    def __init__(self, *, words=WORDS, stop_after=None, error=None):
        self.gates = [threading.Event() for _ in words]
        self.words, self.stop_after, self.error = words, stop_after, error
        self.was_cancelled = False
        self.client = ScriptedClient(self.answer)

    async def answer(self, call):
        """Give the words out, one for each gate that opens."""
        try:
            for index, (gate, word) in enumerate(zip(self.gates, self.words, strict=True)):
                await until(gate.is_set)
                if index == self.stop_after:
                    return self.error or StreamCut("it broke off")
                call.listener.on_piece(Piece(word))
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return Reply(
            "".join(self.words), chunks=self.words, usage=ReportedUsage(7, 3), model="served"
        )

    def open(self, count=None):
        """Let so many words through; all of them without a number."""
        for gate in self.gates[:count]:
            gate.set()


async def test_the_first_piece_comes_while_the_server_still_sends(server, wire_words):
    """Over a real connection: the server waits until the caller has the first piece."""
    has_first = asyncio.Event()

    async def slowly(request, body):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(wire_words.events(wire_words.delta("Lo"), done=False))
        await has_first.wait()
        usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
        rest = (wire_words.delta("ng", finish_reason="stop"), usage)
        await response.write(wire_words.events(*rest))
        return response

    server.script.append(slowly)
    budgeter, model = budgeted(OpenAIClient(server.url))
    pieces = []
    async for piece in model.astream("u"):
        pieces.append(piece)
        has_first.set()
    assert [piece.text for piece in pieces] == ["Lo", "ng", ""]
    assert pieces[-1].usage_metadata["total_tokens"] == 10
    assert pieces[-1].response_metadata["finish_reason"] == "stop"
    assert pieces[-1].response_metadata["callwise"]["outcome"] == "served"
    [row] = budgeter.ledger.rows
    assert (row.outcome, row.input_tokens, row.output_tokens, row.unknown_usage) == (
        "served",
        7,
        3,
        0,
    )
    await budgeter.aclose()


async def test_a_tool_call_comes_in_its_parts(server, wire_words):
    """They add up to the call, whose arguments are read once they are whole."""
    parts = [
        {"index": 0, "id": "c1", "function": {"name": "look", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"q":'}},
        {"index": 0, "function": {"arguments": '"x"}'}},
        {"index": 1, "id": "c2", "function": {"name": "add", "arguments": "{}"}},
    ]
    deltas = [wire_words.delta(None, tool_calls=[part]) for part in parts]
    deltas.append(wire_words.delta(None, finish_reason="tool_calls"))
    server.then(text=wire_words.events(*deltas), content_type="text/event-stream")
    budgeter, model = budgeted(OpenAIClient(server.url))
    pieces = [piece async for piece in model.astream("u")]
    assert len(pieces) == 5
    whole = pieces[0]
    for piece in pieces[1:]:
        whole = whole + piece
    assert [(call["name"], call["args"], call["id"]) for call in whole.tool_calls] == [
        ("look", {"q": "x"}, "c1"),
        ("add", {}, "c2"),
    ]
    await budgeter.aclose()


@pytest.mark.parametrize("way", ["aclose", "cancel", "cancel in the loop's body", "garbage"])
async def test_a_stream_that_is_left_is_cancelled_and_settled(way):
    """One row, cancelled; what came of it is counted, by estimate; the client is let go."""
    gated = Gated()
    budgeter, model = budgeted(gated.client)
    gated.open(2)
    got = []

    async def consume():
        async for piece in model.astream("Tell me a story."):
            got.append(piece.text)
            if len(got) == 2 and way != "cancel":
                await asyncio.Event().wait()

    if way.startswith("cancel"):
        task = asyncio.create_task(consume())
        await until(lambda: len(got) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        stream = model.astream("Tell me a story.")
        got += [(await anext(stream)).text, (await anext(stream)).text]
        if way == "aclose":
            await stream.aclose()
        else:
            del stream
    if way not in {"aclose", "cancel"}:
        # A generator that is not closed by its own caller is closed by the garbage collector.
        await until(lambda: budgeter.ledger.rows)
    assert got == ["Lo", "ng "]
    assert gated.was_cancelled
    [row] = budgeter.ledger.rows
    assert (row.outcome, row.requests, row.unknown_usage) == ("cancelled", 1, 1)
    assert row.input_tokens > 4
    assert row.output_tokens in {2, 3}
    assert budgeter.in_flight == 0
    budgeter.ledger.check()


async def test_an_error_behind_a_stream_that_is_left_is_nobodys():
    """It is in the ledger; the loop does not report it as never retrieved."""
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    gated = Gated(stop_after=1)
    gated.open()
    budgeter, model = budgeted(gated.client)
    stream = model.astream("u")
    assert (await anext(stream)).text == "Lo"
    await until(lambda: budgeter.ledger.rows)
    await stream.aclose()
    del stream
    gc.collect()
    assert [row.outcome for row in budgeter.ledger.rows] == ["failed"]
    assert not reported


async def test_a_left_stream_closes_its_connection(server, wire_words):
    """The server does not go on sending an answer that is not read."""
    gone = asyncio.Event()

    async def endless(request, body):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(wire_words.events(wire_words.delta("Lo"), done=False))
        try:
            while True:
                await response.write(b": ping\n\n")
                await asyncio.sleep(0)
        except (ConnectionError, asyncio.CancelledError):
            gone.set()
            raise

    server.script.append(endless)
    budgeter, model = budgeted(OpenAIClient(server.url))
    async with aclosing(model.astream("u")) as stream:
        assert (await anext(stream)).text == "Lo"
    await asyncio.wait_for(gone.wait(), 60)
    assert [row.outcome for row in budgeter.ledger.rows] == ["cancelled"]
    await budgeter.aclose()


async def test_what_came_of_a_broken_stream_is_charged_and_not_the_whole_estimate():
    """Ten pieces of an answer of at most 100,000 tokens leave quota for the next call."""
    gated = Gated(words=("word ",) * 11, stop_after=10)
    budgeter, model = budgeted(gated.client)
    gated.open()
    with budgeter.scope(ScopeKind.TURN, "0", limits=Limits(max_tokens=100_100, max_usd=1)):
        with pytest.raises(StreamCut):
            async for _ in model.astream("u", max_tokens=100_000):
                pass
        left = budgeter.advisory()
    assert left.tokens_left > 100_000
    assert 0.9999 < left.usd_left < 1
    [row] = budgeter.ledger.rows
    assert 10 <= row.output_tokens <= 12
    assert row.usd is None


async def test_thoughts_of_a_stream_are_counted_and_not_given_out(server, wire_words):
    """They are billed as the answer is; nothing of it was given out, so it is tried again."""
    thinks = wire_words.events(
        wire_words.delta(None, reasoning_content="so many thoughts to think"), done=False
    )
    answers = wire_words.events(
        wire_words.delta(None, reasoning_content="hm"),
        wire_words.delta("fine", finish_reason="stop"),
    )
    server.then(text=thinks, content_type="text/event-stream")
    server.then(text=answers, content_type="text/event-stream")
    budgeter, model = budgeted(OpenAIClient(server.url))
    assert [piece.text async for piece in model.astream("u")] == ["fine", ""]
    [row] = budgeter.ledger.rows
    assert row.attempts == 2
    assert row.output_tokens >= 5
    await budgeter.aclose()


@pytest.mark.parametrize("error", [StreamCut("cut"), ServerFailed("boom"), CallTimeout("late")])
async def test_nothing_is_tried_again_once_a_piece_was_given_out(error):
    """The caller would get half of one answer and the whole of another."""
    gated = Gated(stop_after=1, error=error)
    gated.open()
    budgeter, model = budgeted(gated.client)
    got = []
    stream = model.astream("u")
    got.append((await anext(stream)).text)
    with pytest.raises(type(error)) as caught:
        await anext(stream)
    assert got == ["Lo"]
    assert "part of the answer was given out" in str(caught.value.__notes__)
    [row] = budgeter.ledger.rows
    assert (row.outcome, row.attempts, row.requests) == ("failed", 1, 1)


async def test_before_the_first_piece_it_is_tried_again():
    """A blank beginning is no piece: an answer of nothing else is asked for again."""
    replies = iter([ServerFailed("boom"), StreamCut("cut"), "fine"])

    def answer(call):
        call.listener.on_piece(Piece("\n"))
        reply = next(replies)
        if isinstance(reply, str):
            call.listener.on_piece(Piece(reply))
        return Reply("\nfine", chunks=("\n", "fine")) if isinstance(reply, str) else reply

    budgeter, model = budgeted(ScriptedClient(answer))
    assert [piece.text async for piece in model.astream("u")] == ["\n", "fine", ""]
    assert [(row.outcome, row.attempts) for row in budgeter.ledger.rows] == [("served", 3)]


async def test_a_refused_stream_raises_before_any_piece():
    """As any other call."""
    budgeter, model = budgeted(ScriptedClient(["never"]), limits=Limits(max_calls=0))
    with pytest.raises(CallRefused):
        await anext(model.astream("u"))
    assert [row.outcome for row in budgeter.ledger.rows] == ["refused"]


def test_a_synchronous_stream_comes_as_it_is_sent():
    """Without a running loop; a piece is there before the next one is sent."""
    allowed = threading.Semaphore(1)

    async def answer(call):
        for word in WORDS:
            await asyncio.to_thread(allowed.acquire)
            call.listener.on_piece(Piece(word))
        return Reply("".join(WORDS), chunks=WORDS, usage=ReportedUsage(7, 3))

    budgeter, model = budgeted(ScriptedClient(answer))
    got = []
    for piece in model.stream("u"):
        got.append(piece.text)
        allowed.release()
    assert got == [*WORDS, ""]
    assert [row.outcome for row in budgeter.ledger.rows] == ["served"]
    model.close()


def test_a_synchronous_stream_that_is_left_is_settled():
    """When its generator is closed."""

    async def answer(call):
        call.listener.on_piece(Piece("Lo"))
        await asyncio.Event().wait()

    budgeter, model = budgeted(ScriptedClient(answer))
    stream = model.stream("u")
    assert next(stream).text == "Lo"
    stream.close()
    [row] = budgeter.ledger.rows
    assert (row.outcome, row.output_tokens) == ("cancelled", 1)
    model.close()


def graph_of(model, *, is_async):
    """Return a graph whose one node invokes the model, and does not stream it."""

    async def atalk(state):
        return {"messages": [await model.ainvoke(state["messages"])]}

    def talk(state):
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(MessagesState).add_node("talk", atalk if is_async else talk)
    return builder.add_edge(START, "talk").compile()


async def test_a_graph_streams_a_node_that_invokes():
    """`stream_mode="messages"` gets the first piece before the last one is sent."""
    gated = Gated()
    budgeter, model = budgeted(gated.client)
    gated.open(1)
    got = []
    graph = graph_of(model, is_async=True)
    asked = {"messages": [HumanMessage("u")]}
    async for piece, metadata in graph.astream(asked, stream_mode="messages"):
        if isinstance(piece, AIMessageChunk):
            got.append((piece.text, metadata["langgraph_node"]))
            gated.open()
    assert [text for text, _ in got] == [*WORDS, ""]
    assert {node for _, node in got} == {"talk"}
    assert [row.outcome for row in budgeter.ledger.rows] == ["served"]


def test_a_synchronous_graph_streams_a_node_that_invokes():
    """Piece by piece too."""

    async def answer(call):
        for word in WORDS:
            call.listener.on_piece(Piece(word))
            await asyncio.sleep(0)
        return Reply("".join(WORDS), chunks=WORDS, usage=ReportedUsage(7, 3))

    _, model = budgeted(ScriptedClient(answer))
    graph = graph_of(model, is_async=False)
    asked = {"messages": [HumanMessage("u")]}
    pieces = [piece for piece, _ in graph.stream(asked, stream_mode="messages")]
    assert [piece.text for piece in pieces if isinstance(piece, AIMessageChunk)] == [*WORDS, ""]
    model.close()


async def test_events_of_a_model_that_is_invoked_come_as_it_streams():
    """`astream_events` gets the first piece before the last one is sent."""
    gated = Gated()
    _, model = budgeted(gated.client)
    gated.open(1)
    got = []
    graph = graph_of(model, is_async=True)
    async for event in graph.astream_events({"messages": [HumanMessage("u")]}, version="v2"):
        if event["event"] == "on_chat_model_stream":
            got.append(event["data"]["chunk"].text)
            gated.open()
    assert got == [*WORDS, ""]


async def test_an_answer_in_a_form_is_streamed_once_it_fits():
    """A first answer that does not fit is not given out."""

    def answer(call):
        text = "nonsense" if call.repair == 0 else '{"score": 1}'
        if call.listener is not None:
            call.listener.on_piece(Piece(text))
        return Reply(text, chunks=(text,), usage=ReportedUsage(10, 5))

    budgeter, model = budgeted(ScriptedClient(answer))
    stream = model.bind(response_model=Form).astream("u")
    pieces = [piece async for piece in stream]
    assert [piece.text for piece in pieces] == ['{"score": 1}', ""]
    assert pieces[-1].usage_metadata["total_tokens"] == 30
    assert [row.repair for row in budgeter.ledger.rows] == [0, 1]


async def test_cached_and_shared_answers_stream():
    """In the pieces that they came in once; each has an outcome, and one is billed."""
    gated = Gated()
    _, model = budgeted(gated.client, cache=MemoryCache())
    model = model.bind(temperature=0)

    async def consume():
        return [piece async for piece in model.astream("u")]

    both = asyncio.gather(consume(), consume())
    gated.open()
    first, second = await both
    third = await consume()
    for pieces in (first, second, third):
        assert [piece.text for piece in pieces] == [*WORDS, ""]
    outcomes = [
        each[-1].response_metadata["callwise"]["outcome"] for each in (first, second, third)
    ]
    assert outcomes in (["served", "coalesced", "cached"], ["served", "cached", "cached"])
    totals = [each[-1].usage_metadata["total_tokens"] for each in (first, second, third)]
    assert totals == [10, 0, 0]


async def test_several_choices_are_not_streamed_as_one():
    """The answer is the first with anything in it, and that is not known before the end."""

    def answer(call):
        assert call.listener is None
        return Reply("b", choices=("", "b"), usage=ReportedUsage(7, 3))

    _, model = budgeted(ScriptedClient(answer))
    assert [piece.text async for piece in model.astream("u", n=2)] == ["b", ""]


class Talker(BaseChatModel):
    """A LangChain model that streams words, and waits before the last."""

    gate: threading.Event = None
    seen: list = Field(default_factory=list)
    is_broken: bool = False

    @property
    def _llm_type(self):
        return "talker"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        raise NotImplementedError

    async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
        self.seen.append(kwargs)
        yield ChatGenerationChunk(message=AIMessageChunk("Lo"))
        await until(self.gate.is_set)
        if self.is_broken:
            raise ConnectionError("gone")
        part = {"name": "f", "args": "{}", "id": "c", "index": 0, "type": "tool_call_chunk"}
        usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
        message = AIMessageChunk("ng", tool_call_chunks=[part], usage_metadata=usage)
        yield ChatGenerationChunk(message=message)


@pytest.mark.parametrize("is_broken", [False, True])
async def test_another_langchain_model_streams_through(is_broken):
    """Its own pieces, as they come, with known arguments handed on."""
    talker = Talker(gate=threading.Event(), is_broken=is_broken)
    budgeter, model = budgeted(LangChainClient(talker))
    pieces = []
    stream = model.astream("u", parallel_tool_calls=False, user="u1")
    try:
        async for piece in stream:
            pieces.append(piece)
            talker.gate.set()
    except StreamCut:
        assert is_broken
    assert talker.seen[0] == {"parallel_tool_calls": False, "user": "u1"} | {"stream": True} or (
        talker.seen[0] == {"parallel_tool_calls": False, "user": "u1"}
    )
    [row] = budgeter.ledger.rows
    if is_broken:
        assert [piece.text for piece in pieces] == ["Lo"]
        assert (row.outcome, row.attempts, row.output_tokens) == ("failed", 1, 1)
        return
    assert [piece.text for piece in pieces] == ["Lo", "ng", ""]
    whole = pieces[0] + pieces[1] + pieces[2]
    assert [call["name"] for call in whole.tool_calls] == ["f"]
    assert whole.usage_metadata["total_tokens"] == row.input_tokens + row.output_tokens == 10


async def test_fields_of_tool_calls_survive_json():
    """A whole message of a stream goes back into the next prompt."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    client = ScriptedClient([Reply("", tool_calls=(call,)), "ok"])
    _, model = budgeted(client)
    whole = None
    async for piece in model.astream("u"):
        whole = piece if whole is None else whole + piece
    await model.ainvoke([HumanMessage("u"), AIMessage(**whole.model_dump(exclude={"type"}))])
    [sent] = client.calls[1].messages[1].tool_calls
    assert json.loads(sent["function"]["arguments"]) == {"a": 1}
