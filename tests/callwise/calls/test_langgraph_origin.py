"""Node of a LangGraph program that a call comes from: sub-graphs, sub-agents, tools, tasks."""

import asyncio
import operator
import threading
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Send

from callwise.budget import Budgeter, ScopeKind
from callwise.calls import Endpoint, Role, langgraph_origin
from callwise.calls.chat_model import BudgetedChatModel
from callwise.testing.fakes import ScriptedClient


class Program:
    """A budgeter and a model; `nodes` are the nodes of its rows, sorted."""

    def __init__(self) -> None:
        self.client = ScriptedClient(lambda call: f"to {call.messages[-1].content}")
        self.budgeter = Budgeter({Role.MAIN: Endpoint("script", "script", self.client)})
        self.model = BudgetedChatModel(llm=self.budgeter)

    @property
    def nodes(self) -> list[str]:
        """The node of each row, sorted."""
        return sorted(row.node or "-" for row in self.budgeter.ledger.rows)

    def agent(self, name: str | None, *, is_async: bool = True, **options: Any) -> Any:
        """Return a graph of one node, `model`, which asks through a prompt."""
        asking = ChatPromptTemplate.from_messages([("placeholder", "{messages}")]) | self.model

        async def amodel(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await asking.ainvoke({"messages": state["messages"]})]}

        def model(state: MessagesState) -> dict[str, Any]:
            return {"messages": [asking.invoke({"messages": state["messages"]})]}

        return one_node("model", amodel if is_async else model, name=name, **options)


def one_node(node: str, run: Callable[..., Any], **options: Any) -> CompiledStateGraph:
    """Return a graph of one node."""
    return StateGraph(MessagesState).add_node(node, run).add_edge(START, node).compile(**options)


def ask(graph: Any, text: str = "hello", **config: Any) -> None:
    """Run a graph once."""
    asyncio.run(graph.ainvoke({"messages": [text]}, config or None))


@pytest.fixture
def program() -> Program:
    """Return a program that has asked nothing yet."""
    return Program()


def test_sub_agents_that_are_nodes_have_their_own_paths(program: Program) -> None:
    """Both ask in a node named `model`; a graph named unlike its node is named too."""
    graph = StateGraph(MessagesState).add_node("researcher", program.agent("researcher"))
    graph.add_node("write", program.agent("writer")).add_node("plain", program.agent(None))
    graph.add_edge(START, "researcher").add_edge("researcher", "write").add_edge("write", "plain")
    ask(graph.compile())
    assert program.nodes == ["plain/model", "researcher/model", "write/writer/model"]


def test_sub_agents_that_a_node_calls_are_named(program: Program) -> None:
    """LangGraph's own path of both is `both|model`; their names are kept from their runs."""
    researcher, writer = program.agent("researcher"), program.agent("writer")

    async def both(state: MessagesState) -> dict[str, Any]:
        await asyncio.gather(researcher.ainvoke(state), researcher.ainvoke({"messages": ["b"]}))
        return dict(await writer.ainvoke({"messages": ["c"]}, {"configurable": {"thread_id": "w"}}))

    ask(one_node("both", both, checkpointer=InMemorySaver()), configurable={"thread_id": "t"})
    assert program.nodes == ["both/researcher/model", "both/researcher/model", "both/writer/model"]


@pytest.mark.parametrize("is_async", [True, False])
def test_sub_agents_that_are_tools_are_named_by_tool(program: Program, is_async: bool) -> None:
    """One ToolNode runs both, side by side: in tasks, or in threads."""
    researcher = program.agent(None, is_async=is_async)

    @tool
    async def research(text: str) -> str:
        """Ask a graph."""
        return str((await researcher.ainvoke({"messages": [text]}))["messages"][-1].text)

    @tool
    def look_up(text: str) -> str:
        """Ask a graph, in a thread."""
        return str(researcher.invoke({"messages": [text]})["messages"][-1].text)

    @tool
    def translate(text: str) -> str:
        """Ask the model itself."""
        return str(program.model.invoke(text).text)

    names = ("research" if is_async else "look_up", "translate")
    calls = [{"name": name, "args": {"text": name}, "id": name} for name in names]

    def supervise(state: MessagesState) -> dict[str, Any]:
        is_first = len(state["messages"]) == 1
        return {"messages": [AIMessage("", tool_calls=calls) if is_first else AIMessage("done")]}

    graph = StateGraph(MessagesState).add_node("supervise", supervise)
    graph.add_node("tools", ToolNode([research, look_up, translate])).add_edge(START, "supervise")
    graph.add_conditional_edges("supervise", tools_condition).add_edge("tools", "supervise")
    ask(graph.compile())
    assert program.nodes == [f"tools/{names[0]}/model", "tools/translate"]


def test_sent_tasks_have_one_node_and_no_id(program: Program) -> None:
    """The path of the scope ends in step and number; the name is the node's."""

    class State(TypedDict):
        said: Annotated[list[str], operator.add]

    async def one(state: dict[str, Any]) -> dict[str, Any]:
        return {"said": [(await program.model.ainvoke(state["text"])).text]}

    def send(state: State) -> list[Send]:
        return [Send("one", {"text": text}) for text in ("a", "b")]

    graph = StateGraph(State).add_node("one", one).add_conditional_edges(START, send, ["one"])
    said = asyncio.run(graph.compile().ainvoke({"said": []}))["said"]
    assert said == ["to a", "to b"]
    assert program.nodes == ["one", "one"]
    rows = sorted(row.scope for row in program.budgeter.ledger.rows)
    assert rows == ["run/node:one#1.0", "run/node:one#1.1"]


def test_the_functional_api_names_entry_point_and_task(program: Program) -> None:
    """`@entrypoint` and `@task`, and a graph that a task calls."""
    researcher = program.agent("researcher")

    @task
    async def research(text: str) -> str:
        return str((await researcher.ainvoke({"messages": [text]}))["messages"][-1].text)

    @entrypoint()
    async def workflow(text: str) -> str:
        first = await program.model.ainvoke(text)
        return await research(first.text)

    assert asyncio.run(workflow.ainvoke("a")) == "to to a"
    assert program.nodes == ["workflow", "workflow/research/researcher/model"]


def test_a_sub_graph_with_its_own_memory_keeps_one_path(program: Program) -> None:
    """LangGraph leaves the ids out of such a path; its second turn is named as the first."""
    graph = one_node(
        "n", program.agent("researcher", checkpointer=True), checkpointer=InMemorySaver()
    )
    for _ in range(2):
        ask(graph, configurable={"thread_id": "t"})
    assert program.nodes == ["n/researcher/model"] * 2


def test_threads_are_placed_by_their_context_or_their_config(program: Program) -> None:
    """`batch` inherits the context; a bare thread needs the config, and is else outside."""

    def node(state: MessagesState) -> dict[str, Any]:
        config = get_config()
        for run in (
            lambda: program.model.invoke("given", config),
            lambda: program.model.invoke("bare"),
        ):
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
        program.model.batch(["one", "two"])
        return {}

    one_node("asks", node).invoke({"messages": ["hello"]})
    assert program.nodes == ["-", "asks", "asks", "asks"]


def test_odd_names_are_escaped(program: Program) -> None:
    """A name cannot pass for a path, for the end of a scope, or for a line of a report."""

    async def node(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await program.model.ainvoke("hi")]}

    ask(one_node("a/b#名 %\n", node))
    assert program.nodes == ["a%2Fb%23名 %25%0A"]


def test_a_node_that_the_program_opened_itself_counts(program: Program) -> None:
    """A scope of the program's own goes before LangGraph's names."""

    async def node(state: MessagesState) -> dict[str, Any]:
        with program.budgeter.scope(ScopeKind.NODE, "mine"):
            return {"messages": [await program.model.ainvoke("hi")]}

    ask(one_node("theirs", node))
    assert program.nodes == ["mine"]


def test_no_run_is_kept_after_its_end(program: Program) -> None:
    """Runs that end, fail or are cancelled are forgotten."""

    async def fails(state: MessagesState) -> dict[str, Any]:
        await program.model.ainvoke("hi")
        raise ValueError("no")

    async def waits(state: MessagesState) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def run() -> None:
        with pytest.raises(ValueError, match="no"):
            await one_node("fails", fails).ainvoke({"messages": ["hello"]})
        waiting = asyncio.create_task(one_node("waits", waits).ainvoke({"messages": ["hello"]}))
        for _ in range(20):
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    before = set(langgraph_origin._NAMES._runs)
    asyncio.run(run())
    assert set(langgraph_origin._NAMES._runs) == before
