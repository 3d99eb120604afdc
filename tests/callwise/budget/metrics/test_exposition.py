"""Metrics of a budgeter as Prometheus reads them: declared, complete, and those of the ledger."""

import asyncio
import math
import re
import threading

import pytest

from callwise.budget import Limits
from callwise.budget.layers.cache import MemoryCache
from callwise.budget.metrics.exposition import exposition, samples_of
from callwise.budget.metrics.names import LABELS, METRICS, SERVICE_METRICS
from callwise.budget.metrics.run_metrics import RunMetrics
from callwise.calls.call import Outcome, Purpose, Role
from callwise.calls.errors import CallError, RateLimited, ServerFailed
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.retry import RetryPolicy
from callwise.testing.fakes import ScriptedClient

BY_NAME = {each.name: each for each in METRICS}
LOAD = LoadKnobs.model_validate(
    {"schedule": {"max_concurrency": 4}, "rate": {"requests_per_minute": 1e6}}
)


def values(metrics, name, **labels):
    """Return the sum of the samples of a name whose labels have these values."""
    found = [
        value
        for each, had, value in samples_of(metrics.snapshot(), {})
        if each == name and labels.items() <= had.items()
    ]
    return math.fsum(found) if found else None


@pytest.fixture
async def used(make_budgeter, ask_for):
    """Return metrics of a budgeter of which every kind of call was asked."""
    script = [RateLimited("slow down"), "a", "b", ServerFailed("busy"), "c"]
    budgeter = make_budgeter(
        ScriptedClient(script),
        cache=MemoryCache(),
        limits=Limits(max_calls=5, roles={Role.JUDGE: {"max_calls": 3}}),
        load=LOAD,
        retry=RetryPolicy(first_wait_seconds=0, server_failed_attempts=1, jitter=0),
    )
    metrics = budgeter.metrics()
    await budgeter.ask(ask_for("a"))
    await budgeter.ask(ask_for("a"))
    await budgeter.ask(ask_for("b", Role.JUDGE, purpose=Purpose.JUDGE))
    for prompt in ("c", "d", "e"):
        try:
            await budgeter.ask(ask_for(prompt))
        except CallError:
            continue
    yield metrics, budgeter
    await budgeter.aclose()


async def test_numbers_are_those_of_the_ledger(used):
    """Calls, tokens, USD, retries, 429s, refusals and what is left."""
    metrics, budgeter = used
    counts = budgeter.run.counts()
    for outcome in Outcome:
        found = values(metrics, "callwise_calls_total", outcome=outcome) or 0
        assert found == counts.outcomes[outcome]
    assert values(metrics, "callwise_calls_asked_total") == counts.asked == 6
    assert values(metrics, "callwise_tokens_total", kind="input") == counts.usage.input_tokens
    assert values(metrics, "callwise_usd_total") == pytest.approx(counts.usage.usd)
    assert values(metrics, "callwise_requests_total") == counts.usage.requests
    assert values(metrics, "callwise_retries_total") == 1
    assert values(metrics, "callwise_rate_limited_total") == 1
    assert values(metrics, "callwise_calls_failed_total") == 1
    assert values(metrics, "callwise_call_errors_total", error="ServerFailed") == 1
    assert values(metrics, "callwise_calls_refused_total") == 1
    assert values(metrics, "callwise_budget_calls_left") == 0
    assert values(metrics, "callwise_budget_used_ratio", limit="calls") == 1
    assert values(metrics, "callwise_budget_role_calls_left", role="judge") == 2
    assert values(metrics, "callwise_cache_hits_total", type="llm_inference") == 1
    assert values(metrics, "callwise_queue_slots", endpoint="fake") == 4
    assert values(metrics, "callwise_call_duration_seconds_count") == 6


async def test_every_sample_is_declared_with_its_labels(used):
    """No name and no label that the page of metrics does not have."""
    metrics, _ = used
    for name, labels, _value in samples_of(metrics.snapshot(), {"cpu": 0.5}):
        declared = BY_NAME.get(name) or BY_NAME[name.rpartition("_")[0]]
        assert set(labels) - {"le"} == set(declared.labels), name
    for each in (*METRICS, *SERVICE_METRICS):
        assert set(each.labels) <= set(LABELS), each.name
        assert each.name.endswith("_total") is (each.kind == "counter"), each.name


async def test_the_text_is_read_by_prometheus_client(used):
    """Its own parser finds each metric once, with its kind."""
    pytest.importorskip("prometheus_client")
    from prometheus_client.parser import text_string_to_metric_families

    metrics, _ = used
    text = exposition(metrics.registry()).decode()
    families = list(text_string_to_metric_families(text))
    names = [each.name for each in families]
    assert len(set(names)) == len(names)
    kinds = {each.name.removesuffix("_total"): each.kind for each in METRICS}
    for each in families:
        if not each.name.startswith("process_"):
            assert each.type == kinds[each.name], each.name
    buckets = re.findall(r'callwise_queue_wait_seconds_bucket{le="([^"]*)"}', text)
    assert buckets == ["0.01", "0.05", "0.1", "0.2", "0.5", "1.0", "2.0", "5.0", "+Inf"]


async def test_windows_and_anomalies_are_exported(make_budgeter, ask_for, moved_time):
    """Under the documents' names, once a window has ended."""
    budgeter = make_budgeter(cache=MemoryCache())
    metrics = RunMetrics((budgeter, budgeter._call_path), now=moved_time)
    for number in range(4):
        await budgeter.ask(ask_for(f"{number % 3}"))
    assert values(metrics, "request_deduplication_rate") is None
    moved_time.seconds = 60.0
    assert values(metrics, "request_deduplication_rate") == 0
    assert values(metrics, "cache_hit_rate") == 0.25
    assert values(metrics, "cache_hit_rate_by_type", type="llm_inference") == 0.25
    assert values(metrics, "parallel_processing_efficiency") == 1
    assert values(metrics, "callwise_calls_per_second") == pytest.approx(4 / 60)
    assert values(metrics, "callwise_failure_ratio") == 0
    assert values(metrics, "batch_processing_latency") is None
    assert values(metrics, "model_routing_accuracy") is None
    assert values(metrics, "callwise_anomalies_total", signal="calls") == 0


async def test_calls_in_flight_are_counted_by_class_and_endpoint(make_budgeter, ask_for, until):
    """While they wait for their answers, and no longer."""
    gate = asyncio.Event()

    async def answer(_call):
        await gate.wait()
        return "a"

    client = ScriptedClient(answer)
    budgeter = make_budgeter(client)
    metrics = budgeter.metrics()
    task = asyncio.create_task(budgeter.ask(ask_for("a", purpose=Purpose.JUDGE)))
    await until(lambda: client.calls)
    assert values(metrics, "callwise_calls_in_flight") == 1
    assert values(metrics, "callwise_calls_in_flight_by_class", **{"class": "high"}) == 1
    assert values(metrics, "callwise_calls_in_flight_by_endpoint", endpoint="fake") == 1
    gate.set()
    await task
    assert values(metrics, "callwise_calls_in_flight_by_class") == 0
    assert values(metrics, "callwise_calls_in_flight_by_endpoint", endpoint="fake") == 0


async def test_a_reading_from_another_thread_is_of_one_moment(make_budgeter, ask_for):
    """Under load, sums of rows, asked calls and calls in flight agree in each reading."""
    budgeter = make_budgeter()
    metrics = budgeter.metrics()
    readings = []
    is_over = threading.Event()

    def read():
        while not is_over.is_set():
            readings.append(metrics.snapshot())

    await budgeter.ask(ask_for("first"))
    thread = threading.Thread(target=read)
    thread.start()
    try:
        number = 0
        while len(readings) < 20:
            await asyncio.gather(*(budgeter.ask(ask_for(f"{number} {each}")) for each in range(20)))
            number += 1
    finally:
        is_over.set()
        await asyncio.to_thread(thread.join)
    for each in readings:
        assert each.totals.calls() + each.counts.in_flight == each.counts.asked
        assert each.totals.of("requests") == each.counts.usage.requests
    assert readings[-1].counts.asked > readings[0].counts.asked


def test_a_budgeter_on_a_private_loop_is_read_there(make_budgeter, ask_for):
    """From a thread without a loop."""
    with make_budgeter(own_loop=True) as budgeter:
        metrics = budgeter.metrics()
        asyncio.run(budgeter.ask(ask_for("a")))
        assert values(metrics, "callwise_calls_asked_total") == 1


def test_metrics_of_a_budgeter_are_made_once(make_budgeter):
    """Asking for them again counts no row twice."""
    budgeter = make_budgeter()
    assert budgeter.metrics() is budgeter.metrics()
