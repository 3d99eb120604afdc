"""Sending spans: to a receiver on loopback, to one that is down, slow or refuses."""

import threading
import time
from http.client import HTTPException
from urllib.error import HTTPError

import pytest

from callwise.calls.errors import ConfigError
from callwise.report.traces import SpanExporter, Traces
from callwise.report.traces.otlp import ENCODED_CALLS, OtlpSender, resource_of, traces_url
from tests.callwise.report.traces.conftest import (
    ask,
    attributes,
    budgeter_of,
    decoded,
    noted,
    reply,
)


async def one_turn():
    """Return a turn of one call."""
    budgeter = budgeter_of([reply()])
    turns = noted(budgeter)
    with budgeter.scope("turn", "1"):
        await budgeter.ask(ask())
    return turns[0]


def exporter(send, **options):
    """Return an exporter that waits for nothing."""
    return SpanExporter(send, **{"delay_seconds": 0.0, "waits_seconds": (0.0, 0.0), **options})


def refused(status):
    """Return the error of an answer with a status."""
    return HTTPError("http://it", status, "no", None, None)


async def test_the_turns_of_a_budgeter_reach_a_collector(receiver):
    """Each turn's spans are sent once, to the path that OTLP names, with the given headers."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-api-key=k%201, Langsmith-Project=mine",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_SERVICE_NAME": "shop",
    }
    budgeter = budgeter_of([reply(), reply()])
    async with Traces(run="a", environ=environ) as traces:
        traces.watch(budgeter)
        for name in "12":
            with budgeter.scope("turn", name):
                await budgeter.ask(ask())
    assert traces.exporter.sent_calls == 2
    assert traces.exporter.dropped_calls == 0
    path, headers, body = receiver.requests[0]
    assert path == "/v1/traces"
    assert headers["x-api-key"] == "k 1"
    assert headers["langsmith-project"] == "mine"
    assert headers["content-encoding"] == "gzip"
    assert headers["content-type"] == "application/x-protobuf"
    (of_resource,) = decoded(body).resource_spans
    assert attributes(of_resource.resource) == {"service.name": "shop"}
    names = [span.name for span in of_resource.scope_spans[0].spans]
    assert names == ["chat gpt-5-mini", "invoke_agent"] * 2


async def test_turns_are_collected_for_one_request():
    """What ends shortly after another turn travels with it."""
    bodies = []
    found = exporter(bodies.append, delay_seconds=30.0)
    for _ in range(5):
        found.put(await one_turn())
    assert found.flush()
    assert len(bodies) == 1
    assert found.sent_calls == 5
    found.close()


async def test_a_collector_that_is_down_is_one_message():
    """The run goes on, each request is tried three times, and what is lost is counted."""
    tries, shown = [], []

    def down(body):
        tries.append(body)
        raise ConnectionRefusedError("refused")

    found = exporter(down, notify=shown.append, shown="http://it:4318")
    for _ in range(3):
        found.put(await one_turn())
        assert found.flush()
    assert len(tries) == 9
    assert found.dropped_calls == 3
    assert len(shown) == 1
    assert "http://it:4318 is not reached (ConnectionRefusedError: refused)" in shown[0]
    found.close()
    found.close()
    assert shown[1:] == ["traces: the spans of 3 calls were not sent to http://it:4318"]


@pytest.mark.parametrize(("status", "tries"), [(503, 3), (429, 3), (400, 1), (401, 1)])
async def test_a_request_is_sent_again_where_that_may_help(status, tries):
    """After 429, 502, 503 and 504; another refusal is final."""
    count, shown = [], []

    def refuse(body):
        count.append(body)
        raise refused(status)

    found = exporter(refuse, notify=shown.append)
    found.put(await one_turn())
    assert found.flush()
    found.close()
    assert len(count) == tries
    assert f"status {status}" in shown[0]


async def test_a_collector_that_comes_back_gets_what_follows():
    """A failure loses its own turns alone."""
    errors = [HTTPException("odd")] * 3

    def flaky(body):
        if errors:
            raise errors.pop()

    found = exporter(flaky)
    for _ in range(2):
        found.put(await one_turn())
        assert found.flush()
    found.close()
    assert (found.dropped_calls, found.sent_calls) == (1, 1)


async def test_what_waits_is_limited_and_closing_takes_a_limited_time():
    """Turns beyond the limit are dropped and counted; a collector that hangs is left."""
    reached, release, shown = threading.Event(), threading.Event(), []

    def hang(body):
        reached.set()
        release.wait(10)

    found = exporter(hang, notify=shown.append, max_waiting_calls=2)
    turn = await one_turn()
    found.put(turn)
    assert reached.wait(5)
    for _ in range(5):
        found.put(turn)
    assert found.dropped_calls == 3
    began = time.monotonic()
    found.close(0.05)
    assert time.monotonic() - began < 3
    found.put(turn)
    assert found.dropped_calls == 6
    assert "the spans of 5 calls were not sent" in shown[0]
    release.set()


async def test_a_turn_that_cannot_be_encoded_costs_no_other(caplog):
    """It is logged and counted as dropped; the call path sees no error."""
    bodies, turn = [], await one_turn()
    found = exporter(bodies.append)
    found.put(turn._replace(epoch=float("nan")))
    found.put(turn)
    assert found.flush()
    found.close()
    assert (found.dropped_calls, found.sent_calls, len(bodies)) == (1, 1, 1)
    assert "the spans of 1 calls cannot be encoded" in caplog.text


async def test_many_turns_are_encoded_where_they_end(caplog):
    """The thread encodes what is left, and a request has all of them."""
    bodies, turn = [], await one_turn()
    found = exporter(bodies.append, delay_seconds=60.0)
    broken = turn._replace(epoch=float("nan"))
    for number in range(ENCODED_CALLS + 2):
        found.put(broken if number in {0, ENCODED_CALLS + 1} else turn)
    assert found.flush()
    found.close()
    assert (found.sent_calls, found.dropped_calls, len(bodies)) == (ENCODED_CALLS, 2, 1)
    assert bodies[0].count(b"callwise.asked") == ENCODED_CALLS
    assert [each.threadName for each in caplog.records] == ["MainThread", "spans"]


def test_a_redirect_is_not_followed(receiver):
    """The headers have a key, which goes to the address that was named and to no other."""
    receiver.status = 302
    sender = OtlpSender(f"{receiver.url}/v1/traces", {})
    with pytest.raises(HTTPError):
        sender.send(b"")
    assert len(receiver.requests) == 1


def test_a_key_in_the_path_is_not_shown():
    """Messages name the server alone."""
    assert OtlpSender("https://it.example/secret/v1/traces", {}).shown == "https://it.example"


@pytest.mark.parametrize(
    ("given", "environ", "url"),
    [
        (None, {}, "http://localhost:4318/v1/traces"),
        ("http://c:1/", {}, "http://c:1/v1/traces"),
        (
            "http://c:1/v1/traces",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://d"},
            "http://c:1/v1/traces",
        ),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://d/otel"}, "http://d/otel/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://d/x"}, "http://d/x"),
    ],
)
def test_the_address_is_found_as_the_sdk_finds_it(given, environ, url):
    """An argument first, then the variable of traces, then that of all signals."""
    assert traces_url(given, environ) == url


@pytest.mark.parametrize(
    ("given", "environ", "named"),
    [
        ("localhost:4318", {}, "localhost:4318"),
        ("http://it:port", {}, "it:port"),
        ("ftp://it", {}, "ftp://it"),
        (None, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc"),
        (None, {"OTEL_EXPORTER_OTLP_HEADERS": "x-api-key"}, "OTEL_EXPORTER_OTLP_HEADERS"),
        (None, {"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, "OTEL_EXPORTER_OTLP_TIMEOUT"),
        (None, {"OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/such"}, "/no/such"),
    ],
)
def test_what_cannot_be_used_is_an_error_before_the_first_turn(given, environ, named):
    """It names the variable or the value."""
    with pytest.raises(ConfigError, match=named):
        Traces(given, environ=environ)


def test_the_resource_is_named_by_the_variables():
    """`OTEL_SERVICE_NAME` goes before `OTEL_RESOURCE_ATTRIBUTES`."""
    named = {"OTEL_RESOURCE_ATTRIBUTES": "service.name=a,deployment.environment.name=x%20y,odd"}
    expected = (("deployment.environment.name", "x y"), ("service.name", "a"))
    assert resource_of(named) == expected
    assert dict(resource_of({**named, "OTEL_SERVICE_NAME": "b"}))["service.name"] == "b"
