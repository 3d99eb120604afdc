"""LangChain's callbacks, LangSmith's and Langfuse's among them, see each call once, with usage."""

import json

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langgraph.graph import START, MessagesState, StateGraph

import callwise as cw
from callwise.report.traces import Traces
from tests.callwise.report.traces.conftest import ask, attributes, budgeter_of, reply


class Ends(BaseCallbackHandler):
    """Keeps the usage of each call of a chat model that ends."""

    def __init__(self):
        self.starts, self.usages = [], []

    def on_chat_model_start(self, serialized, messages, *, run_id, **_):
        """Keep that it started."""
        self.starts.append(run_id)

    def on_llm_end(self, response, *, run_id, **_):
        """Keep its usage."""
        self.usages.append(response.generations[0][0].message.usage_metadata)


def program(model):
    """Return a graph of one node that asks a model."""

    def answer(state: MessagesState):
        return {"messages": [model.invoke(state["messages"])]}

    return StateGraph(MessagesState).add_node("think", answer).add_edge(START, "think").compile()


def tokens_of(usage):
    """Return input and output tokens of what LangChain calls usage metadata."""
    return usage["input_tokens"], usage["output_tokens"]


def test_callbacks_of_a_graph_see_each_call_once():
    """A served call, a cached one and a stream end once each, with the tokens of their rows."""
    budgeter = budgeter_of([reply(tokens=11), reply(tokens=12)], own_loop=True)
    with cw.wrap(FakeListChatModel(responses=["no"]), budgeter) as model:
        ends = Ends()
        config = {"callbacks": [ends]}
        program(model).invoke({"messages": ["Hello?"]}, config)
        "".join(chunk.text for chunk in model.stream("Hello again?", config))
        rows = budgeter.ledger.rows
    assert len(ends.starts) == len(set(ends.starts)) == len(rows) == 2
    assert [tokens_of(each) for each in ends.usages] == [
        (row.input_tokens, row.output_tokens) for row in rows
    ]


def test_a_model_behind_the_budgeter_reports_no_second_call():
    """A LangChain model that answers as an endpoint is asked without the program's callbacks."""
    ends = Ends()
    own = FakeListChatModel(responses=["Purr."])
    with cw.wrap(own, cw.Budgeter()) as model:
        result = program(model).invoke({"messages": ["Why?"]}, {"callbacks": [ends]})
    assert result["messages"][-1].text == "Purr."
    assert len(ends.starts) == 1


def test_langsmith_sees_a_call_once_with_its_usage(receiver):
    """Its tracer's own exporter posts one run of a model, below its node's."""
    langsmith = pytest.importorskip("langsmith")
    tracers = pytest.importorskip("langchain_core.tracers")
    client = langsmith.Client(
        api_url=receiver.url, api_key="lsv2_pt_none", auto_batch_tracing=False
    )
    tracer = tracers.LangChainTracer(client=client, project_name="shop")
    budgeter = budgeter_of([reply(tokens=11)], own_loop=True)
    with cw.wrap(FakeListChatModel(responses=["no"]), budgeter) as model:
        program(model).invoke({"messages": ["Hello?"]}, {"callbacks": [tracer]})
    runs = {}
    for path, headers, body in receiver.requests:
        assert headers["x-api-key"] == "lsv2_pt_none"
        run = {name: value for name, value in json.loads(body).items() if value is not None}
        runs.setdefault(run.get("id") or path.rpartition("/")[2], {}).update(run)
    models = [run for run in runs.values() if run["run_type"] == "llm"]
    (called,) = models
    assert runs[called["parent_run_id"]]["name"] == "think"
    kept = called["outputs"]["generations"][0][0]["message"]["kwargs"]["usage_metadata"]
    assert tokens_of(kept) == (11, 20)


def test_langfuse_sees_a_call_once_with_its_usage(receiver):
    """Its callback's own exporter posts one generation to its route of OTLP."""
    langfuse = pytest.importorskip("langfuse", reason="needs langfuse, in its own environment")
    handler = pytest.importorskip("langfuse.langchain")
    client = langfuse.Langfuse(
        public_key="pk-lf-none", secret_key="sk-lf-none", base_url=receiver.url
    )
    budgeter = budgeter_of([reply(tokens=11)], own_loop=True)
    with cw.wrap(FakeListChatModel(responses=["no"]), budgeter) as model:
        callback = handler.CallbackHandler(public_key="pk-lf-none")
        program(model).invoke({"messages": ["Hello?"]}, {"callbacks": [callback]})
    client.flush()
    assert {path for path, _, _ in receiver.requests} == {"/api/public/otel/v1/traces"}
    found = [attributes(span) for span in receiver.spans]
    models = [each for each in found if each.get("langfuse.observation.type") == "generation"]
    (called,) = models
    usage = json.loads(called["langfuse.observation.usage_details"])
    assert usage["input"] + usage.get("input_cache_read", 0) == 11
    assert usage["output"] == 20
    client.shutdown()


@pytest.mark.parametrize(
    ("route", "headers"),
    [
        ("/otel", "x-api-key=lsv2,Langsmith-Project=shop"),
        ("/api/public/otel", "Authorization=Basic%20cGs6c2s=,x-langfuse-ingestion-version=4"),
    ],
)
async def test_the_turns_reach_both_by_otlp(receiver, route, headers):
    """The pipeline's own calls go to the routes of OTLP that both document, with their keys."""
    environ = {"OTEL_EXPORTER_OTLP_HEADERS": headers}
    budgeter = budgeter_of([reply()])
    async with Traces(f"{receiver.url}{route}", environ=environ) as traces:
        traces.watch(budgeter)
        with budgeter.scope("turn", "1"):
            await budgeter.ask(ask())
    ((path, sent, _),) = receiver.requests
    assert path == f"{route}/v1/traces"
    for pair in headers.split(","):
        name, _, value = pair.partition("=")
        assert sent[name.lower()] == value.replace("%20", " ")
    assert attributes(receiver.spans[0])["gen_ai.operation.name"] == "chat"
