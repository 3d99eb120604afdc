"""A supervisor with two sub-agents in plain LangGraph, counted by swapping its model.

Both sub-agents ask in a node of the same name, `model`; their calls are counted apart, as
`researcher/model` and `writer/model`. It is answered from a script here, so that it runs
without a key. `tests/examples/test_recorded_programs.py` records, replays and gates it.
"""

import asyncio
from collections import Counter

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import SystemMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from callwise.budget import Budgeter
from callwise.calls import Call, Endpoint, Role
from callwise.calls.chat_model import BudgetedChatModel
from callwise.testing.fakes import ScriptedClient

__all__ = ["QUESTION", "build", "scripted"]

QUESTION = "Why do cats purr?"
SUPERVISE = "Name who works next: researcher, writer, or done."
PROMPTS = {
    "researcher": "List the facts that answer the question.",
    "writer": "Answer the question in one sentence, from the facts.",
}


def scripted(call: Call) -> str:
    """Answer as a model would: each of the two works once, then the supervisor is done."""
    system, *others = call.messages
    if system.content == SUPERVISE:
        done = {message.name for message in others}
        return next((name for name in PROMPTS if name not in done), "done")
    facts = "They purr at 25 to 150 Hz."
    return facts if system.content == PROMPTS["researcher"] else f"Nobody is sure why. {facts}"


def sub_agent(model: BaseChatModel, name: str) -> CompiledStateGraph:
    """Return an agent of one node that signs what it says."""

    async def ask(state: MessagesState) -> dict[str, object]:
        answer = await model.ainvoke([SystemMessage(PROMPTS[name]), *state["messages"]])
        return {"messages": [answer.model_copy(update={"name": name})]}

    return StateGraph(MessagesState).add_node("model", ask).add_edge(START, "model").compile()


def build(model: BaseChatModel) -> CompiledStateGraph:
    """Return the team: the supervisor names who works next, until it is done."""

    class Team(MessagesState):
        next_one: str

    async def supervise(state: Team) -> dict[str, object]:
        answer = await model.ainvoke([SystemMessage(SUPERVISE), *state["messages"]])
        named = (name for name in PROMPTS if name in answer.text.lower())
        return {"next_one": next(named, "done")}

    graph = StateGraph(Team).add_node("supervisor", supervise).add_edge(START, "supervisor")
    for name in PROMPTS:
        graph.add_node(name, sub_agent(model, name)).add_edge(name, "supervisor")
    ways = {name: name for name in PROMPTS} | {"done": END}
    graph.add_conditional_edges("supervisor", lambda state: state["next_one"], ways)
    return graph.compile()


if __name__ == "__main__":
    budgeter = Budgeter({Role.MAIN: Endpoint("scripted", "script", ScriptedClient(scripted))})
    team = build(BudgetedChatModel(llm=budgeter))
    print(asyncio.run(team.ainvoke({"messages": [QUESTION]}))["messages"][-1].text)
    for node, count in Counter(row.node for row in budgeter.ledger.rows).items():
        print(f"  {node}: {count} calls")
