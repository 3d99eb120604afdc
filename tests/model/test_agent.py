"""Another graph than this project's, before a real server: what was counted is what arrived."""

import importlib.util
from pathlib import Path

import pytest

from callwise.budget import Budgeter
from callwise.calls import Endpoint, Purpose, Role
from callwise.calls.chat_model import BudgetedChatModel
from callwise.calls.openai_http import OpenAIClient
from tests.model.conftest import MODEL, spent_in

pytestmark = pytest.mark.model

EXAMPLE = Path(__file__).parents[2] / "examples" / "react_agent.py"


def loaded_example():
    """Return the example as a module."""
    spec = importlib.util.spec_from_file_location("react_agent", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asks_for_legs(legs):
    """Return a stand-in that asks for one leg after the other, then for the sum."""

    async def answer(body):
        known = [int(each["content"]) for each in body["messages"] if each["role"] == "tool"]
        if len(known) == len(legs):
            message = {"role": "assistant", "content": f"{sum(known)} km."}
            return {"message": message, "finish_reason": "stop"}
        start, end = list(legs)[len(known)]
        function = {
            "name": "distance_km",
            "arguments": f'{{"start": "{start}", "end": "{end}"}}',
        }
        tool_call = {"id": f"leg-{len(known)}", "type": "function", "function": function}
        message = {"role": "assistant", "content": None, "tool_calls": [tool_call]}
        return {"message": message, "finish_reason": "tool_calls"}

    return answer


async def test_a_tool_agent_is_counted_as_the_server_counts_it(behind):
    """Two look-ups and the answer: three requests, and the server's own tokens."""
    example = loaded_example()
    proxy = behind(stand_in=asks_for_legs(example.LEGS))
    client = OpenAIClient(proxy.base_url, api_key=None)
    budgeter = Budgeter({Role.MAIN: Endpoint("llama.cpp", MODEL, client)})
    agent = example.build_agent(BudgetedChatModel(llm=budgeter, purpose=Purpose.REASON))
    said = (await agent.ainvoke({"messages": [example.QUESTION]}))["messages"][-1].text
    await budgeter.aclose()
    budgeter.ledger.check()
    rows = budgeter.ledger.rows
    assert said == "1201 km."
    assert [row.requests for row in rows] == [1, 1, 1]
    assert spent_in(proxy.log) == {
        "requests": 3,
        "input_tokens": sum(row.input_tokens for row in rows),
        "output_tokens": sum(row.output_tokens for row in rows),
        "cached_tokens": sum(row.cached_tokens for row in rows),
    }
    assert proxy.log[0].input_tokens < proxy.log[1].input_tokens < proxy.log[2].input_tokens


async def test_a_streamed_answer_is_counted_as_the_server_counts_it(behind):
    """Text that comes in pieces has one request and the usage of its last chunk."""
    proxy = behind(stand_in=None)
    client = OpenAIClient(proxy.base_url, api_key=None)
    budgeter = Budgeter({Role.MAIN: Endpoint("llama.cpp", MODEL, client)})
    model = BudgetedChatModel(llm=budgeter, purpose=Purpose.OTHER)
    pieces = [piece.text async for piece in model.astream("Say hello.")]
    await budgeter.aclose()
    (row,) = budgeter.ledger.rows
    (received,) = proxy.log
    assert "".join(pieces) == received.content
    assert received.output_tokens > 0
    assert (row.requests, row.input_tokens, row.output_tokens) == (
        1,
        received.input_tokens,
        received.output_tokens,
    )
