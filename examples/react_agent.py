"""A tool-calling agent in plain LangGraph, put under the budgeter by swapping its model.

Nothing of the agent knows Callwise but `BudgetedChatModel`. It is answered from a script
here, so that it runs without a key; for a real model give the endpoint another client,
e.g. `callwise.calls.openai_http.OpenAIClient`.
"""

import asyncio
import json

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from callwise.budget import Budgeter, LedgerRow, Limits, ScopeKind
from callwise.calls import Call, CallRefused, Endpoint, Prices, Purpose, Reply, ReportedUsage, Role
from callwise.calls.chat_model import BudgetedChatModel
from callwise.testing.fakes import ScriptedClient

__all__ = ["QUESTION", "ask_agent", "build_agent", "scripted"]

QUESTION = HumanMessage("How far is it from Leeds to Lyon, by way of Paris?")
LEGS = {("Leeds", "Paris"): 736, ("Paris", "Lyon"): 465}


@tool
def distance_km(start: str, end: str) -> int:
    """Return the distance between two cities in kilometres."""
    return LEGS[start, end]


def scripted(call: Call) -> Reply:
    """Answer as a model would: look up one leg after the other, then say the sum."""
    known = [int(message.content) for message in call.messages if message.role == "tool"]
    usage = ReportedUsage(input_tokens=40 + 20 * len(call.messages), output_tokens=15)
    if len(known) == len(LEGS):
        return Reply(f"{sum(known)} km.", usage=usage)
    start, end = list(LEGS)[len(known)]
    function = {"name": "distance_km", "arguments": json.dumps({"start": start, "end": end})}
    return Reply("", tool_calls=({"id": f"leg-{len(known)}", "function": function},), usage=usage)


def build_agent(model: BaseChatModel) -> CompiledStateGraph:
    """Return the agent: think, look a distance up, and think again until it knows."""
    thinker = model.bind_tools([distance_km])

    async def think(state: MessagesState) -> dict[str, object]:
        return {"messages": [await thinker.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node("think", think)
    graph.add_node("tools", ToolNode([distance_km])).add_edge(START, "think")
    graph.add_conditional_edges("think", tools_condition).add_edge("tools", "think")
    return graph.compile()


async def ask_agent(max_calls: int | None = None) -> tuple[str, tuple[LedgerRow, ...]]:
    """Return the agent's answer, or why it has none, and one ledger row a call."""
    endpoint = Endpoint("scripted", "script", ScriptedClient(scripted), Prices(0.5, 1.5))
    budgeter = Budgeter({Role.MAIN: endpoint})
    agent = build_agent(BudgetedChatModel(llm=budgeter, purpose=Purpose.REASON))
    with budgeter.scope(ScopeKind.TURN, "0", limits=Limits(max_calls=max_calls)):
        try:
            answer = (await agent.ainvoke({"messages": [QUESTION]}))["messages"][-1].text
        except CallRefused as refusal:
            answer = str(refusal)
    budgeter.ledger.check()
    return answer, budgeter.ledger.rows


if __name__ == "__main__":
    for limit in (None, 2):
        said, rows = asyncio.run(ask_agent(limit))
        print(f"max_calls={limit}: {said}")
        for row in rows:
            tokens = row.input_tokens + row.output_tokens
            print(f"  call {row.sequence}: {row.outcome}, {tokens} tokens, {row.usd:.6f} USD")
