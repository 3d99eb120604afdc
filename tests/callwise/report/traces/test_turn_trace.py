"""A turn as spans: what is in them, their ids, and their times."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import orjson
import pytest

from callwise.budget import LedgerError
from callwise.budget.clock import ManualClock, VirtualClock
from callwise.budget.layers.cache import MemoryCache
from callwise.calls import Message, Reply, ReportedUsage, Role
from callwise.calls.delivery import Delivery
from callwise.calls.errors import AuthFailed, CallError, RateLimited
from callwise.calls.retry import RetryPolicy
from callwise.report.traces.span_bytes import _value, request_of, turn_bytes
from callwise.report.traces.turn_trace import provider_of, spans_of
from callwise.testing.fakes import ScriptedClient
from tests.callwise.budget.conftest import MemoryRecorder
from tests.callwise.report.traces.conftest import (
    ask,
    attributes,
    budgeter_of,
    decoded,
    noted,
    reply,
)


async def turn(budgeter, *calls, name="1"):
    """Ask each call in a node of one turn; its errors are part of the turn."""
    conversation = budgeter.run.open("conv", "kitchen", after=(), tenant="lin")
    with conversation.open("turn", name):
        for place, call in enumerate(calls):
            with budgeter.scope("node", f"node{place}"), suppress(CallError):  # it is in the row
                await budgeter.ask(call)


def values(span):
    """Return all attributes of a span."""
    return dict((*span.common, *span.kind.labels, *span.figures))


async def test_a_turn_is_one_trace_of_nodes_and_calls():
    """The turn is the root; nodes, searches and calls are below where they were asked."""
    budgeter = budgeter_of([reply(), reply(), reply()])
    turns = noted(budgeter)
    with budgeter.run.open("conv", "a/b", after=(), tenant="lin").open("turn", "3"):
        with budgeter.scope("node", "think/fast"):
            await budgeter.ask(ask())
            with budgeter.scope("search"):
                await budgeter.ask(ask("Well?"))
        await budgeter.ask(ask("And?"))
    (note,) = turns
    spans = {span.span_id: span for span in spans_of(note)}
    (root,) = [span for span in spans.values() if not span.parent_id]
    assert root.kind.name == "invoke_agent lin"
    assert values(root)["gen_ai.conversation.id"] == "a/b"

    def above(span):
        return (
            []
            if not span.parent_id
            else [spans[span.parent_id].kind.name, *above(spans[span.parent_id])]
        )

    node = "node think/fast"
    assert [above(span) for span in spans.values() if span.kind.is_call] == [
        [node, root.kind.name],
        ["search", node, root.kind.name],
        [root.kind.name],
    ]
    assert len(spans) == 6


async def test_a_call_has_the_figures_of_its_row():
    """Names are those of the conventions, numbers those of the ledger."""
    conventions = pytest.importorskip(
        "opentelemetry.semconv._incubating.attributes.gen_ai_attributes"
    )
    budgeter = budgeter_of([reply(tokens=123)])
    turns = noted(budgeter)
    await turn(budgeter, ask())
    call = next(spans_of(turns[0]))
    found = values(call)
    assert call.kind.name == "chat gpt-5-mini"
    assert found["gen_ai.provider.name"] == "openai"
    assert found["gen_ai.request.model"] == found["gen_ai.response.model"] == "gpt-5-mini"
    assert found["gen_ai.response.finish_reasons"] == ("stop",)
    (row,) = budgeter.ledger.rows
    assert row.input_tokens == found["gen_ai.usage.input_tokens"] == 123
    assert row.output_tokens == found["gen_ai.usage.output_tokens"]
    assert row.cached_tokens == found["gen_ai.usage.cache_read.input_tokens"]
    assert found["callwise.outcome"] == "served"
    known = {value for name, value in vars(conventions).items() if name.startswith("GEN_AI_")}
    used = {name for span in spans_of(turns[0]) for name in values(span)}
    assert {name for name in used if name.startswith("gen_ai.")} <= known
    assert "callwise.usd" not in found  # not known, as in the row


async def test_outcomes_are_labelled_and_only_what_was_bought_has_tokens():
    """Cached and refused calls have no tokens; a failure has its type and no text."""
    secret = "the user's own words"
    budgeter = budgeter_of(
        [reply(), AuthFailed(f"no: {secret}")],
        cache=MemoryCache(10),
        limits={"max_calls": 3},
        retry=RetryPolicy(total_attempts=1),
    )
    turns = noted(budgeter)
    equal = ask(share=True)
    await turn(budgeter, equal, equal, ask("Else?"), ask("Too much"))
    calls = [span for span in spans_of(turns[0]) if span.kind.is_call]
    found = [values(each) for each in calls]
    assert [each["callwise.outcome"] for each in found] == ["served", "cached", "failed", "refused"]
    assert [each.kind.error for each in calls] == ["", "", "AuthFailed", "CallRefused"]
    assert ["gen_ai.usage.input_tokens" in each for each in found] == [True, False, False, False]
    assert ["gen_ai.response.model" in each for each in found] == [True, True, False, False]
    assert secret not in repr(calls)


async def test_texts_are_sent_only_when_asked_for_and_without_keys():
    """With content a call has its prompt and its answer in the conventions' form."""
    key = "sk-proj-" + "a1B2c3D4" * 5
    asked = ask(f"My key is {key}")
    without, has_texts = budgeter_of([reply("Fine.")]), budgeter_of([reply("Fine.")])
    turns = noted(without)
    await turn(without, asked)
    assert b"My key" not in request_of(map(turn_bytes, turns))
    assert b"Fine." not in request_of(map(turn_bytes, turns))
    turns = noted(has_texts, has_texts=True)
    await turn(has_texts, asked)
    assert key.encode() not in request_of(map(turn_bytes, turns))
    found = values(next(spans_of(turns[0])))
    (message,) = orjson.loads(found["gen_ai.input.messages"])
    assert message["role"] == "user"
    assert message["parts"][0]["content"].startswith("My key is ")
    (answer,) = orjson.loads(found["gen_ai.output.messages"])
    assert answer["parts"] == [{"type": "text", "content": "Fine."}]
    assert answer["finish_reason"] == "stop"


async def test_a_tool_call_and_its_result_are_parts_of_messages():
    """Calls of tools have their name and arguments, results the id of their call."""
    function = {"name": "clock", "arguments": "{}"}
    call = {"id": "c1", "type": "function", "function": function}
    messages = (
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", "noon", tool_call_id="c1"),
    )
    budgeter = budgeter_of([reply()])
    turns = noted(budgeter, has_texts=True)
    await turn(budgeter, replace(ask(), messages=messages))
    asked = orjson.loads(values(next(spans_of(turns[0])))["gen_ai.input.messages"])
    assert asked[0]["parts"] == [
        {"type": "tool_call", "id": "c1", "name": "clock", "arguments": "{}"}
    ]
    assert asked[1]["parts"] == [{"type": "tool_call_response", "id": "c1", "response": "noon"}]


async def test_retries_and_waits_are_events_of_their_call():
    """A call that was tried again says how often, and how long the waits were."""
    clock = ManualClock()
    budgeter = budgeter_of(
        [RateLimited("slow"), RateLimited("slow"), reply()],
        clock=clock,
        retry=RetryPolicy(),
    )
    turns = noted(budgeter)
    asked = asyncio.ensure_future(turn(budgeter, ask()))
    while not asked.done():
        await asyncio.sleep(0)
        if clock.sleeper_count:
            clock.advance(60)
    call = next(spans_of(turns[0]))
    ((name, at, labels),) = call.events
    assert (name, at) == ("callwise.retried", call.end_nanoseconds)
    assert dict(labels)["callwise.attempts"] == 3
    (row,) = budgeter.ledger.rows
    assert dict(labels)["callwise.retry_seconds"] == row.retry_seconds > 0
    seconds = (call.end_nanoseconds - call.start_nanoseconds) / 1e9
    assert seconds == pytest.approx(row.path_seconds)
    assert values(call)["callwise.time"] == "measured"


async def test_a_replay_has_the_same_trace_but_for_its_times():
    """Ids and parents follow from the run and the turn, at any order of equal calls."""
    recorder = MemoryRecorder()
    live = budgeter_of([reply(tokens=n) for n in (1, 2, 3)], recorder=recorder)
    turns = noted(live)
    calls = ask("a"), ask("b"), ask("b")
    await turn(live, *calls)
    again = budgeter_of([], recorder=recorder.played())
    replayed = noted(again)
    await turn(again, *calls)
    first, second = list(spans_of(turns[0])), list(spans_of(replayed[0]))
    assert turns[0].trace_id == replayed[0].trace_id
    for one, other in zip(first, second, strict=True):
        assert (one.span_id, one.parent_id, one.kind.name) == (
            other.span_id,
            other.parent_id,
            other.kind.name,
        )
    assert len({each.span_id for each in first}) == len(first)
    assert {values(each)["callwise.time"] for each in second} == {"recorded"}
    tokens = [values(each).get("gen_ai.usage.input_tokens") for each in second]
    assert tokens[:3] == [1, 2, 3]
    assert values(second[0])["callwise.outcome"] == "replayed"


async def test_other_runs_turns_and_settings_have_other_ids():
    """A trace is of one turn of one run."""
    ids = set()
    for run, name in (("x", "1"), ("x", "2"), ("y", "1")):
        budgeter = budgeter_of([reply()])
        turns = noted(budgeter, run=run)
        await turn(budgeter, ask(), name=name)
        ids |= {turns[0].trace_id, *(span.span_id for span in spans_of(turns[0]))}
    assert len(ids) == 3 * 4


async def test_virtual_time_is_that_of_the_path_and_labelled():
    """On a virtual clock calls follow each other as on the critical path."""
    client = ScriptedClient(
        [
            Reply("a", latency_seconds=1.5, usage=ReportedUsage(1, 1, 0)),
            Reply("b", latency_seconds=0.25, usage=ReportedUsage(1, 1, 0)),
        ],
        is_simulated=True,
    )
    budgeter = budgeter_of([], clock=VirtualClock(), client=client)
    turns = noted(budgeter)
    await turn(budgeter, ask("a"), ask("b"))
    spans = list(spans_of(turns[0]))
    start = 1000 * 10**9
    times = [(span.start_nanoseconds - start, span.end_nanoseconds - start) for span in spans]
    assert times[:2] == [(0, 1_500_000_000), (1_500_000_000, 1_750_000_000)]
    assert times[-1] == (0, 1_750_000_000)
    assert values(spans[0])["callwise.time"] == "virtual"
    assert values(spans[0])["gen_ai.provider.name"] == "callwise.simulated"


async def test_a_call_outside_of_turns_is_a_trace_of_itself():
    """It has no parent; one that ends after its turn keeps the turn's trace."""
    budgeter = budgeter_of([reply(), reply()])
    turns = noted(budgeter)
    await budgeter.ask(ask())
    await budgeter.ask(ask())
    assert len({note.trace_id for note in turns}) == 2
    (span,) = spans_of(turns[0])
    assert not span.parent_id


async def test_a_late_call_joins_the_trace_of_its_turn():
    """A call that ends after its turn has that turn's trace id and parent."""
    gate = asyncio.Event()

    async def late(call):
        await gate.wait()
        return reply()

    budgeter = budgeter_of(late)
    turns = noted(budgeter)
    with budgeter.scope("turn", "1"):
        task = asyncio.ensure_future(budgeter.ask(ask()))
        await asyncio.sleep(0)
    gate.set()
    await task
    (note,) = turns
    spans = list(spans_of(note))
    assert [span.kind.name for span in spans] == ["chat gpt-5-mini", "invoke_agent"]
    assert spans[0].parent_id == spans[1].span_id


async def test_a_delivery_that_is_not_usual_is_in_the_span():
    """Batch, endpoint, discount and so on have their names from the record."""
    budgeter = budgeter_of([reply()])
    turns = noted(budgeter)
    await turn(budgeter, ask())
    note = turns[0]
    delivery = Delivery(endpoint="api.deepseek.com", model="chat", batch="b1", batch_size=3)
    call = note.calls[0]._replace(row=note.calls[0].row._replace(delivery=delivery))
    found = values(next(spans_of(note._replace(calls=[call]))))
    assert found["callwise.delivery.batch_size"] == 3
    assert found["gen_ai.provider.name"] == "deepseek"
    assert found["gen_ai.response.model"] == "chat"
    assert found["callwise.endpoint"] == "api.openai.com"


async def test_the_bytes_are_what_opentelemetry_reads():
    """Every kind of attribute, event and status comes out of the wire format as it went in."""
    budgeter = budgeter_of(
        [reply(tokens=70_000), AuthFailed("no")], retry=RetryPolicy(total_attempts=1)
    )
    turns = noted(budgeter, has_texts=True)
    long = "長い \U0001f600 " * 5000 + "\ud800"
    await turn(budgeter, ask(long), ask("b"))
    written = list(spans_of(turns[0]))
    request = decoded(request_of(map(turn_bytes, turns), (("service.name", "it"),)))
    (of_resource,) = request.resource_spans
    assert attributes(of_resource.resource) == {"service.name": "it"}
    read = of_resource.scope_spans[0].spans
    for span, one in zip(written, read, strict=True):
        assert (one.name, one.span_id, one.parent_span_id) == (
            span.kind.name,
            span.span_id,
            span.parent_id,
        )
        assert one.trace_id == turns[0].trace_id
        assert one.start_time_unix_nano == span.start_nanoseconds
        assert one.end_time_unix_nano == span.end_nanoseconds
        assert one.kind == (3 if span.kind.is_call else 1)
        assert one.status.code == (2 if span.kind.error else 0)
        wanted = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values(span).items()
        }
        assert attributes(one) == {
            name: value.encode(errors="replace").decode() if isinstance(value, str) else value
            for name, value in wanted.items()
        }
    assert "no" in read[1].status.message


def test_negative_and_large_numbers_are_written():
    """Whole numbers below 0 and above 64 bits do no harm."""
    common = pytest.importorskip("opentelemetry.proto.common.v1.common_pb2")
    assert common.AnyValue.FromString(_value(-5)).int_value == -5
    assert common.AnyValue.FromString(_value(10**30)).int_value == 2**63 - 1
    assert common.AnyValue.FromString(_value(False)).WhichOneof("value") == "bool_value"
    assert common.AnyValue.FromString(_value(0.5)).double_value == 0.5


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        ("api.anthropic.com", "anthropic"),
        ("mine.openai.azure.com", "azure.ai.openai"),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "aws.bedrock"),
        ("localhost-8000", "localhost-8000"),
    ],
)
def test_a_provider_has_the_name_of_the_conventions(endpoint, name):
    """An endpoint without one has its own."""
    assert provider_of(endpoint, is_simulated=False) == name


async def test_a_watcher_that_fails_loses_no_row():
    """Its failure is reported by the ledger's check, as a sink's is."""
    budgeter = budgeter_of([reply()])

    def broken(*_):
        raise ValueError("broken")

    budgeter.ledger.watch(broken)
    await budgeter.ask(ask())
    assert len(budgeter.ledger.rows) == 1
    with pytest.raises(LedgerError, match="broken"):
        budgeter.ledger.check()


async def test_an_embedding_is_named_so():
    """Its operation is `embeddings`, and it has no output tokens."""
    budgeter = budgeter_of([reply()])
    turns = noted(budgeter)
    await turn(budgeter, replace(ask(), role=Role.EMBED))
    call = next(spans_of(turns[0]))
    assert call.kind.name == "embeddings gpt-5-mini"
    assert "gen_ai.usage.output_tokens" not in values(call)


async def test_two_receivers_of_one_budgeter_are_given_each_turn():
    """Neither keeps what the other is given."""
    budgeter = budgeter_of([reply(), reply()])
    first, second = noted(budgeter), noted(budgeter)
    await turn(budgeter, ask())
    await turn(budgeter, ask(), name="2")
    assert [len(each.calls) for each in first] == [1, 1]
    assert [each.trace_id for each in first] == [each.trace_id for each in second]
