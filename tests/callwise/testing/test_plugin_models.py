"""Programs that are not ours: models of the fixture, turns, nodes, threads and loops."""

import asyncio
import threading
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.graph import START, MessagesState, StateGraph

from callwise.budget import Limits
from callwise.calls import Call, CallRefused, Endpoint, Message, Prices, Purpose, Role
from callwise.calls.errors import ConfigError
from callwise.calls.openai_http import OpenAIClient
from callwise.testing.fakes import ScriptedClient
from callwise.testing.fixture import CallwiseFixture
from callwise.testing.plugin_options import FixtureSetup


def yes(call: Call) -> str:
    """Answer anything."""
    del call
    return "yes"


def agent(model: Any) -> Any:
    """Return a graph of two synchronous nodes, one after the other."""

    def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node("think", think).add_node("answer", think)
    return graph.add_edge(START, "think").add_edge("think", "answer").compile()


def test_a_graph_is_counted_by_turn_and_node(callwise: CallwiseFixture) -> None:
    """Two turns of a synchronous graph: two calls each, one per node, all of them main's."""
    graph = agent(callwise.model(client=ScriptedClient(yes), purpose="reason"))
    for text in ("hello", "again"):
        with callwise.turn("talk"):
            graph.invoke({"messages": [text]})
    assert callwise.calls.by_turn == {("talk", 0): 2, ("talk", 1): 2}
    assert callwise.calls.by_node == {"answer": 2, "think": 2}
    assert callwise.calls.by_role == {"main": 4}
    assert callwise.calls.by_purpose == {"reason": 4}


async def test_an_asynchronous_test_is_counted_alike(callwise: CallwiseFixture) -> None:
    """Turns side by side keep their calls apart."""
    model = callwise.model(client=ScriptedClient(yes))

    async def talk(name: str, count: int) -> None:
        with callwise.turn(name, 0):
            for number in range(count):
                await model.ainvoke(f"{name} {number}")
                await asyncio.sleep(0)

    await asyncio.gather(talk("first", 3), talk("second", 2))
    assert callwise.calls.by_turn == {("first", 0): 3, ("second", 0): 2}


def test_nodes_side_by_side_are_counted(callwise: CallwiseFixture) -> None:
    """LangGraph runs these nodes in its own threads; both are in the open turn."""
    model = callwise.model(client=ScriptedClient(yes))

    class State(TypedDict):
        text: str
        said: Annotated[list[str], lambda old, new: old + new]

    def node(name: str) -> Any:
        return lambda state: {"said": [model.invoke(f"{name} {state['text']}").text]}

    graph = StateGraph(State)
    for name in ("left", "right"):
        graph.add_node(name, node(name)).add_edge(START, name)
    with callwise.turn("talk", 0):
        graph.compile().invoke({"text": "hello", "said": []})
    assert callwise.calls.by_node == {"left": 1, "right": 1}
    assert callwise.calls.by_turn == {("talk", 0): 2}


def test_a_thread_of_the_tests_own_asks_in_the_open_turn(callwise: CallwiseFixture) -> None:
    """Such a thread inherits no context, and there is one turn it can mean."""
    model = callwise.model(client=ScriptedClient(yes))
    with callwise.turn("talk", 4):
        thread = threading.Thread(target=model.invoke, args=("hello",))
        thread.start()
        thread.join()
    assert callwise.calls.by_turn == {("talk", 4): 1}


def test_several_loops_share_one_budget(callwise: CallwiseFixture) -> None:
    """Synchronous calls, `asyncio.run` and a second model use the same counters."""
    first = callwise.model(client=ScriptedClient(yes))
    second = callwise.model("judge", client=ScriptedClient(yes))
    with callwise.turn("talk", 0, limits=Limits(max_calls=3)):
        first.invoke("one")
        asyncio.run(first.ainvoke("two"))
        second.invoke("three")
        with pytest.raises(CallRefused, match="max_calls=3"):
            asyncio.run(second.ainvoke("four"))
    assert callwise.calls.by_role == {"judge": 2, "main": 2}


def test_calls_outside_of_turns_are_the_tests_own_turn(callwise: CallwiseFixture) -> None:
    """What is asked before and after a turn is counted, as turn 0 of the test's name."""
    model = callwise.model(client=ScriptedClient(yes))
    model.invoke("before")
    with callwise.turn("talk", 0):
        model.invoke("inside")
    model.invoke("after")
    name = "test_calls_outside_of_turns_are_the_tests_own_turn"
    assert callwise.calls.by_turn == {("talk", 0): 1, (name, 0): 2}


def test_without_a_client_the_model_is_simulated(callwise: CallwiseFixture) -> None:
    """No key, no network: the simulated model answers, the same each time."""
    model = callwise.model()
    assert model.invoke("hello").text
    assert callwise.model("main").invoke("hello").text == model.invoke("hello").text
    assert callwise.calls.total == 3


def test_a_fake_of_langchain_may_answer(callwise: CallwiseFixture) -> None:
    """A LangChain model that sends nothing is taken as it is."""
    model = callwise.model(client=FakeListChatModel(responses=["one", "two"]))
    assert [model.invoke(text).text for text in ("a", "b")] == ["one", "two"]
    assert callwise.calls.total == 2


def test_prices_come_with_an_endpoint(callwise: CallwiseFixture) -> None:
    """An endpoint brings its own prices, so that cost can be gated; a client has none."""
    endpoint = Endpoint("shop", "large", ScriptedClient(yes), Prices(1.0, 2.0))
    callwise.model(client=endpoint).invoke("hello")
    (turn,) = callwise._baseline(None, "shop").turns
    assert turn.usd == pytest.approx((10 * 1.0 + 5 * 2.0) / 1e6)


def test_a_role_is_answered_by_one(callwise: CallwiseFixture) -> None:
    """A second client for a role would be silently ignored, so it is refused."""
    client = ScriptedClient(yes)
    callwise.model(client=client)
    callwise.model(client=client)
    with pytest.raises(ConfigError, match="another client answers the role main"):
        callwise.model(client=ScriptedClient(yes))


def test_a_new_role_joins_between_turns(callwise: CallwiseFixture) -> None:
    """Between turns a model may be added, within a turn that has asked it may not."""
    model = callwise.model(client=ScriptedClient(yes))
    model.invoke("outside")
    with callwise.turn("talk", 0):
        model.invoke("inside")
        with pytest.raises(ConfigError, match="before the turn's first call"):
            callwise.model("fast", client=ScriptedClient(yes))
    callwise.model("fast", client=ScriptedClient(yes)).invoke("after")
    model.invoke("after")
    assert callwise.calls.by_role == {"fast": 1, "main": 3}


@pytest.mark.parametrize(("turn", "words"), [(0, "was run in this test already"), (-1, "start at")])
def test_a_turn_is_run_once(callwise: CallwiseFixture, turn: int, words: str) -> None:
    """Two turns of one number would be counted as one."""
    with callwise.turn("talk", 0):
        pass
    with pytest.raises(ConfigError, match=words), callwise.turn("talk", turn):
        pass


def test_unknown_roles_and_purposes_name_the_known(callwise: CallwiseFixture) -> None:
    """A typo is answered with what there is."""
    with pytest.raises(ConfigError, match="there are: main, judge, fast, embed"):
        callwise.model("juge")
    with pytest.raises(ConfigError, match="there is no purpose 'think'"):
        callwise.model(purpose="think")
    with pytest.raises(ConfigError, match="client is a str"):
        callwise.model(client="gpt")


def test_a_client_that_sends_is_refused(callwise: CallwiseFixture) -> None:
    """Without --callwise-live nothing that reaches another machine is put to work."""
    client = OpenAIClient("https://api.example.com/v1", api_key="secret")
    with pytest.raises(ConfigError, match="nothing is sent without --callwise-live") as caught:
        callwise.model(client=client)
    assert "secret" not in str(caught.value)


def test_a_provider_of_langchain_is_refused(callwise: CallwiseFixture) -> None:
    """A model out of langchain_openai and its like is told by its package."""
    kind = type("ChatAnything", (FakeListChatModel,), {"__module__": "langchain_openai.chat"})
    with pytest.raises(ConfigError, match="a ChatAnything sends requests"):
        callwise.model(client=kind(responses=["x"]))


def test_on_a_live_run_it_may_answer(tmp_path: Path) -> None:
    """With --callwise-live the same client is taken; nothing is sent by that alone."""
    setup = FixtureSetup("t", "t", tmp_path / "test_x.py", tmp_path, root=tmp_path, is_live=True)
    fixture = CallwiseFixture(setup)
    fixture.model(client=OpenAIClient("https://api.example.com/v1", api_key="secret"))
    fixture.close()
    fixture.close()


def test_clients_are_closed_after_the_test(tmp_path: Path) -> None:
    """The fixture owns what it was given, as a budgeter does."""
    fixture = CallwiseFixture(FixtureSetup("t", "t", tmp_path / "test_x.py", tmp_path, tmp_path))
    client = ScriptedClient(yes)
    fixture.model(client=client).invoke("hello")
    fixture.close()
    assert client.is_closed


def test_an_llm_serves_programs_of_the_engines_own(callwise: CallwiseFixture) -> None:
    """A program that asks a budgeter is counted in the same turn, rounds of calls too."""
    llm = callwise.llm("fast", client=ScriptedClient(yes))
    call = Call(Role.FAST, Purpose.DETECT, (Message("user", "hello"),))
    with callwise.turn("talk", 0, limits=Limits(max_calls=4)):
        asyncio.run(llm.ask_all([call, call.resample(1)]))
        assert llm.advisory().calls_left == 2
    assert callwise.calls.by_purpose == {"detect": 2}
