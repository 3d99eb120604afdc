"""Cassettes of programs that are not built on Callwise: recorded, and played exactly."""

import asyncio
import json
import operator
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Send

from callwise.budget import Limits
from callwise.calls import Call, Message, Purpose, Role
from callwise.calls.errors import CassetteMiss, ConfigError, RateLimited
from callwise.calls.openai_http import OpenAIClient
from callwise.simulator.server import SimServer
from callwise.testing.fakes import ScriptedClient
from callwise.testing.fixture import CallwiseFixture
from callwise.testing.plugin_options import FixtureSetup

NAME = "agent.cassette.jsonl"


class State(TypedDict):
    """Texts of the parallel program, in the order of its tasks."""

    said: Annotated[list[str], operator.add]


def fixture_in(folder: Path, *, is_recording: bool = False) -> CallwiseFixture:
    """Return a fixture of a test in a folder."""
    return CallwiseFixture(
        FixtureSetup(
            "test_agent.py::test_it",
            "test_it",
            folder / "test_agent.py",
            folder,
            root=folder,
            is_recording=is_recording,
        )
    )


def agent(model: Any) -> Any:
    """Return a graph of one node."""

    async def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return StateGraph(MessagesState).add_node("think", think).add_edge(START, "think").compile()


def parallel(model: Any) -> Any:
    """Return a graph of three equal tasks and a streaming node, side by side; then a last one."""

    async def same(state: State) -> dict[str, Any]:
        return {"said": [(await model.ainvoke("same")).text]}

    async def streams(state: State) -> dict[str, Any]:
        return {"said": ["".join([part.text async for part in model.astream("same")])]}

    async def gathers(state: State) -> dict[str, Any]:
        answers = await asyncio.gather(*(model.ainvoke("same") for _ in range(3)))
        return {"said": [answer.text for answer in answers]}

    async def last(state: State) -> dict[str, Any]:
        return {"said": [(await model.ainvoke(" ".join(state["said"]))).text]}

    def send(state: State) -> list[Send]:
        return [*(Send("same", state) for _ in range(3)), Send("streams", state)]

    graph = StateGraph(State).add_node("same", same).add_node("streams", streams)
    graph.add_node("gathers", gathers).add_node("last", last, defer=True)
    graph.add_conditional_edges(START, send, ["same", "streams"]).add_edge(START, "gathers")
    return graph.add_edge(["same", "streams", "gathers"], "last").compile()


def record(folder: Path, script: Any, *texts: str) -> list[str]:
    """Record an agent of one node, a turn for each text, and return its answers."""
    return run(fixture_in(folder, is_recording=True), texts, client=ScriptedClient(script))


def run(made: CallwiseFixture, texts: tuple[str, ...], **options: Any) -> list[str]:
    """Run the agent under a cassette, and close the fixture."""
    made.cassette(NAME)
    graph = agent(made.model(**options))
    answers = []
    for text in texts:
        with made.turn("talk"):
            messages = asyncio.run(graph.ainvoke({"messages": [text]}))["messages"]
            answers.append(messages[-1].text)
    made.close()
    return answers


def test_a_recording_is_played_without_its_client(tmp_path: Path) -> None:
    """Counts, usage, nodes and answers are those of the recording, and nothing is asked."""
    recording, playing = fixture_in(tmp_path, is_recording=True), fixture_in(tmp_path)
    script = ScriptedClient(lambda call: f"to {call.messages[-1].content}")
    assert run(recording, ("a", "b"), client=script) == ["to a", "to b"]
    assert run(playing, ("a", "b")) == ["to a", "to b"]
    assert recording.calls == playing.calls
    assert recording._baseline(None, "x").text() == playing._baseline(None, "x").text()
    assert {row.outcome for row in playing._llm.rows} == {"replayed"}
    assert script.sent_requests == 2


def test_a_recording_without_its_ids_plays_with_other_ones(tmp_path: Path) -> None:
    """What changes from run to run is left out of its keys, where the test says so."""
    ids = {
        True: "0b1e7f4c-1111-4222-8333-444455556666",
        False: "aaaaaaaa-9999-4222-8333-4444555566ff",
    }
    for is_recording, name in ids.items():
        made = fixture_in(tmp_path, is_recording=is_recording)
        made.cassette(NAME, normalise=["uuid"])
        given = {"client": ScriptedClient(["fine"])} if is_recording else {}
        with made.turn("talk"):
            assert made.model(**given).invoke(f"order {name}").text == "fine"
        made.close()


def test_a_model_takes_the_arguments_of_its_class(tmp_path: Path) -> None:
    """Such as how it ends at a limit."""
    made = fixture_in(tmp_path)
    model = made.model(client=ScriptedClient(["one"]), final_answer="That is all.")
    with made.turn("talk", limits=Limits(max_calls=1)):
        assert [model.invoke(text).text for text in "ab"] == ["one", "That is all."]
    made.close()


def test_equal_calls_side_by_side_play_in_the_order_of_asking(tmp_path: Path) -> None:
    """Answers that came in the opposite order do not change places: tasks, gather, streams."""
    asked = 0
    gates: list[asyncio.Event] = []

    async def answer(call: Call) -> str:
        nonlocal asked
        asked += 1
        number = asked
        gates.append(asyncio.Event())
        for _ in range(50):  # until all have asked
            await asyncio.sleep(0)
        if number < len(gates):
            await gates[number].wait()
        gates[number - 1].set()
        return f"answer {number}"

    said = []
    for is_recording in (True, False):
        made = fixture_in(tmp_path, is_recording=is_recording)
        made.cassette(NAME)
        graph = parallel(made.model(client=ScriptedClient(answer)).bind(temperature=1.0))
        with made.turn("talk"):
            said.append(asyncio.run(graph.ainvoke({"said": []}))["said"])
        made.close()
    assert said[0] == said[1]


def record_and_play(folder: Path, script: Any, program: Any) -> list[Any]:
    """Return what a program gives when it is recorded, and when it is played."""
    given = []
    for is_recording in (True, False):
        made = fixture_in(folder, is_recording=is_recording)
        made.cassette(NAME)
        model = made.model(client=ScriptedClient(script))
        with made.turn("talk"):
            answer = program(model)
            given.append(asyncio.run(answer) if asyncio.iscoroutine(answer) else answer)
        given.append((made.calls.by_node, [row.requests for row in made._llm.rows]))
        made.close()
    return given


def backwards(count: int) -> Any:
    """Return a script that answers as many calls in the opposite order."""
    gates = [threading.Event() for _ in range(count + 1)]
    gates[count].set()

    async def answer(call: Call) -> str:
        text = str(call.messages[-1].content)
        if text.isdigit():
            await asyncio.to_thread(gates[int(text) + 1].wait)
            gates[int(text)].set()
        return f"to {text}"

    return answer


async def completed(model: Any) -> list[str]:
    """Ask side by side, and go on with each answer as it comes."""
    asked = [model.ainvoke(str(number)) for number in range(4)]
    texts = [(await each).text for each in asyncio.as_completed(asked)]
    return [*texts, (await model.ainvoke(" ".join(texts))).text]


def batched(model: Any) -> list[str]:
    """Do the same without a loop."""
    inputs = [str(number) for number in range(4)]
    texts = [answer.text for _, answer in model.batch_as_completed(inputs)]
    return [*texts, model.invoke(" ".join(texts)).text]


async def raced(model: Any) -> list[str]:
    """Take the first answer and leave the others."""
    tasks = [asyncio.ensure_future(model.ainvoke(str(number))) for number in range(4)]
    done, late = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    return [*(task.result().text for task in done), (await model.ainvoke("on")).text]


@pytest.mark.parametrize("program", [completed, batched])
def test_answers_come_in_the_order_in_which_they_came(tmp_path: Path, program: Any) -> None:
    """A program that goes on with the first answer asks the same in a replay."""
    recorded, counts, played, played_counts = record_and_play(tmp_path, backwards(4), program)
    assert recorded == [*(f"to {n}" for n in (3, 2, 1, 0)), "to to 3 to 2 to 1 to 0"]
    assert (played, played_counts) == (recorded, counts)


def test_who_leaves_a_batch_early_waits_for_what_is_in_flight(tmp_path: Path) -> None:
    """As with threads: every call has its row, and its answer in the recording."""

    def first(model: Any) -> str:
        inputs = [str(number) for number in range(4)]
        return next(answer.text for _, answer in model.batch_as_completed(inputs))

    recorded, counts, played, played_counts = record_and_play(tmp_path, backwards(4), first)
    assert counts == ({"-": 4}, [1] * 4)
    assert (recorded, played, played_counts) == ("to 3", "to 3", counts)


def test_a_race_is_won_by_the_same_call(tmp_path: Path) -> None:
    """The others are cancelled again."""

    async def answer(call: Call) -> str:
        if str(call.messages[-1].content) in "012":
            await asyncio.Event().wait()
        return f"to {call.messages[-1].content}"

    recorded, counts, played, played_counts = record_and_play(tmp_path, answer, raced)
    assert recorded == ["to 3", "to on"]
    assert (played, played_counts) == (recorded, counts)


def test_a_call_that_timed_out_times_out_again(tmp_path: Path) -> None:
    """Its repetition is not played in its place, and the same call of a later turn neither."""
    answered = 0
    is_late = False

    async def answer(call: Call) -> str:
        nonlocal answered
        if not is_late:
            await asyncio.Event().wait()
        answered += 1
        return f"answer {answered}"

    async def patient(model: Any) -> list[str]:
        nonlocal is_late
        said: list[str] = []
        while len(said) < 3 and "answer" not in "".join(said):
            try:
                async with asyncio.timeout(60 if said else 0.2):
                    said.append((await model.ainvoke("slow")).text)
            except TimeoutError:
                said.append("late")
                is_late = True
        return [*said, (await model.ainvoke("slow")).text]

    recorded, counts, played, played_counts = record_and_play(tmp_path, answer, patient)
    assert recorded == ["late", "answer 1", "answer 2"]
    assert (played, played_counts) == (recorded, counts)


def test_a_program_that_asks_less_does_not_wait_for_ever(tmp_path: Path) -> None:
    """Answers that came after one that is not asked for now are played all the same."""
    record(tmp_path, ["one", "two"], "a")
    made = fixture_in(tmp_path, is_recording=True)
    made.cassette(NAME)
    model = made.model(client=ScriptedClient(backwards(4)))
    with made.turn("other"):
        asyncio.run(completed(model))
    made.close()
    playing = fixture_in(tmp_path)
    playing.cassette(NAME)
    model = playing.model()
    with playing.turn("other"):
        assert [model.invoke(text).text for text in "012"] == ["to 0", "to 1", "to 2"]
    playing.close()


def test_a_missing_cassette_names_the_option(tmp_path: Path) -> None:
    """The error is a command that can be run."""
    with pytest.raises(ConfigError, match=r"pytest test_agent\.py::test_it --callwise-record"):
        fixture_in(tmp_path).cassette(NAME)


def test_a_call_that_is_not_recorded_fails(tmp_path: Path) -> None:
    """Another question is a miss that says what differs, and how to record it."""
    record(tmp_path, ["one"], "a")
    with pytest.raises(CassetteMiss, match=r"(?s)node think.*asked: +'b'.*--callwise-record"):
        run(fixture_in(tmp_path), ("b",))


def test_a_miss_that_the_program_catches_fails_the_test(tmp_path: Path) -> None:
    """An agent that answers every error with a sentence does not pass for a replay."""
    record(tmp_path, ["one"], "a")
    made = fixture_in(tmp_path)
    made.cassette(NAME)
    with pytest.raises(CassetteMiss):
        made.model().invoke("other")
    (problem,) = made.problems(None)
    assert problem.startswith("calls are not recorded: 1, the first: CassetteMiss")
    made.close()


def test_recording_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """What is recorded is played, and only what is missing is asked."""
    record(tmp_path, ["one"], "a")
    script = ScriptedClient(["two"])
    assert run(fixture_in(tmp_path, is_recording=True), ("a", "b"), client=script) == ["one", "two"]
    assert script.sent_requests == 1
    assert run(fixture_in(tmp_path), ("a", "b")) == ["one", "two"]


def test_a_call_that_broke_off_with_its_test_is_not_recorded(tmp_path: Path) -> None:
    """It would be played, and the test would fail for ever."""
    made = fixture_in(tmp_path, is_recording=True)
    made.cassette(NAME)
    model = made.model(client=ScriptedClient([RateLimited("slow", retry_after_seconds=900.0)]))
    with pytest.raises(RateLimited):
        model.invoke("a")
    made.close(has_failed=True)
    assert record(tmp_path, ["one"], "a") == ["one"]


def test_a_client_may_be_made_when_it_is_needed(tmp_path: Path) -> None:
    """A function that makes the client is called to record, and not to play."""
    made: list[FakeListChatModel] = []

    def chat() -> FakeListChatModel:
        made.append(FakeListChatModel(responses=["one"]))
        return made[-1]

    assert run(fixture_in(tmp_path, is_recording=True), ("a",), client=chat) == ["one"]
    assert run(fixture_in(tmp_path), ("a",), client=chat) == ["one"]
    assert len(made) == 1


def test_a_prompt_that_changed_is_named(tmp_path: Path) -> None:
    """Digests of system messages and tools are part of the baseline, by node."""

    def baseline(prompt: str, *, has_tools: bool = False) -> Any:
        made = fixture_in(tmp_path)
        model = made.model(client=ScriptedClient(lambda call: "yes"))
        tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
        asking: Any = model.bind_tools([tool]) if has_tools else model
        graph = agent(asking)
        with made.turn("talk"):
            asyncio.run(graph.ainvoke({"messages": [("system", prompt), ("user", "hi")]}))
        made.close()
        return made._baseline(None, "x")

    first, second = baseline("Be short."), baseline("Be very short.")
    assert list(first.prompts) == ["think"]
    assert first.prompts != second.prompts
    assert list(baseline("Be short.", has_tools=True).prompts) == ["think", "think tools"]
    assert first == baseline("Be short.")


def test_it_is_named_before_the_first_model(tmp_path: Path) -> None:
    """A model that was made before has its own client; two cassettes are one too many."""
    record(tmp_path, ["one"], "a")
    made = fixture_in(tmp_path)
    made.model()
    with pytest.raises(ConfigError, match="a model was made before its cassette was named"):
        made.cassette(NAME)
    made = fixture_in(tmp_path)
    made.cassette(NAME)
    with pytest.raises(ConfigError, match="name one cassette"):
        made.cassette(NAME)
    made.close()


@pytest.fixture
def server() -> Iterator[SimServer]:
    """Return a running server of the simulated model, in a separate loop."""
    loop, made = asyncio.new_event_loop(), SimServer()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(made.__aenter__(), loop).result(timeout=120)
    yield made
    closing = made.__aexit__(None, None, None)
    asyncio.run_coroutine_threadsafe(closing, loop).result(timeout=120)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_server_is_recorded_and_then_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: SimServer
) -> None:
    """Over real HTTP: what the environment names is asked once; the replay sends nothing."""
    monkeypatch.setenv("CALLWISE_BASE_URL", server.base_url)
    monkeypatch.setenv("CALLWISE_MODEL", "simulated")
    recorded = run(fixture_in(tmp_path, is_recording=True), ("a", "b"))
    assert len(server.log) == 2
    monkeypatch.delenv("CALLWISE_BASE_URL")
    monkeypatch.delenv("CALLWISE_MODEL")
    played = fixture_in(tmp_path)
    assert run(played, ("a", "b")) == recorded
    assert len(server.log) == 2
    assert [row.requests for row in played._llm.rows] == [1, 1]


def test_a_real_client_is_not_asked_in_a_replay(tmp_path: Path) -> None:
    """A client that sends is accepted where nothing can be sent."""
    record(tmp_path, ["one"], "a")
    client = OpenAIClient("https://api.example.com/v1", api_key="secret")
    assert run(fixture_in(tmp_path), ("a",), client=client) == ["one"]


async def test_an_llm_is_recorded_too(tmp_path: Path) -> None:
    """A program that asks the budgeter itself plays from the same file."""
    call = Call(Role.FAST, Purpose.DETECT, (Message("user", "hello"),))
    for is_recording in (True, False):
        made = fixture_in(tmp_path, is_recording=is_recording)
        made.cassette(NAME)
        llm = made.llm("fast", client=ScriptedClient(["one"]))
        assert (await llm.ask(call)).text == "one"
        made.close()
    line = json.loads((tmp_path / NAME).read_text(encoding="utf-8").splitlines()[1])
    assert (line["role"], line["scope"]) == ("fast", "run/conv:test_it/turn:0")
