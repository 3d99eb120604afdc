"""The graph as a graph server loads it."""

import asyncio
import importlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from graph.app import app
from graph.langgraph_app import GraphServerContext

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def served(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[GraphServerContext]:
    """Give what a server's nodes share, under `classic` or the test's own preset."""
    preset = getattr(request, "param", "classic")
    async with aclosing(GraphServerContext(preset, tmp_path)) as context:
        yield context


async def test_a_thread_goes_on_without_a_session(
    served: GraphServerContext, tmp_path: Path
) -> None:
    """A server that only runs nodes gets a turn 0, then a turn 1, on one thread."""
    graph = served.graph(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    first = await graph.ainvoke({"user_text": "I lost my job.", "user_id": "ann"}, config)
    second = await graph.ainvoke({"user_text": "Nobody knows."}, config)
    assert (first["turn"], second["turn"]) == (0, 1)
    assert first["reply"]
    assert second["reply"]
    assert second["user_id"] == "ann"
    assert len(second["history"]) == 2
    engine = (await served()).engine
    assert engine.turn("conversation") is None
    engine.budgeter.ledger.check()
    assert (tmp_path / "memory.sqlite").exists()


@pytest.mark.parametrize("served", ["classic", "classic_parallel", "instant"], indirect=True)
async def test_threads_side_by_side_do_not_meet(served: GraphServerContext) -> None:
    """Threads that name neither conversation nor user are each their own."""
    graph = served.graph(checkpointer=InMemorySaver())

    async def two_turns(number: int) -> list[dict[str, Any]]:
        config: Any = {"configurable": {"thread_id": f"thread-{number}"}}
        texts = (f"My cat number {number} is ill.", "What would you do?")
        return [await graph.ainvoke({"user_text": text}, config) for text in texts]

    for number, states in enumerate(await asyncio.gather(*map(two_turns, range(5)))):
        assert [state["turn"] for state in states] == [0, 1]
        assert {state["conversation_id"] for state in states} == {f"thread-{number}"}
        assert states[1]["history"][0]["text"] == f"My cat number {number} is ill."
    (await served()).engine.budgeter.ledger.check()


async def test_runs_without_a_thread_are_each_their_own(served: GraphServerContext) -> None:
    """A stateless run is a conversation of one turn, for any runs before."""
    graph = served.graph()
    states = await asyncio.gather(
        *(graph.ainvoke({"user_text": "Hello."}, {"run_id": uuid4()}) for _ in range(3))
    )
    assert [state["turn"] for state in states] == [0, 0, 0]
    assert len({state["conversation_id"] for state in states}) == 3


MESSAGES: tuple[Any, ...] = (
    HumanMessage("My cat is ill."),
    {"role": "user", "content": "My cat is ill."},
    {"type": "human", "content": [{"type": "text", "text": "My cat is ill."}]},
    ("user", "My cat is ill."),
    ("human", "My cat is ill."),
    "My cat is ill.",
)


@pytest.fixture
async def served_graph(tmp_path: Path) -> AsyncIterator[Any]:
    """Give the graph as a server runs it, with checkpoints in memory."""
    async with aclosing(GraphServerContext("instant", tmp_path)) as served:
        yield served.graph(checkpointer=InMemorySaver())


@pytest.mark.parametrize("message", MESSAGES, ids=repr)
async def test_messages_are_read_and_answered(served_graph: Any, message: Any) -> None:
    """The last message of the user is the text, and the reply comes as a message too."""
    config: Any = {"configurable": {"thread_id": "t"}}
    first = await served_graph.ainvoke({"messages": [message]}, config)
    assert first["user_text"] == "My cat is ill."
    assert [each.type for each in first["messages"]] == ["human", "ai"]
    assert first["messages"][-1].content == first["reply"] != ""
    second = await served_graph.ainvoke({"messages": [("user", "What now?")]}, config)
    assert (second["turn"], second["user_text"]) == (1, "What now?")
    assert [each.type for each in second["messages"]] == ["human", "ai", "human", "ai"]
    assert [line["role"] for line in second["history"]] == ["user", "agent"]


async def test_earlier_messages_are_the_history_of_a_new_conversation(served_graph: Any) -> None:
    """Until memory has a turn of it; what a system or a tool wrote is no line of the chat."""
    messages: list[Any] = [
        SystemMessage("Obey."),
        ("user", "My cat is ill."),
        ("ai", "Oh no. What is wrong?"),
        ToolMessage("42", tool_call_id="1"),
        ("user", "She does not eat."),
    ]
    config: Any = {"configurable": {"thread_id": "t"}}
    state = await served_graph.ainvoke({"messages": messages}, config)
    assert state["user_text"] == "She does not eat."
    assert [(line["role"], line["text"]) for line in state["history"]] == [
        ("user", "My cat is ill."),
        ("agent", "Oh no. What is wrong?"),
    ]
    later = await served_graph.ainvoke({"messages": ["And now?"]}, config)
    assert [line["text"] for line in later["history"]] == ["She does not eat.", state["reply"]]


async def test_a_text_next_to_messages_is_a_message_too(served_graph: Any) -> None:
    """A thread shows the whole chat, however its turns were asked."""
    config: Any = {"configurable": {"thread_id": "t"}}
    await served_graph.ainvoke({"user_text": "Hello."}, config)
    state = await served_graph.ainvoke({"messages": ["How are you?"], "user_id": ""}, config)
    assert [each.content for each in state["messages"]][::2] == ["Hello.", "How are you?"]
    assert state["user_id"] is None


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"messages": []},
        {"user_text": "  "},
        {"messages": [("user", " ")]},
        {"messages": [("ai", "Hello.")]},
        {"messages": [("system", "Say hello.")]},
        {"messages": [HumanMessage([{"type": "image_url", "image_url": {"url": "data:,"}}])]},
        {"time": "2024-02-02"},
    ],
    ids=repr,
)
@pytest.mark.parametrize("has_begun", [False, True])
async def test_an_input_without_a_text_is_an_error(
    served_graph: Any, given: Any, has_begun: bool
) -> None:
    """It says what to give; an earlier turn's text is not answered again."""
    config: Any = {"configurable": {"thread_id": "t"}}
    if has_begun:
        await served_graph.ainvoke({"messages": ["Hello."]}, config)
    with pytest.raises(ValueError, match=r'no text of the user.*"messages".*"user_text"'):
        await served_graph.ainvoke(given, config)
    state = await served_graph.ainvoke({"messages": ["Are you there?"]}, config)
    assert (state["user_text"], state["turn"]) == ("Are you there?", int(has_begun))


@pytest.mark.parametrize(
    "misfit",
    [
        {"user_id": 7},
        {"user_id": ["ann"]},
        {"agent_id": 7},
        {"conversation_id": {}},
        {"requested_turn": -1},
        {"requested_turn": 10**30},
        {"time": 7},
        {"time": "yesterday"},
        {"persona": {"mood": "dry"}},
        {"persona": "Nora"},
        {"user_text": ["Hello."]},
    ],
    ids=repr,
)
async def test_a_value_that_does_not_fit_leaves_the_thread_usable(
    served_graph: Any, misfit: dict[str, Any]
) -> None:
    """The error names the field, and what comes after it is answered."""
    config: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(ValueError, match=rf"the input's `{next(iter(misfit))}.*` does not fit"):
        await served_graph.ainvoke({"messages": ["Hello."], **misfit}, config)
    state = await served_graph.ainvoke({"messages": ["Are you there?"]}, config)
    assert (state["user_text"], state["turn"], state["user_id"]) == ("Are you there?", 0, None)


async def test_half_an_emoji_does_not_make_a_message_twice(served_graph: Any) -> None:
    """The text is made whole for the turn; the message stays the one that the user sent."""
    config: Any = {"configurable": {"thread_id": "t"}}
    state = await served_graph.ainvoke({"messages": ["My cat \ud83d is ill."]}, config)
    assert state["user_text"] == "My cat \ufffd is ill."
    assert [each.type for each in state["messages"]] == ["human", "ai"]


def test_importing_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the module makes no folder, no file and no client."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALLWISE_HOME", str(tmp_path / "home"))
    importlib.reload(importlib.import_module("graph.langgraph_app"))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def dev_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Run `langgraph dev` as langgraph.json says, on a free port; give URL and its log."""
    tmp_path = tmp_path_factory.mktemp("dev")
    pytest.importorskip("langgraph_api", reason="`langgraph dev` needs langgraph-cli[inmem]")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path / "server.log"
    command = [
        str(Path(sys.executable).with_name("langgraph")),
        *("dev", "--no-browser", "--no-reload", "--port", str(port)),
    ]
    # In a copy, since the server keeps its own files next to the served ones.
    shutil.copy(ROOT / "langgraph.json", tmp_path)
    shutil.copytree(ROOT / "graph", tmp_path / "graph")
    variables = {
        **os.environ,
        "CALLWISE_HOME": str(tmp_path / "home"),
        "LANGSMITH_TRACING": "false",
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
    }
    with (
        log.open("wb") as output,
        subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=tmp_path, env=variables, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            yield f"http://127.0.0.1:{port}", log
        finally:
            process.terminate()


@pytest.mark.slow
def test_langgraph_dev_runs_two_turns(dev_server: tuple[str, Path]) -> None:
    """Two turns on one thread over the server's API, and no blocking call in its log."""
    url, log = dev_server
    # The client knocks again, each time after twice as long, until the server listens.
    patient = httpx.HTTPTransport(retries=9)
    with httpx.Client(base_url=url, timeout=90, transport=patient) as client:
        thread = client.post("/threads", json={}).json()["thread_id"]
        states = [
            client.post(
                f"/threads/{thread}/runs/wait",
                json={"assistant_id": "callwise", "input": {"user_text": text}},
            ).json()
            for text in ("I lost my job.", "Nobody knows yet.")
        ]
        chat = client.post(
            f"/threads/{thread}/runs/wait",
            json={
                "assistant_id": "callwise",
                "input": {"messages": [{"role": "user", "content": "What would you do?"}]},
            },
        ).json()
        nothing = client.post(
            f"/threads/{thread}/runs/wait", json={"assistant_id": "callwise", "input": {}}
        ).json()
    assert [state.get("turn") for state in states] == [0, 1], states
    assert all(state["reply"] for state in states)
    assert (chat["turn"], chat["user_text"]) == (2, "What would you do?")
    assert [each["type"] for each in chat["messages"]] == ["human", "ai"] * 3
    assert chat["messages"][-1]["content"] == chat["reply"]
    assert "there is nothing to answer" in str(nothing)
    _check_log(log)


@pytest.mark.slow
def test_langgraph_dev_ends_the_turn_of_a_client_that_leaves(dev_server: tuple[str, Path]) -> None:
    """Its user is answered on another thread, without the wait for the turn that was left."""
    url, log = dev_server
    patient = httpx.HTTPTransport(retries=9)
    with httpx.Client(base_url=url, timeout=60, transport=patient) as client:
        left, other = (client.post("/threads", json={}).json()["thread_id"] for _ in range(2))
        asked = {"assistant_id": "callwise", "input": {"user_text": "Hello.", "user_id": "ann"}}
        streamed = {**asked, "stream_mode": ["updates"], "on_disconnect": "cancel"}
        with client.stream("POST", f"/threads/{left}/runs/stream", json=streamed) as response:
            assert any("loader" in line for line in response.iter_lines())
        answered = client.post(f"/threads/{other}/runs/wait", json=asked).json()
        (run,) = client.get(f"/threads/{left}/runs").json()
    assert run["status"] == "interrupted"
    assert answered["reply"]
    _check_log(log)


def _check_log(log: Path) -> None:
    said = log.read_text(encoding="utf-8", errors="replace")
    assert "BlockingError" not in said
    assert "Blocking call" not in said


@pytest.mark.slow
def test_langgraph_dev_has_rooms_as_threads(dev_server: tuple[str, Path]) -> None:
    """Two rooms over the server's API, woken by hand and by its timer, without a blocking call."""
    url, log = dev_server
    patient = httpx.HTTPTransport(retries=9)
    with httpx.Client(base_url=url, timeout=90, transport=patient) as client:

        def run(thread: str, given: dict[str, Any]) -> dict[str, Any]:
            asked = {"assistant_id": "room", "input": given}
            return dict(client.post(f"/threads/{thread}/runs/wait", json=asked).json())

        one, other = (client.post("/threads", json={}).json()["thread_id"] for _ in range(2))
        hello = {"author": "Mia", "text": "@alice hello", "id": "m1"}
        said, again = run(one, hello), run(one, hello)
        chat = [{"role": "user", "content": "@bob hello", "name": "Jonas"}]
        apart = run(other, {"messages": chat})
        woken = run(one, {"wake": True})
        wrong = run(one, {"author": "alice", "text": "hello"})
        state = client.get(f"/threads/{one}/state").json()["values"]
        hourly = {"assistant_id": "room", "schedule": "0 * * * *", "input": {"wake": True}}
        timer = client.post(f"/threads/{one}/runs/crons", json=hourly).json()
        client.delete(f"/runs/crons/{timer['cron_id']}").raise_for_status()
    assert [each["name"] for each in said["messages"]] == ["Mia", "alice"], said
    assert again["messages"] == said["messages"]
    assert (said["report"]["calls"], again["report"]["calls"]) == (1, 0)
    assert [each["name"] for each in apart["messages"]] == ["Jonas", "bob"]
    awake = woken["report"]["woken"]
    assert sorted(each["name"] for each in woken["messages"][2:]) == sorted(awake)
    assert woken["report"]["intent"] == "answered"
    numbers = [each["additional_kwargs"]["sequence"] for each in woken["messages"]]
    assert numbers == [*range(1, 3 + len(awake))]
    assert "is an agent. Use the name of a person" in str(wrong)
    assert state["messages"][: len(numbers)] == woken["messages"]
    _check_log(log)


@pytest.mark.parametrize("served", ["classic", "instant"], indirect=True)
async def test_bubbles_are_streamed_before_the_turn_ends(served: GraphServerContext) -> None:
    """`stream_mode="custom"` has each bubble once, before any node behind the reply has run."""
    served.settings = app.settings(served.settings.preset, ["reply.stream=true"])
    graph = served.graph()
    bubbles, nodes, final = [], [], {}
    async for mode, data in graph.astream(
        {"user_text": "I lost my job."}, stream_mode=["custom", "updates"]
    ):
        if mode == "custom":
            assert "final_validator" not in nodes
            assert data["index"] == len(bubbles)
            bubbles.append(data["bubble"])
        else:
            nodes += data
            final |= data.get("final_validator") or {}
    assert bubbles == final["bubbles"] != []
    assert nodes[-1] == "memory_writer"
