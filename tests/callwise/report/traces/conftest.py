"""A receiver of OTLP on loopback, and turns on a budgeter whose calls are traced."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from callwise.budget import Budgeter
from callwise.calls import Call, Endpoint, Message, Purpose, Reply, ReportedUsage, Role
from callwise.report.traces import TurnTraces
from callwise.testing.fakes import ScriptedClient


class Receiver:
    """Keeps the requests that a server on loopback was sent.

    Attributes:
        status: what it answers with.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200
        self.release = threading.Event()
        self.release.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.requests.append((self.path, headers, body))
                receiver.release.wait(10)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            do_GET = do_PATCH = do_POST  # noqa: N815 - the names of the base class

            def log_message(self, *_: Any) -> None:
                """Write nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def spans(self) -> list[Any]:
        """The spans of all requests, as `opentelemetry-proto` reads them."""
        return [
            span
            for _, _, body in self.requests
            for of_resource in decoded(body).resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Start a server, and stop it."""
    found = Receiver()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,))
    thread.start()
    yield found
    found.release.set()
    found.server.shutdown()
    found.server.server_close()
    thread.join()


def decoded(body: bytes) -> Any:
    """Return a request as `opentelemetry-proto` reads it."""
    service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    whole = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
    return service.ExportTraceServiceRequest.FromString(whole)


def attributes(span: Any) -> dict[str, Any]:
    """Return a span's attributes, as `opentelemetry-proto` read them."""
    found = {}
    for each in span.attributes:
        kind = each.value.WhichOneof("value")
        value = getattr(each.value, kind)
        is_list = kind == "array_value"
        found[each.key] = [item.string_value for item in value.values] if is_list else value
    return found


def reply(text: str = "Fine.", tokens: int = 1000) -> Reply:
    """Return an answer that has used tokens."""
    return Reply(text, finish_reason="stop", usage=ReportedUsage(tokens, 20, 5))


def budgeter_of(answers: Any, client: Any = None, **options: Any) -> Budgeter:
    """Return a budgeter that is answered from a list, a function, or by a client."""
    client = client or ScriptedClient(answers)
    endpoint = Endpoint("api.openai.com", "gpt-5-mini", client)
    return Budgeter(dict.fromkeys(Role, endpoint), **options)


def ask(text: str = "How are you?", **fields: Any) -> Call:
    """Return a call."""
    return Call(Role.MAIN, Purpose.REASON, (Message("user", text),), **fields)


def noted(budgeter: Budgeter, **options: Any) -> list[Any]:
    """Return a list that the turns of a budgeter are put into as they end."""
    turns: list[Any] = []
    TurnTraces(turns.append, **{"run": "test", "wall": lambda: 1000.0, **options}).watch(budgeter)
    return turns
