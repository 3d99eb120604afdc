"""Agents that are not ours under limits: they end well, and their callbacks add up."""

import asyncio

import pytest
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.prebuilt import create_react_agent
from pydantic import BaseModel
from typing_extensions import TypedDict

from callwise.budget import Budgeter, Limits, ManualClock, RoleLimits, ScopeKind
from callwise.budget.layers.cache import MemoryCache
from callwise.calls import Endpoint, Prices, Reply, ReportedUsage, Role
from callwise.calls.chat_model import BudgetedChatModel, FinalCall
from callwise.calls.errors import CallRefused, CallTimeout, EmptyAnswer, StreamCut
from callwise.calls.langchain_client import LangChainClient
from callwise.calls.pieces import Piece
from callwise.calls.reply import TokenLogprobs
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.testing.fakes import ScriptedClient

pytestmark = pytest.mark.filterwarnings("ignore:create_react_agent has been moved")


@tool
def look(place: str) -> str:
    """Return what is in a place."""
    return f"{place} is empty"


class Verdict(BaseModel):
    """A form."""

    score: float


class Opinion(TypedDict):
    """Another form."""

    score: float


def tool_calls(*names):
    """Return a reply that asks for these places to be looked into."""
    calls = tuple(
        {
            "id": f"c-{name}",
            "type": "function",
            "function": {"name": "look", "arguments": f'{{"place": "{name}"}}'},
        }
        for name in names
    )
    return Reply("", tool_calls=calls, usage=ReportedUsage(10, 5), model="served")


def restless(call):
    """Look on and on, as long as there is a tool to look with."""
    if call.tools:
        return tool_calls(f"place {len(call.messages)}")
    return Reply(
        "I found nothing.", usage=ReportedUsage(10, 5), model="served", finish_reason="stop"
    )


def agent_on(script=restless, *, limits=None, prices=None, **more):
    """Return a budgeter, and a ReAct agent of LangGraph's whose model is budgeted."""
    client = ScriptedClient(script)
    budgeter = Budgeter({Role.MAIN: Endpoint("e", "m", client, prices)}, limits=limits)
    model = BudgetedChatModel(llm=budgeter, **more)
    return budgeter, client, create_react_agent(model, [look])


async def run(agent):
    """Return an agent's last message."""
    state = await agent.ainvoke({"messages": [HumanMessage("Where is it?")]})
    return state["messages"][-1]


@pytest.mark.parametrize("max_calls", [1, 2, 5])
async def test_an_agent_without_a_final_answer_ends_in_an_error(max_calls):
    """Which is what a limit means by itself."""
    _, _, agent = agent_on(limits=Limits(max_calls=max_calls))
    with pytest.raises(CallRefused):
        await run(agent)


@pytest.mark.parametrize("max_calls", [1, 2, 5])
async def test_a_call_is_held_back_for_the_last_answer(max_calls):
    """The limit is used to its last call, which is made without tools; nothing is passed."""
    budgeter, client, agent = agent_on(limits=Limits(max_calls=max_calls), final_answer=FinalCall())
    last = await run(agent)
    assert last.text == "I found nothing."
    assert not last.tool_calls
    outcomes = [row.outcome for row in budgeter.ledger.rows]
    assert outcomes == ["served"] * (max_calls - 1) + ["refused", "served"]
    assert client.sent_requests == max_calls
    assert client.calls[-1].tools == ()
    assert "No further tools" in client.calls[-1].messages[-1].content
    row = budgeter.ledger.rows[-1]
    assert row.notes == f"final answer under max_calls={max_calls} of run"
    own = last.response_metadata["callwise"]
    assert own["final_answer_under"] == f"max_calls={max_calls} of run"
    assert (own["outcome"], own["sequence"]) == ("served", row.sequence)
    budgeter.ledger.check()


@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_requests=3),
        Limits(max_tokens=2000),
        Limits(max_usd=0.0001),
        Limits(roles={Role.MAIN: RoleLimits(max_calls=3)}),
        Limits(max_calls=3, max_tokens=1_000_000),
    ],
)
async def test_every_kind_of_limit_leaves_quota_for_the_last_answer(limits):
    """By the estimate of the last call as it would be then."""

    def script(call):
        reply = restless(call)
        prompt = 60 + 30 * len(call.messages)
        return Reply(
            reply.text,
            tool_calls=reply.tool_calls,
            usage=ReportedUsage(prompt, 20),
            finish_reason="stop",
        )

    budgeter, client, agent = agent_on(
        script,
        limits=limits,
        prices=Prices(0.02, 0.02),
        final_answer=FinalCall(text=None),
        max_tokens=50,
    )
    last = await run(agent)
    assert last.text == "I found nothing."
    assert client.sent_requests >= 2
    used = budgeter.run.counts()
    assert used.tokens <= (limits.max_tokens or used.tokens)
    assert used.usd <= (limits.max_usd or used.usd)


async def test_a_fixed_text_ends_an_agent_without_a_call():
    """It costs nothing and is held back nowhere."""
    budgeter, client, agent = agent_on(limits=Limits(max_calls=2), final_answer="That is all.")
    last = await run(agent)
    assert last.text == "That is all."
    assert last.response_metadata["callwise"] == {
        "outcome": "refused",
        "sequence": 3,
        "usage": {"input_tokens": 0, "output_tokens": 0},
        "final_answer_under": "max_calls=2 of run",
    }
    assert last.usage_metadata["total_tokens"] == 0
    assert client.sent_requests == 2
    assert [row.outcome for row in budgeter.ledger.rows] == ["served", "served", "refused"]


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_refused_last_call_returns_the_fixed_text(is_streamed):
    """With `text=None`, the refusal is raised."""
    budgeter = Budgeter(
        {Role.MAIN: Endpoint("e", "m", ScriptedClient(restless))}, limits=Limits(max_calls=0)
    )
    model = BudgetedChatModel(llm=budgeter, final_answer=FinalCall(text="Later."))
    if is_streamed:
        assert [piece.text async for piece in model.astream("u")] == ["Later.", ""]
    else:
        assert (await model.ainvoke("u")).text == "Later."
    strict = BudgetedChatModel(llm=budgeter, final_answer=FinalCall(text=None))
    with pytest.raises(CallRefused):
        await strict.ainvoke("u")


@pytest.mark.parametrize("answer", ["", tool_calls("attic")])
async def test_a_last_call_without_an_answer_falls_back_to_the_text(answer):
    """Empty, or a model that calls tools it was not given."""

    def script(call):
        if call.tools:
            return tool_calls("attic")
        return answer if isinstance(answer, Reply) else Reply("", usage=ReportedUsage(1, 0))

    _, _, agent = agent_on(script, limits=Limits(max_calls=2), final_answer=FinalCall(text="Hm."))
    last = await run(agent)
    assert (last.text, last.tool_calls) == ("Hm.", [])
    _, _, strict = agent_on(script, limits=Limits(max_calls=2), final_answer=FinalCall(text=None))
    with pytest.raises(EmptyAnswer):
        await run(strict)


async def test_each_turn_has_its_own_last_call_and_one_agent_leaves_others_theirs():
    """Two agents of one turn need two calls held back."""
    budgeter, _, agent = agent_on(final_answer=FinalCall(calls=2, text="no quota"))
    for number in range(2):
        with budgeter.scope(ScopeKind.TURN, str(number), limits=Limits(max_calls=4)) as turn:
            with budgeter.scope(ScopeKind.NODE, "first"):
                first = await run(agent)
            with budgeter.scope(ScopeKind.NODE, "second"):
                second = await run(agent)
            third = await run(agent)
        assert [first.text, second.text, third.text] == [*["I found nothing."] * 2, "no quota"]
        assert turn.counts().requests == 4
        under = f"max_calls=4 of run/turn:{number}"
        assert second.response_metadata["callwise"]["final_answer_under"] == under


async def test_nested_limits_are_kept_by_the_last_call_too():
    """The run's own limit binds the calls that its turns hold back."""
    budgeter, client, agent = agent_on(limits=Limits(max_calls=5), final_answer=FinalCall())
    texts = []
    for number in range(3):
        with budgeter.scope(ScopeKind.TURN, str(number), limits=Limits(max_calls=3)):
            texts.append((await run(agent)).text)
    assert texts[:2] == ["I found nothing."] * 2
    assert texts[2] == FinalCall().text
    assert client.sent_requests == 5


async def test_a_deadline_in_a_call_leaves_time_for_the_last_answer():
    """The seconds held back are not the call's that is cut."""
    clock = ManualClock()

    async def script(call):
        if call.tools:
            clock.advance(call.timeout_seconds)
            return CallTimeout("no answer before the deadline")
        return restless(call)

    budgeter = Budgeter({Role.MAIN: Endpoint("e", "m", ScriptedClient(script))}, clock=clock)
    model = BudgetedChatModel(llm=budgeter, final_answer=FinalCall(seconds=5))
    agent = create_react_agent(model, [look])
    with budgeter.scope(ScopeKind.TURN, "0", limits=Limits(max_seconds=10)):
        last = await run(agent)
    assert last.text == "I found nothing."
    assert last.response_metadata["callwise"]["final_answer_under"].startswith("max_seconds")


async def test_a_timeout_that_is_no_limit_stays_an_error():
    """An endpoint that is slow has nothing to do with the budget."""
    _, _, agent = agent_on(lambda call: CallTimeout("slow"), final_answer=FinalCall())
    with pytest.raises(CallTimeout):
        await run(agent)


async def test_a_limited_form_is_not_answered_by_a_text():
    """A program that wants an instance cannot use one; the held-back call keeps the form."""
    client = ScriptedClient(lambda call: Reply('{"score": 1}', usage=ReportedUsage(1, 1)))
    budgeter = Budgeter({Role.MAIN: Endpoint("e", "m", client)}, limits=Limits(max_calls=1))
    held = BudgetedChatModel(llm=budgeter, final_answer=FinalCall())
    assert await held.with_structured_output(Verdict).ainvoke("u") == Verdict(score=1)
    said = BudgetedChatModel(llm=budgeter, final_answer="That is all.")
    for method in ("function_calling", "json_schema", "json_mode"):
        for schema in (Verdict, Opinion):
            with pytest.raises(CallRefused):
                await said.with_structured_output(schema, method=method).ainvoke("u")


@pytest.mark.parametrize("is_in_turn", [False, True])
@pytest.mark.parametrize("most", [0, 1, 3])
async def test_tool_calls_are_limited_in_a_turn(most, is_in_turn):
    """After the last one that is allowed, the model is asked without tools."""
    budgeter, client, agent = agent_on(max_tool_calls=most)
    for number in range(2):
        if is_in_turn:
            with budgeter.scope(ScopeKind.TURN, str(number)):
                last = await run(agent)
        else:
            last = await run(agent)
        assert last.text == "I found nothing."
        own = last.response_metadata["callwise"]
        assert own["final_answer_under"] == f"max_tool_calls={most}"
    assert [len(call.tools) for call in client.calls] == ([1] * most + [0]) * 2
    assert budgeter.ledger.rows[-1].notes == f"final answer under max_tool_calls={most}"


async def test_an_answer_that_asks_for_too_many_tools_is_not_given_out():
    """None of them is run; what both calls used is on the message that is given."""

    def script(call):
        return tool_calls("attic", "cellar", "shed") if call.tools else restless(call)

    _, client, agent = agent_on(script, max_tool_calls=2)
    state = await agent.ainvoke({"messages": [HumanMessage("Where is it?")]})
    assert not any(isinstance(message, ToolMessage) for message in state["messages"])
    assert state["messages"][-1].usage_metadata["total_tokens"] == 30
    assert client.sent_requests == 2


async def test_tool_calls_of_agents_with_their_own_messages_count_in_one_turn():
    """Sub-agents that do not see each other share the turn's limit."""
    budgeter, client, agent = agent_on(max_tool_calls=3)
    with budgeter.scope(ScopeKind.TURN, "0"):
        await run(agent)
        await run(agent)
    asked_for = sum(bool(call.tools) for call in client.calls)
    assert asked_for == 4  # the fourth was asked for, and not given out


async def test_tool_calls_that_stream_are_kept_back_where_they_are_limited():
    """Text goes out at once; tool calls once it is known that they are not too many."""

    def script(call):
        reply = tool_calls("attic", "cellar") if call.tools else restless(call)
        text = "Let me see. " if call.tools else reply.text
        call.listener.on_piece(Piece(text))
        for index, each in enumerate(reply.tool_calls):
            call.listener.on_piece(Piece(tool_calls=({**each, "index": index},)))
        return Reply(text, chunks=(text,), tool_calls=reply.tool_calls, usage=ReportedUsage(10, 5))

    for most, expected in ((2, 2), (1, 0)):
        budgeter = Budgeter({Role.MAIN: Endpoint("e", "m", ScriptedClient(script))})
        model = BudgetedChatModel(llm=budgeter, max_tool_calls=most).bind_tools([look])
        whole = None
        async for piece in model.astream("Where is it?"):
            whole = piece if whole is None else whole + piece
        assert len(whole.tool_calls) == expected
        said = "Let me see. " if expected else "Let me see. I found nothing."
        assert whole.text == said


async def test_a_limit_on_tools_leaves_other_agents_their_last_call():
    """A model that has no final answer does not draw on what another holds back."""
    budgeter, _, first = agent_on(limits=Limits(max_calls=5), final_answer=FinalCall())
    second = create_react_agent(BudgetedChatModel(llm=budgeter, max_tool_calls=0), [look])
    with budgeter.scope(ScopeKind.TURN, "0", limits=Limits(max_calls=2)):
        model = BudgetedChatModel(llm=budgeter, final_answer=FinalCall())
        await model.bind_tools([look]).ainvoke("u")
        with pytest.raises(CallRefused):
            await run(second)
        assert (await run(first)).text == "I found nothing."


async def test_an_agent_that_ended_at_its_limit_plays_as_it_was_recorded(tmp_path):
    """Its refusal and its last call too."""

    async def program(mode, client):
        cassette = open_cassette(tmp_path / "talk.cassette.jsonl", mode)
        endpoint = Endpoint("e", "m", client)
        budgeter = Budgeter({Role.MAIN: endpoint}, recorder=cassette, limits=Limits(max_calls=3))
        model = BudgetedChatModel(llm=budgeter, final_answer=FinalCall())
        last = await run(create_react_agent(model, [look]))
        cassette.close()
        return last.text, budgeter.ledger.rows

    asked = await program(CassetteMode.REWRITE, ScriptedClient(restless))
    played = await program(CassetteMode.STRICT, ScriptedClient([]))
    assert played[0] == asked[0] == "I found nothing."
    assert [row.outcome for row in played[1]] == ["replayed", "replayed", "refused", "replayed"]
    assert [row.key for row in played[1]] == [row.key for row in asked[1]]
    assert played[1][-1].notes == asked[1][-1].notes


async def test_a_form_that_is_asked_for_as_a_tool_call_is_none():
    """It is not counted, and not taken from the model."""
    client = ScriptedClient(
        lambda call: Reply(
            "",
            tool_calls=(
                {"id": "c", "function": {"name": "Opinion", "arguments": '{"score": 0.5}'}},
            ),
        )
    )
    budgeter = Budgeter({Role.MAIN: Endpoint("e", "m", client)})
    model = BudgetedChatModel(llm=budgeter, max_tool_calls=0)
    assert await model.with_structured_output(Opinion).ainvoke("u") == {"score": 0.5}


async def test_usage_that_callbacks_add_up_is_the_ledgers():
    """Cached, shared, repaired and streamed answers included, and none is billed twice."""

    def script(call):
        if call.response_model is not None and call.repair == 0:
            return Reply("nonsense", usage=ReportedUsage(20, 7), model="served")
        text = '{"score": 1}' if call.response_model is not None else "fine"
        return Reply(text, usage=ReportedUsage(10, 5, cached_tokens=4), model="served")

    endpoint = Endpoint("e", "m", ScriptedClient(script))
    budgeter = Budgeter({Role.MAIN: endpoint}, cache=MemoryCache())
    model = BudgetedChatModel(llm=budgeter, temperature=0)
    with get_usage_metadata_callback() as callback:
        await asyncio.gather(*(model.ainvoke("same") for _ in range(3)))
        await model.ainvoke("same")
        await model.with_structured_output(Verdict).ainvoke("other")
        async for _ in model.astream("third"):
            pass
        async for _ in model.astream("third"):
            pass
    counts = budgeter.run.counts()
    summed = callback.usage_metadata["served"]
    assert summed["input_tokens"] == counts.input_tokens == 10 + 30 + 10
    assert summed["output_tokens"] == counts.output_tokens == 5 + 12 + 5
    assert summed["input_token_details"]["cache_read"] == counts.cached_tokens
    outcomes = [row.outcome for row in budgeter.ledger.rows]
    assert outcomes.count("served") == 4
    assert outcomes.count("cached") + outcomes.count("coalesced") == 4


async def test_a_wrapped_langchain_model_is_not_counted_again():
    """Handlers that LangChain adds to every model see the usage once."""
    usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    metadata = {"model_name": "inner"}
    inner = GenericFakeChatModel(
        messages=iter(
            AIMessage("hi", usage_metadata=usage, response_metadata=metadata) for _ in range(2)
        )
    )
    budgeter = Budgeter({Role.MAIN: Endpoint("e", "m", LangChainClient(inner))})
    with get_usage_metadata_callback() as callback:
        await BudgetedChatModel(llm=budgeter).ainvoke("u")
    assert callback.usage_metadata["inner"]["total_tokens"] == 10
    assert budgeter.run.counts().tokens == 10


async def test_the_original_usage_of_a_cached_answer_stays_visible():
    """Next to the outcome and the number of the row."""
    endpoint = Endpoint("e", "m", ScriptedClient(["fine"]))
    budgeter = Budgeter({Role.MAIN: endpoint}, cache=MemoryCache())
    model = BudgetedChatModel(llm=budgeter, temperature=0)
    await model.ainvoke("u")
    again = await model.ainvoke("u")
    assert again.usage_metadata["total_tokens"] == 0
    assert again.response_metadata["callwise"] == {
        "outcome": "cached",
        "sequence": 2,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


async def test_an_answer_has_the_metadata_of_openais_models():
    """Names, reasons, fingerprints and log-probabilities in the form that programs read."""
    logprobs = (TokenLogprobs("hi", -0.1, (("hi", -0.1), ("ho", -3.0))),)
    reply = Reply(
        "hi",
        usage=ReportedUsage(10, 5, 4, reasoning_tokens=2),
        model="served",
        finish_reason="length",
        token_logprobs=logprobs,
        reasoning_text="hm",
        system_fingerprint="fp_1",
    )
    for is_streamed in (False, True):
        budgeter = Budgeter({Role.MAIN: Endpoint("e", "m", ScriptedClient([reply]))})
        model = BudgetedChatModel(llm=budgeter)
        message = await model.ainvoke("u", stream=is_streamed)
        metadata = message.response_metadata
        assert metadata["model_name"] == "served"
        assert metadata["finish_reason"] == "length"
        assert metadata["system_fingerprint"] == "fp_1"
        assert metadata["logprobs"]["content"] == [
            {
                "token": "hi",
                "logprob": -0.1,
                "top_logprobs": [
                    {"token": "hi", "logprob": -0.1},
                    {"token": "ho", "logprob": -3.0},
                ],
            }
        ]
        assert message.usage_metadata["input_token_details"] == {"cache_read": 4}
        assert message.usage_metadata["output_token_details"] == {"reasoning": 2}
        assert message.additional_kwargs == {"reasoning_content": "hm"}


async def pieces_of(stream, *, leaves_after=None):
    """Return what a program got of a stream, the error that ended it included."""
    pieces = []
    try:
        async for piece in stream:
            pieces.append(piece)
            if len(pieces) == leaves_after:
                await stream.aclose()
                break
    except StreamCut as error:
        pieces.append(error)
    return pieces


@pytest.mark.parametrize("ending", ["whole", "cut", "left"])
async def test_a_recorded_stream_plays_as_it_ended(tmp_path, ending):
    """The same pieces, the same end, and the same row; a replay costs nothing."""
    words = ("Lo", "ng ", "ago")

    async def script(call):
        for word in words[:2]:
            call.listener.on_piece(Piece(word))
        if ending == "cut":
            return StreamCut("it broke off")
        if ending == "left":
            await asyncio.Event().wait()
        call.listener.on_piece(Piece(words[2]))
        return Reply("Long ago", chunks=words, usage=ReportedUsage(7, 3), model="served")

    async def program(mode, client):
        cassette = open_cassette(tmp_path / "talk.cassette.jsonl", mode)
        budgeter = Budgeter({Role.MAIN: Endpoint("e", "m", client)}, recorder=cassette)
        stream = BudgetedChatModel(llm=budgeter).astream("u")
        pieces = await pieces_of(stream, leaves_after=2 if ending == "left" else None)
        cassette.close()
        return pieces, budgeter.ledger.rows[0]

    asked = await program(CassetteMode.REWRITE, ScriptedClient(script))
    client = ScriptedClient([])
    played = await program(CassetteMode.STRICT, client)
    assert [piece.text for piece in played[0][:2]] == [piece.text for piece in asked[0][:2]]
    assert client.sent_requests == 0
    for name in ("input_tokens", "output_tokens", "unknown_usage", "requests", "attempts"):
        assert getattr(played[1], name) == getattr(asked[1], name)
    expected = {"whole": 4, "cut": 3, "left": 2}[ending]
    assert len(played[0]) == len(asked[0]) == expected
    if ending == "whole":
        assert played[0][-1].usage_metadata["total_tokens"] == 0
        assert played[0][-1].response_metadata["callwise"]["outcome"] == "replayed"
    if ending == "cut":
        assert str(played[0][-1]) == str(asked[0][-1])
    if ending == "left":
        assert played[1].outcome == "cancelled"
