"""LangChain and LangGraph code on a budgeter, by exchanging its model."""

import asyncio
import copy
import gc
import sys
import threading
from contextvars import ContextVar
from dataclasses import dataclass

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from pydantic import BaseModel
from typing_extensions import TypedDict

from callwise.budget import Budgeter
from callwise.budget.layers.cache import MemoryCache
from callwise.calls import (
    ConfigError,
    Endpoint,
    Priority,
    Purpose,
    Remaining,
    Reply,
    ReportedUsage,
    Role,
    Sampling,
)
from callwise.calls.chat_model import BudgetedChatModel
from callwise.calls.errors import AuthFailed, CallRefused, InvalidAnswer
from callwise.calls.structured import parse_answer
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.testing.fakes import ScriptedClient

SCOPE = ContextVar("scope", default="none")


class Verdict(BaseModel):
    """A form."""

    score: float


class FakeLLM:
    """Answers from a list, parses as the budgeter does, and keeps what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []
        self.scopes = []
        self.threads = []

    async def ask(self, call):
        """Return the next answer, or raise it."""
        await asyncio.sleep(0)
        self.calls.append(call)
        self.scopes.append(SCOPE.get())
        self.threads.append(threading.current_thread())
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        reply = answer if isinstance(answer, Reply) else Reply(answer, usage=ReportedUsage(10, 5))
        if call.response_model is not None:
            parse_answer(reply.text, call.response_model)
        return reply

    async def ask_all(self, calls, *, max_concurrency=None):
        """Not used here."""
        raise NotImplementedError

    def advisory(self):
        """Return that nothing is limited."""
        return Remaining()


def tool_call(name, arguments, call_id="c1"):
    """Return a reply that calls a tool."""
    function = {"name": name, "arguments": arguments}
    call = {"id": call_id, "type": "function", "function": function}
    return Reply("", tool_calls=(call,), usage=ReportedUsage(10, 5))


@tool
def add(left: int, right: int) -> int:
    """Return the sum of two numbers."""
    return left + right


async def test_an_invocation_is_one_call():
    """With its role and purpose, its messages, and usage on the answer."""
    reply = Reply(
        "hi", usage=ReportedUsage(10, 5, 4), model="m", finish_reason="stop", is_simulated=True
    )
    llm = FakeLLM(reply)
    model = BudgetedChatModel(llm=llm, role=Role.FAST, purpose=Purpose.INTENT)
    message = await model.ainvoke([SystemMessage("s"), HumanMessage("u")])
    [call] = llm.calls
    assert (call.role, call.purpose) == (Role.FAST, Purpose.INTENT)
    assert [(each.role, each.content) for each in call.messages] == [("system", "s"), ("user", "u")]
    assert message.text == "hi"
    assert message.usage_metadata["total_tokens"] == 15
    assert message.usage_metadata["input_token_details"] == {"cache_read": 4}
    assert message.response_metadata["model_name"] == "m"
    assert message.response_metadata["is_simulated"] is True


async def test_unknown_usage_is_left_out():
    """Never 0."""
    llm = FakeLLM(Reply("hi"))
    assert (await BudgetedChatModel(llm=llm).ainvoke("u")).usage_metadata is None


async def test_sampling_of_the_model_and_of_the_invocation():
    """What is bound or given goes before what the model has."""
    llm = FakeLLM("a", "b", "c")
    model = BudgetedChatModel(
        llm=llm, sampling=Sampling(temperature=0.7, seed=3), timeout_seconds=9.0
    )
    await model.ainvoke("u", stop=["END"], temperature=0.0)
    await model.bind(sample=2, max_tokens=5).ainvoke("u")
    await model.ainvoke("u")
    first, second, third = llm.calls
    assert first.sampling == Sampling(temperature=0.0, seed=3, stop=("END",))
    assert (second.sample, second.sampling.max_tokens) == (2, 5)
    assert third.sampling == Sampling(temperature=0.7, seed=3)
    assert third.timeout_seconds == 9.0


async def test_urgency_company_and_lifetime_are_those_of_a_call():
    """Of the model, and of one invocation before that; a class by its name or number."""
    llm = FakeLLM("a", "b")
    of_model = {"priority": "low", "deadline_seconds": 60, "batch_key": "x"}
    model = BudgetedChatModel(llm=llm, cache_ttl_seconds=5.0, **of_model)
    await model.ainvoke("hi")
    nearer = {"deadline_seconds": 1.5, "batch_key": "y", "cache_ttl_seconds": 0.5}
    await model.bind(priority=0, **nearer).ainvoke("hi")
    seen = [
        (each.priority, each.deadline_seconds, each.batch_key, each.cache_ttl_seconds)
        for each in llm.calls
    ]
    assert seen == [(Priority.LOW, 60, "x", 5.0), (Priority.CRITICAL, 1.5, "y", 0.5)]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"priority": "now"}, "a priority is one of CRITICAL .*; got 'now'"),
        ({"priority": 9}, "a priority is one of CRITICAL .*; got 9"),
        ({"deadline_seconds": "soon"}, "deadline_seconds is a number of seconds, got 'soon'"),
        ({"deadline_seconds": float("nan")}, "deadline_seconds is a number of seconds, got nan"),
        ({"cache_ttl_seconds": True}, "cache_ttl_seconds is a number of seconds, got True"),
    ],
)
async def test_an_urgency_that_there_is_not_is_refused(wrong, words):
    """Before anything is asked."""
    llm = FakeLLM()
    with pytest.raises(ConfigError, match=words):
        await BudgetedChatModel(llm=llm).bind(**wrong).ainvoke("hi")
    assert not llm.calls


async def test_the_end_of_each_asking_is_reported_before_the_answer_is_returned():
    """With its outcome, its number in the ledger, and what it was billed."""
    ends = []
    budgeter = Budgeter.simulated(max_calls=1)
    model = BudgetedChatModel(llm=budgeter, on_end=ends.append, final_answer="no more")
    try:
        await model.ainvoke("hi")
        assert [end.outcome for end in ends] == ["served"]
        assert (await model.ainvoke("hi again")).text == "no more"
    finally:
        model.close()
    assert [end.outcome for end in ends] == ["served", "refused"]
    assert [end.sequence for end in ends] == [row.sequence for row in budgeter.ledger.rows]
    assert ends[0].billed.total_tokens == budgeter.ledger.rows[0].usage.tokens > 0


async def test_an_unknown_argument_is_refused_and_named():
    """Nothing is silently left out."""
    with pytest.raises(ConfigError, match="top_k"):
        await BudgetedChatModel(llm=FakeLLM()).ainvoke("u", top_k=3)


async def test_langchains_own_cache_is_left_out():
    """The ledger could not see its hits."""
    llm = FakeLLM("a", "b")
    model = BudgetedChatModel(llm=llm)
    set_llm_cache(InMemoryCache())
    try:
        texts = [(await model.ainvoke("same")).text for _ in range(2)]
    finally:
        set_llm_cache(None)
    assert texts == ["a", "b"]


async def test_a_refusal_of_the_budget_comes_through():
    """As the same error."""
    llm = FakeLLM(CallRefused("turn:1", "max_calls", 1, 1, 1))
    with pytest.raises(CallRefused):
        await BudgetedChatModel(llm=llm).ainvoke("u")


async def test_a_stream_yields_the_chunks_of_the_answer():
    """And usage and reason once, at the end."""
    reply = Reply("hello", chunks=("he", "llo"), usage=ReportedUsage(10, 5), finish_reason="stop")
    llm = FakeLLM(reply)
    pieces = [piece async for piece in BudgetedChatModel(llm=llm).astream("u")]
    assert [piece.text for piece in pieces] == ["he", "llo", ""]
    whole = pieces[0] + pieces[1] + pieces[2]
    assert whole.usage_metadata["total_tokens"] == 15
    assert whole.response_metadata["finish_reason"] == "stop"
    assert llm.calls[0].stream


async def test_a_streamed_tool_call_is_whole():
    """Its pieces add up to the call."""
    model = BudgetedChatModel(llm=FakeLLM(tool_call("add", '{"left": 1}')))
    whole = None
    async for piece in model.astream("u"):
        whole = piece if whole is None else whole + piece
    [call] = whole.tool_calls
    assert (call["name"], call["args"], call["id"]) == ("add", {"left": 1}, "c1")


async def test_several_choices_are_several_generations():
    """Only the first message has the usage, so that a sum is right."""
    llm = FakeLLM(Reply("a", choices=("a", "b"), usage=ReportedUsage(10, 5)))
    result = await BudgetedChatModel(llm=llm).agenerate([[HumanMessage("u")]], n=2)
    messages = [generation.message for generation in result.generations[0]]
    assert [message.text for message in messages] == ["a", "b"]
    assert [message.usage_metadata is None for message in messages] == [False, True]


@pytest.mark.parametrize(
    ("given", "wire"),
    [
        ("any", "required"),
        (True, "required"),
        ("auto", "auto"),
        (False, None),
        (None, None),
        ("add", {"type": "function", "function": {"name": "add"}}),
        (
            {"type": "function", "function": {"name": "x"}},
            {"type": "function", "function": {"name": "x"}},
        ),
    ],
)
async def test_tools_are_bound_in_the_wire_format(given, wire):
    """Whatever form LangChain code gives them in."""
    llm = FakeLLM("ok")
    await BudgetedChatModel(llm=llm).bind_tools([add], tool_choice=given).ainvoke("u")
    [call] = llm.calls
    assert call.tools[0]["function"]["name"] == "add"
    assert call.tool_choice == wire


async def test_malformed_arguments_of_a_tool_are_invalid_and_not_lost():
    """They are where LangChain reads them, and are sent back unchanged."""
    llm = FakeLLM(tool_call("add", "{left"), "ok")
    model = BudgetedChatModel(llm=llm)
    message = await model.ainvoke("u")
    assert message.tool_calls == []
    assert message.invalid_tool_calls[0]["args"] == "{left"
    await model.ainvoke([HumanMessage("u"), message, ToolMessage("no", tool_call_id="c1")])
    assert llm.calls[1].messages[1].tool_calls[0]["function"]["arguments"] == "{left"


async def test_a_pydantic_schema_is_the_calls_response_model():
    """So that repairs are the budgeter's, and counted."""
    llm = FakeLLM('```json\n{"score": 0.5}\n```')
    model = BudgetedChatModel(llm=llm, max_repairs=3).with_structured_output(Verdict)
    assert await model.ainvoke("u") == Verdict(score=0.5)
    [call] = llm.calls
    assert (call.response_model, call.max_repairs) == (Verdict, 3)


async def test_include_raw_keeps_what_does_not_fit():
    """As LangChain's own models do."""
    llm = FakeLLM('{"score": 1}', "nonsense", "nonsense")
    model = BudgetedChatModel(llm=llm)
    raw = model.with_structured_output(Verdict, include_raw=True, method="json_schema")
    good, bad = await raw.ainvoke("u"), await raw.ainvoke("u")
    assert (good["parsed"], good["parsing_error"]) == (Verdict(score=1), None)
    assert good["raw"].usage_metadata["total_tokens"] == 15
    assert bad["parsed"] is None
    assert isinstance(bad["parsing_error"], InvalidAnswer)
    assert bad["raw"].text == "nonsense"
    with pytest.raises(InvalidAnswer):
        await model.with_structured_output(Verdict).ainvoke("u")


async def test_another_schema_is_asked_for_as_a_tool_call():
    """A TypedDict, here."""

    class Opinion(TypedDict):
        """An opinion."""

        score: float

    llm = FakeLLM(tool_call("Opinion", '{"score": 0.5}'))
    model = BudgetedChatModel(llm=llm).with_structured_output(Opinion)
    assert await model.ainvoke("u") == {"score": 0.5}
    assert llm.calls[0].tool_choice == "required"


async def test_it_can_be_part_of_a_chain():
    """Prompts before it, parsers after it."""
    llm = FakeLLM('{"score": 0.5}')
    prompt = ChatPromptTemplate.from_messages([("system", "Judge."), ("user", "{text}")])
    chain = prompt | BudgetedChatModel(llm=llm).with_structured_output(Verdict)
    assert await chain.ainvoke({"text": "fine"}) == Verdict(score=0.5)
    assert llm.calls[0].messages[1].content == "fine"


async def test_callbacks_see_the_graphs_metadata():
    """Tracing goes on working as with any model."""
    seen = []

    class Tracer(AsyncCallbackHandler):
        async def on_chat_model_start(self, serialized, messages, *, metadata=None, **kwargs):
            seen.append(metadata)

    async def node(state):
        return {"messages": [await BudgetedChatModel(llm=FakeLLM("hi")).ainvoke("u")]}

    graph = StateGraph(MessagesState).add_node("talk", node).add_edge(START, "talk").compile()
    await graph.ainvoke({"messages": []}, {"callbacks": [Tracer()]})
    assert seen[0]["langgraph_node"] == "talk"


def react_graph(model, *, is_async):
    """Return a small graph that lets a model call tools until it is done."""
    bound = model.bind_tools([add])

    async def atalk(state):
        return {"messages": [await bound.ainvoke(state["messages"])]}

    def talk(state):
        return {"messages": [bound.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("talk", atalk if is_async else talk)
    builder.add_node("tools", ToolNode([add]))
    builder.add_edge(START, "talk")
    builder.add_conditional_edges("talk", tools_condition, {"tools": "tools", END: END})
    builder.add_edge("tools", "talk")
    return builder.compile()


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_tool_loop_in_a_graph(is_async):
    """Each turn of the loop is a call; a synchronous node runs in a thread of the graph's."""
    llm = FakeLLM(
        tool_call("add", '{"left": 2, "right": 3}'),
        tool_call("add", '{"left": 5, "right": 1}', "c2"),
        "It is 6.",
    )
    graph = react_graph(BudgetedChatModel(llm=llm), is_async=is_async)
    SCOPE.set("turn")
    state = await graph.ainvoke({"messages": [HumanMessage("2+3+1?")]})
    assert state["messages"][-1].text == "It is 6."
    assert [call.messages[-1].content for call in llm.calls] == ["2+3+1?", "5", "6"]
    assert llm.scopes == ["turn"] * 3
    [thread] = set(llm.threads)
    assert thread.name == "callwise-loop"


async def test_tokens_stream_out_of_a_graph():
    """`stream_mode="messages"` yields the pieces with the node's name."""
    llm = FakeLLM(Reply("hello", chunks=("he", "llo"), usage=ReportedUsage(10, 5)))
    graph = react_graph(BudgetedChatModel(llm=llm), is_async=True)
    pieces = [
        (piece.text, metadata["langgraph_node"])
        async for piece, metadata in graph.astream(
            {"messages": [HumanMessage("u")]}, stream_mode="messages"
        )
        if isinstance(piece, AIMessage)
    ]
    assert [piece for piece in pieces if piece[0]] == [("he", "talk"), ("llo", "talk")]


def test_closing_ends_the_loop_until_it_is_needed():
    """Made once, shared by calls, ended by `close`, made again when needed."""
    llm = FakeLLM("a", "b", "c")
    model = BudgetedChatModel(llm=llm)
    SCOPE.set("sync")
    assert [model.invoke("u").text, model.invoke("u").text] == ["a", "b"]
    [thread] = set(llm.threads)
    assert (thread.name, llm.scopes) == ("callwise-loop", ["sync"] * 2)
    model.close()
    model.close()
    assert not thread.is_alive()
    assert model.invoke("u").text == "c"
    model.close()


def test_a_deleted_llm_ends_its_loop():
    """Nothing is left behind."""
    llm = FakeLLM("a")
    model = BudgetedChatModel(llm=llm)
    model.invoke("u")
    [thread] = llm.threads
    del model, llm
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


async def test_every_way_to_ask_meets_in_one_loop():
    """Models of one LLM, from a thread, synchronously inside a loop, and asynchronously."""
    llm = FakeLLM(*"abcdef")
    first, second = BudgetedChatModel(llm=llm), BudgetedChatModel(llm=llm)
    assert (await asyncio.to_thread(first.invoke, "u")).text == "a"
    assert second.invoke("u").text == "b"
    assert (await second.ainvoke("u")).text == "c"
    assert sorted(message.text for message in first.batch(["u"] * 2)) == ["d", "e"]
    assert [piece.text for piece in first.stream("u")] == ["f", ""]
    [thread] = set(llm.threads)
    assert thread.name == "callwise-loop"
    first.close()


def test_errors_reach_synchronous_code():
    """From the private loop, as they are."""
    model = BudgetedChatModel(llm=FakeLLM(CallRefused("turn:1", "max_calls", 1, 1, 1)))
    with pytest.raises(CallRefused):
        model.invoke("u")
    model.close()


def test_structured_output_works_synchronously():
    """Without a loop anywhere."""
    model = BudgetedChatModel(llm=FakeLLM('{"score": 1}'))
    assert model.with_structured_output(Verdict).invoke("u") == Verdict(score=1)
    model.close()


def test_batches_of_synchronous_code_run_side_by_side():
    """Several threads wait on the one private loop."""
    model = BudgetedChatModel(llm=FakeLLM("a", "b", "c"))
    assert sorted(message.text for message in model.batch(["1", "2", "3"])) == ["a", "b", "c"]
    model.close()


def test_threads_that_start_together_share_one_private_loop():
    """A second loop would be forgotten at once, and the call on it cancelled."""
    pause = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            llm = FakeLLM(*"abcdefgh")
            model = BudgetedChatModel(llm=llm)
            model.batch(list("12345678"))
            model.close()
            assert len(set(llm.threads)) == 1
    finally:
        sys.setswitchinterval(pause)


def test_no_representation_contains_the_llm():
    """Nor what it holds."""
    assert "FakeLLM" not in repr(BudgetedChatModel(llm=FakeLLM()))


async def test_a_batch_of_one_prompt_has_an_answer_for_each():
    """Unless its calls share: at a temperature of 0, or where the model or a binding says so."""

    def answers(model):
        return len({message.text for message in model.batch(["u"] * 5)})

    def model(**settings):
        client = ScriptedClient(lambda call: f"answer {client.sent_requests}")
        budgeter = Budgeter({Role.MAIN: Endpoint("fake", "m", client)}, cache=MemoryCache())
        return BudgetedChatModel(llm=budgeter, **settings)

    assert answers(model()) == 5
    assert answers(model(sampling=Sampling(temperature=0.7))) == 5
    assert answers(model(sampling=Sampling(temperature=0.0))) == 1
    assert answers(model().bind(temperature=0)) == 1
    assert answers(model(share=True)) == 1
    assert answers(model(share=True).bind(share=False)) == 5
    assert answers(model(share=False, sampling=Sampling(temperature=0.0))) == 5
    messages = await model().abatch(["u"] * 5)
    assert [message.text for message in messages] == [f"answer {number}" for number in range(5)]


def test_a_batch_is_recorded_and_replayed_in_its_order(tmp_path):
    """Each of five equal prompts gets its own answer again, whichever answer came first."""

    async def answer(call):
        number = client.sent_requests
        for _ in range(100 - 20 * number):
            await asyncio.sleep(0)
        return f"answer {number}"

    def run(client, mode):
        with open_cassette(tmp_path / "c.jsonl", mode) as cassette:
            budgeter = Budgeter({Role.MAIN: Endpoint("fake", "m", client)}, recorder=cassette)
            model = BudgetedChatModel(llm=budgeter)
            try:
                return [message.text for message in model.batch(["u"] * 5)]
            finally:
                model.close()

    client = ScriptedClient(answer)
    expected = [f"answer {number}" for number in range(1, 6)]
    assert run(client, CassetteMode.REWRITE) == expected
    assert run(ScriptedClient(), CassetteMode.STRICT) == expected


def test_a_batch_keeps_errors_concurrency_and_contexts():
    """As LangChain's own: errors in place, so many at once, the caller's context."""
    llm = FakeLLM("a", LookupError("lost"), "c")
    model = BudgetedChatModel(llm=llm)
    SCOPE.set("batch")
    config = {"max_concurrency": 1}
    first, second, third = model.batch(["1", "2", "3"], config, return_exceptions=True)
    assert (first.text, type(second), third.text) == ("a", LookupError, "c")
    assert llm.scopes == ["batch"] * 3
    assert model.batch([]) == []
    model.close()


def test_any_kind_of_llm_can_be_used():
    """Also one that has no hash and cannot be referred to weakly, and a copy of its model."""

    @dataclass(slots=True)
    class Wrapped:
        llm: FakeLLM

        async def ask(self, call):
            return await self.llm.ask(call)

    model = BudgetedChatModel(llm=Wrapped(FakeLLM("a", "b")))
    assert copy.deepcopy(model)._owner is model._owner
    assert model.invoke("u").text == "a"
    assert model.model_copy().invoke("u").text == "b"
    model.close()


async def test_a_cancelled_call_is_cancelled_again_in_a_replay(tmp_path):
    """A sibling that fails cancels it: its loop is given the time for that, as when recorded."""

    async def answer(call):
        if call.messages[0].content == "slow":
            await asyncio.Event().wait()
        return AuthFailed("no", status=401)

    async def ask_both(model):
        async with asyncio.TaskGroup() as group:
            group.create_task(model.ainvoke("slow"))
            group.create_task(model.ainvoke("wrong"))

    async def run(client, cassette):
        budgeter = Budgeter({Role.MAIN: Endpoint("fake", "m", client)}, recorder=cassette)
        with pytest.raises(ExceptionGroup):
            await ask_both(BudgetedChatModel(llm=budgeter))
        await budgeter.aclose()
        return sorted((row.outcome, row.requests) for row in budgeter.ledger.rows)

    path = tmp_path / "c.jsonl"
    with open_cassette(path, CassetteMode.REWRITE) as cassette:
        recorded = await run(ScriptedClient(answer), cassette)
    with open_cassette(path, CassetteMode.STRICT) as cassette:
        replayed = await run(ScriptedClient(), cassette)
    assert recorded == [("cancelled", 1), ("failed", 1)]
    assert replayed == [("cancelled", 1), ("replayed", 1)]
