"""LangGraph programs as apps: recorded, replayed, gone on with, and refused when they changed."""

import asyncio
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import orjson
import pytest
from langchain_core.messages import AIMessage, SystemMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Send

from callwise.budget import Limits
from callwise.budget.metrics import MetricsKnobs
from callwise.calls.errors import CassetteMiss, ConfigError, ServerFailed
from callwise.recordings import CassetteMode, read_conversations
from callwise.recordings.app_protocol import TurnInput
from callwise.recordings.cassette_file import CassetteFile
from callwise.recordings.program import ProgramApp, ProgramSettings, program_app
from callwise.recordings.program_session import ProgramFailed
from callwise.recordings.program_turn import OpenTurn
from callwise.recordings.replay_run import FinishedRun, RunRequest, run_replay
from callwise.simulator import SimulatedSettings
from callwise.simulator.server import SimServer
from callwise.testing.gate import baseline_of_run, compare

STRICT = CassetteMode.STRICT


@pytest.fixture
def talk(write_lines: Callable[..., Path]) -> Path:
    """Return three conversations of three users; two begin with the same message."""
    texts = (("Hello.", "And you?"), ("Hello.", "Good bye."), ("你好。", "再见。"))
    return write_lines(
        *(
            {"conversation_id": f"talk-{n}", "turn": turn, "user_id": f"u{n}", "user_text": text}
            for n, both in enumerate(texts)
            for turn, text in enumerate(both)
        )
    )


def chain(**options: Any) -> Callable[[Any], Any]:
    """Return a builder of a graph of one node, with a system message."""

    def build(model: Any) -> Any:
        async def think(state: MessagesState) -> dict[str, Any]:
            return {
                "messages": [await model.ainvoke([SystemMessage("Be kind."), *state["messages"]])]
            }

        graph = StateGraph(MessagesState).add_node("think", think).add_edge(START, "think")
        return graph.compile(**options)

    return build


def counting(model: Any) -> Any:
    """Build a graph that counts its turns in its state, and sends the model the number."""

    class State(MessagesState):
        turns: Annotated[int, operator.add]

    async def think(state: State) -> dict[str, Any]:
        said = SystemMessage(f"This is turn {state['turns']}.")
        return {"messages": [await model.ainvoke([said, *state["messages"]])]}

    graph = StateGraph(State).add_node("count", lambda state: {"turns": 1}).add_node("think", think)
    graph.add_edge(START, "count").add_edge("count", "think")
    return graph.compile(checkpointer=InMemorySaver())


def parallel(model: Any) -> Any:
    """Build a graph of equal tasks side by side, in threads and in the loop, some streaming."""

    class State(MessagesState):
        notes: Annotated[list[str], operator.add]

    def threaded(state: State) -> dict[str, Any]:
        return {"notes": [model.bind(temperature=1.0).invoke(state["messages"][-1:]).text]}

    async def streamed(state: State) -> dict[str, Any]:
        stream = model.bind(temperature=1.0).astream(state["messages"][-1:])
        return {"notes": ["".join([part.text async for part in stream])]}

    async def answer(state: State) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(" / ".join(state["notes"]))]}

    def send(state: State) -> list[Send]:
        return [Send(name, state) for name in ("threaded", "streamed", "threaded", "streamed")]

    graph = StateGraph(State).add_node("threaded", threaded).add_node("streamed", streamed)
    graph.add_node("answer", answer).add_conditional_edges(START, send, ["threaded", "streamed"])
    return graph.add_edge(["threaded", "streamed"], "answer").compile()


async def replay(talk: Path, folder: Path, build: Any, **changes: Any) -> FinishedRun:
    """Replay a program; its recording is in the folder unless another file is named."""
    whole = list(read_conversations([talk]).conversations)
    settings = changes.pop("settings", None) or ProgramSettings()
    limit = changes.pop("limit_turns", None)
    some = whole if limit is None else [each.first_turns(limit) for each in whole]
    request = RunRequest(
        app=ProgramApp(build, "program:build"),
        app_target="program:build",
        settings=settings,
        conversations=some,
        digest_of=whole,
        folder=folder,
        **changes,
    )
    return await run_replay(request)


def _bytes(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ("turns.jsonl", "ledger.jsonl")]


@pytest.mark.parametrize("build", [chain(), counting, parallel])
async def test_a_replay_is_the_same_at_any_concurrency(
    talk: Path, tmp_path: Path, build: Any
) -> None:
    """Recorded side by side and played alone: same replies and counts, and the same bytes."""
    cassette = tmp_path / "c.jsonl"
    live = await replay(talk, tmp_path / "live", build, cassette=cassette, max_concurrency=3)
    for name, concurrency in (("one", 1), ("three", 3)):
        options = {"cassette": cassette, "mode": STRICT, "max_concurrency": concurrency}
        played = await replay(talk, tmp_path / name, build, **options)
        assert [turn["reply"] for turn in played.turns] == [turn["reply"] for turn in live.turns]
        assert {row["outcome"] for row in played.rows} == {"replayed"}
        nodes = [[row["node"] for row in run.rows] for run in (live, played)]
        assert nodes[0] == nodes[1]
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "three")
    baselines = [baseline_of_run(tmp_path / name) for name in ("live", "one")]
    assert not compare(*baselines).failures
    assert baselines[0].prompts == baselines[1].prompts


async def test_the_model_sees_the_messages_so_far(talk: Path, tmp_path: Path) -> None:
    """Without a checkpointer the conversation is given; each has its own."""
    await replay(talk, tmp_path / "run", chain())
    file = CassetteFile.open_reading(tmp_path / "run" / "cassette.jsonl")
    lines = [file.read(entry, is_prompt_whole=True) for entry in range(len(file.index))]
    file.close()
    asked = [[message["content"] for message in line["messages"]] for line in lines]
    assert asked[0] == ["Be kind.", "Hello."]
    assert asked[1][:2] == ["Be kind.", "Hello."]
    assert asked[1][3] == "And you?"
    assert len(asked[1]) == 4
    assert asked[4] == ["Be kind.", "你好。"]


@pytest.mark.parametrize("build", [chain(), counting])
async def test_a_run_that_was_stopped_goes_on_as_if_it_was_not(
    talk: Path, tmp_path: Path, build: Any
) -> None:
    """What the program remembered is made again from the recording; nothing is asked twice."""
    whole = await replay(talk, tmp_path / "whole", build)
    await replay(talk, tmp_path / "parts", build, limit_turns=1)
    resumed = await replay(talk, tmp_path / "parts", build)
    assert resumed.turns_before == 3
    assert _bytes(tmp_path / "whole") == _bytes(tmp_path / "parts")
    sizes = [
        len((tmp_path / name / "cassette.jsonl").read_bytes().splitlines())
        for name in ("whole", "parts")
    ]
    assert sizes[0] == sizes[1]
    assert whole.rows == resumed.rows


async def test_a_program_that_changed_does_not_go_on(talk: Path, tmp_path: Path) -> None:
    """Its finished turns would be answered otherwise, and nothing is asked to find out."""
    await replay(talk, tmp_path / "run", chain(), limit_turns=1)
    before = (tmp_path / "run" / "cassette.jsonl").read_bytes()
    with pytest.raises(ConfigError, match=r"turn 0 is not as it was .*start over with --fresh"):
        await replay(talk, tmp_path / "run", counting)
    assert (tmp_path / "run" / "cassette.jsonl").read_bytes() == before


async def test_a_run_does_not_see_the_threads_of_another(talk: Path, tmp_path: Path) -> None:
    """A checkpointer that the program shares between runs is not used."""
    shared = InMemorySaver()
    runs = [
        await replay(talk, tmp_path / name, chain(checkpointer=shared)) for name in ("one", "two")
    ]
    assert runs[0].turns == runs[1].turns
    assert not list(shared.list(None))


async def test_a_turn_that_a_limit_ended_has_no_reply_and_says_so(
    talk: Path, tmp_path: Path
) -> None:
    """The others go on, and the replay is refused alike."""
    settings = ProgramSettings(budget={"conversation": Limits(max_calls=1)})
    cassette = tmp_path / "c.jsonl"
    live = await replay(talk, tmp_path / "live", chain(), cassette=cassette, settings=settings)
    assert [bool(turn["reply"]) for turn in live.turns] == [True, False] * 3
    assert live.turns[1]["degraded"][0]["reason"] == "CallRefused"
    assert [row["outcome"] for row in live.rows] == ["served", "refused"] * 3
    played = await replay(
        talk, tmp_path / "played", chain(), cassette=cassette, mode=STRICT, settings=settings
    )
    assert [turn["degraded"] for turn in played.turns] == [turn["degraded"] for turn in live.turns]


async def test_calls_in_flight_at_the_end_of_a_turn_are_part_of_it(
    talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a limit ended it, or the program left a task behind, which asks no more then."""
    left: list[Any] = []

    def build(model: Any) -> Any:
        async def work(state: MessagesState) -> dict[str, Any]:
            async def twice() -> None:
                await model.ainvoke("first")
                await model.ainvoke("second")

            before = len(server.log)
            left.append(asyncio.ensure_future(twice()))
            while len(server.log) == before:  # noqa: ASYNC110 - it has no event for that
                await asyncio.sleep(0)
            if state["messages"][-1].text == "Hello.":
                return {"messages": [AIMessage("Hi.")]}
            return {"messages": [await model.ainvoke("beyond")]}

        return StateGraph(MessagesState).add_node("work", work).add_edge(START, "work").compile()

    is_over = asyncio.Event()
    come_to_rest = OpenTurn.come_to_rest

    async def noted(turn: OpenTurn) -> None:
        is_over.set()
        await come_to_rest(turn)
        is_over.clear()

    async def sleep(_seconds: float) -> None:
        await is_over.wait()

    monkeypatch.setattr(OpenTurn, "come_to_rest", noted)
    settings = ProgramSettings(budget={"turn": Limits(max_calls=1)})
    async with SimServer(SimulatedSettings(real_time_scale=0.1), sleep=sleep) as server:
        monkeypatch.setenv("CALLWISE_BASE_URL", server.base_url)
        monkeypatch.setenv("CALLWISE_MODEL", "simulated")
        run = await replay(talk, tmp_path / "run", build, settings=settings, max_concurrency=1)
        assert len(server.log) == len(run.turns) == 6
    asked: dict[tuple[str, int], list[str]] = {}
    for row in run.rows:
        asked.setdefault((row["conversation"], int(row["turn"])), []).append(row["outcome"])
    assert len(asked) == 6
    for (conversation, turn), outcomes in asked.items():
        is_left = turn == 0 and conversation != "talk-2"
        assert outcomes == (["served"] if is_left else ["served", "refused"])
    ends = await asyncio.gather(*left, return_exceptions=True)
    assert all("is over" in str(end) for end in ends)


async def test_an_error_of_the_program_stops_and_loses_nothing(talk: Path, tmp_path: Path) -> None:
    """It is named with its place; once it is mended the run goes on."""

    def broken(model: Any) -> Any:
        inner = chain()(model)

        async def run(state: MessagesState) -> dict[str, Any]:
            if state["messages"][-1].text == "Good bye.":
                raise ValueError("no")
            return dict(await inner.ainvoke(state))

        return StateGraph(MessagesState).add_node("run", run).add_edge(START, "run").compile()

    def mended(model: Any) -> Any:
        return (
            StateGraph(MessagesState)
            .add_node("run", chain()(model))
            .add_edge(START, "run")
            .compile()
        )

    with pytest.raises(ProgramFailed, match=r"turn 1 of 'talk-1': .*ValueError at .*\.py:\d+: no"):
        await replay(talk, tmp_path / "run", broken)
    done = await replay(talk, tmp_path / "run", mended)
    assert done.turns_before == 3
    assert len(done.turns) == 6


async def test_a_miss_that_the_program_hides_stops_the_replay(talk: Path, tmp_path: Path) -> None:
    """An agent that answers errors with a sentence would go on with what was never said."""

    def hiding(prompt: str) -> Callable[[Any], Any]:
        def build(model: Any) -> Any:
            async def think(state: MessagesState) -> dict[str, Any]:
                try:
                    return {"messages": [await model.ainvoke(prompt)]}
                except Exception:  # noqa: BLE001 - as many agents do
                    return {"messages": [AIMessage("Sorry.")]}

            return StateGraph(MessagesState).add_node("t", think).add_edge(START, "t").compile()

        return build

    cassette = tmp_path / "c.jsonl"
    await replay(talk, tmp_path / "live", hiding("one"), cassette=cassette)
    with pytest.raises(CassetteMiss, match=r"(?s)recorded: +'one'.*asked: +'two'"):
        await replay(talk, tmp_path / "run", hiding("two"), cassette=cassette, mode=STRICT)


async def test_models_come_by_role(talk: Path, tmp_path: Path) -> None:
    """A builder of `models` gets a mapping; each role's calls are counted as its own."""

    def build(models: Any) -> Any:
        async def think(state: MessagesState) -> dict[str, Any]:
            verdict = await models["judge"].ainvoke(state["messages"])
            return {"messages": [await models["main"].ainvoke([*state["messages"], verdict])]}

        return StateGraph(MessagesState).add_node("t", think).add_edge(START, "t").compile()

    run = await replay(talk, tmp_path / "run", build)
    assert [row["role"] for row in run.rows] == ["judge", "main"] * 6


@pytest.mark.parametrize(
    ("last", "reply"),
    [
        (AIMessage("yes", name="writer"), "yes"),
        (ToolMessage("found", tool_call_id="a"), "found"),
        (AIMessage(""), ""),
    ],
)
async def test_the_reply_is_the_last_text_of_the_turn(
    talk: Path, tmp_path: Path, last: Any, reply: str
) -> None:
    """Of an assistant, else of a tool that ends the turn; without one the turn says so."""

    def build(model: Any) -> Any:
        graph = StateGraph(MessagesState).add_node("end", lambda state: {"messages": [last]})
        return graph.add_edge(START, "end").compile()

    run = await replay(talk, tmp_path / "run", build, limit_turns=1)
    assert [turn["reply"] for turn in run.turns] == [reply] * 3
    reasons = [cause["reason"] for turn in run.turns for cause in turn["degraded"]]
    assert reasons == ([] if reply else ["no reply"] * 3)


async def test_other_runnables_answer_with_a_message_or_a_text(talk: Path, tmp_path: Path) -> None:
    """A chain may end in a parser; anything else is an error that says what to return."""
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.runnables import RunnableLambda

    def text_chain(model: Any) -> Any:
        return RunnableLambda(lambda state: state["messages"]) | model | StrOutputParser()

    async def async_build(model: Any) -> Any:
        return RunnableLambda(lambda state: state["messages"]) | model

    for name, build in (("text", text_chain), ("message", async_build)):
        run = await replay(talk, tmp_path / name, build)
        assert all(turn["reply"] for turn in run.turns)
    with pytest.raises(ConfigError, match="returned a int without `messages`"):
        await replay(talk, tmp_path / "no", lambda model: RunnableLambda(lambda state: 1))


async def test_an_outage_stops_the_run_and_is_not_recorded(
    talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command goes on when the endpoint is back; then a replay sends nothing."""
    settings = ProgramSettings(retry={"server_failed_attempts": 1})
    cassette = tmp_path / "c.jsonl"
    async with SimServer(faults=["ok", "500"]) as server:
        monkeypatch.setenv("CALLWISE_BASE_URL", server.base_url)
        monkeypatch.setenv("CALLWISE_MODEL", "simulated")
        with pytest.raises(ServerFailed):
            await replay(talk, tmp_path / "run", chain(), cassette=cassette, settings=settings)
        done = await replay(talk, tmp_path / "run", chain(), cassette=cassette, settings=settings)
        assert (done.turns_before, len(done.turns)) == (1, 6)
        sent = len(server.log)
        assert sent == 7
        for name in ("CALLWISE_BASE_URL", "CALLWISE_MODEL"):
            monkeypatch.delenv(name)
        played = await replay(talk, tmp_path / "played", chain(), cassette=cassette, mode=STRICT)
        assert len(server.log) == sent
    assert [turn["reply"] for turn in played.turns] == [turn["reply"] for turn in done.turns]
    baselines = [baseline_of_run(tmp_path / name) for name in ("run", "played")]
    assert not compare(*baselines).failures


async def test_a_bare_thread_asks_in_the_only_open_turn(talk: Path, tmp_path: Path) -> None:
    """Of several open turns none is guessed; the error says what to do."""

    def build(model: Any) -> Any:
        async def think(state: MessagesState) -> dict[str, Any]:
            loop = asyncio.get_running_loop()
            return {"messages": [await loop.run_in_executor(None, model.invoke, state["messages"])]}

        return StateGraph(MessagesState).add_node("t", think).add_edge(START, "t").compile()

    run = await replay(talk, tmp_path / "run", build)
    assert [row["turn"] for row in run.rows] == ["0", "1"] * 3
    with pytest.raises(ConfigError, match="--max-concurrency 1"):
        await replay(talk, tmp_path / "side", build, max_concurrency=3)


def test_what_is_no_builder_is_refused() -> None:
    """The error says what to name instead."""
    with pytest.raises(
        ConfigError, match=r"CompiledStateGraph whose model is built in: name a fun"
    ):
        program_app(chain()(None), "m:graph", [])
    with pytest.raises(ConfigError, match=r"it has no plan, and it is no function build\(model\)"):
        program_app(3, "m:three", ["plan"])
    with pytest.raises(ConfigError, match="cannot be called with a model: missing a required"):
        program_app(lambda model, tools: None, "m:two", [])


async def test_a_graph_that_is_not_compiled_is_refused(talk: Path, tmp_path: Path) -> None:
    """Before anything is asked."""
    with pytest.raises(ConfigError, match="returned a StateGraph: return a compiled graph"):
        await replay(talk, tmp_path / "run", lambda model: StateGraph(MessagesState))


async def test_a_builder_that_fails_is_named(talk: Path, tmp_path: Path) -> None:
    """With the file and the line, before anything is asked."""

    def build(model: Any) -> Any:
        raise KeyError("tools")

    with pytest.raises(ConfigError, match=r"raised KeyError at .*test_program\.py:\d+: 'tools'"):
        await replay(talk, tmp_path / "run", build)


def test_it_has_one_preset() -> None:
    """Another name is refused, and says what there is."""
    app = ProgramApp(chain(), "m:build")
    assert app.presets() == ("default",)
    assert app.settings(None) == app.settings("default") == ProgramSettings()
    assert app.settings(None, ["budget.turn.max_calls=3"]).budget.turn.max_calls == 3
    with pytest.raises(ConfigError, match="has one preset, 'default', and no 'classic'"):
        app.settings("classic")
    with pytest.raises(ConfigError, match="budget"):
        app.settings(None, ["budgt.turn.max_calls=3"])


async def test_a_second_user_does_not_go_on_with_the_first_ones_conversation(
    tmp_path: Path,
) -> None:
    """An id that two users have is refused: the program would answer one from the other's."""
    app = program_app(chain(), "test:chain", ["open"])
    async with app.open(app.settings(None), folder=tmp_path) as session:
        await session.run_turn(TurnInput("talk", None, "My password is heron-7.", "ann"))
        for user in ("bob", None):
            with pytest.raises(ConfigError, match=r"'talk' is of user 'ann'.*two ids"):
                await session.run_turn(TurnInput("talk", None, "My password?", user))
        again = await session.run_turn(TurnInput("talk", None, "My password?", "ann"))
    assert again.record["turn"] == 1


async def test_a_program_is_observed_as_its_knobs_ask(talk: Path, tmp_path: Path) -> None:
    """The status counts its calls; a strict replay writes none, and has the same files."""
    settings = ProgramSettings(metrics=MetricsKnobs(status=True))
    cassette = tmp_path / "c.jsonl"
    run = await replay(talk, tmp_path / "live", counting, cassette=cassette, settings=settings)
    status = orjson.loads((tmp_path / "live" / "status.json").read_bytes())
    assert (status["asked"], status["has_ended"]) == (len(run.rows), True)
    plain = {"cassette": cassette, "mode": STRICT}
    await replay(talk, tmp_path / "plain", counting, **plain)
    await replay(talk, tmp_path / "observed", counting, settings=settings, **plain)
    assert _bytes(tmp_path / "plain") == _bytes(tmp_path / "observed")
    assert not (tmp_path / "observed" / "status.json").exists()
