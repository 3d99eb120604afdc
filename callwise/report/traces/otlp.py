"""Spans to a collector by OTLP over HTTP: sent in a separate thread.

**Where spans are encoded.** Many turns one after the other: encoding each at its end took a fifth
to a third more processor time, since neither code nor data are in the processor's caches. And where
the turns end: a thread that encodes while the loop works has the interpreter in turns with it, on
another core, and took 42 to 55 us per call in place of 14. What is left when a request is due is
encoded by the thread.

The variables `OTEL_EXPORTER_OTLP_...` mean what they mean for the OpenTelemetry SDK.

Invariant: whatever the collector does, a turn goes on. What waits is limited, what does not fit
is dropped and counted, a failure is one message, and closing takes a limited time.
"""

import gzip
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from ssl import SSLContext, create_default_context
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from callwise.calls.errors import ConfigError
from callwise.report.traces.span_bytes import request_of, turn_bytes
from callwise.report.traces.turn_trace import Labels, TurnNote
from callwise.safe_text import printable
from callwise.text_layout import counted

__all__ = ["OtlpSender", "SpanExporter", "resource_of", "traces_url"]

_LOGGER = logging.getLogger(__name__)

DEFAULT_URL = "http://localhost:4318/v1/traces"
"""Address of a collector on this machine."""

DEFAULT_TIMEOUT_SECONDS = 10.0

MAX_WAITING_CALLS = 20_000
"""Most calls whose spans wait to be sent; some 30 MB without texts."""

MAX_CALLS_PER_REQUEST = 1_000

ENCODED_CALLS = 128
"""Calls whose spans are encoded together where their turns end, in some 2 ms."""

DELAY_SECONDS = 0.5

RETRIED_STATUSES = frozenset({429, 502, 503, 504})
"""Answers after which OTLP has a request sent again."""

WAITS_SECONDS = (1.0, 4.0)
"""Waits before the further attempts at a request."""


def traces_url(given: str | None, environ: Mapping[str, str]) -> str:
    """Return the URL that spans are sent to.

    Args:
        given: a collector's address, to which `/v1/traces` is added unless it ends so; None takes
            `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, `OTEL_EXPORTER_OTLP_ENDPOINT`, or port 4318 of
            this machine.

    Raises:
        ConfigError: when it is no URL of HTTP, or the variables ask for another protocol.
    """
    base = given or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    whole = None if given else environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if whole is None and base:
        base = base.rstrip("/")
        whole = base if given and base.endswith("/v1/traces") else f"{base}/v1/traces"
    url = whole or DEFAULT_URL
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
        parts.port  # noqa: B018 - raises for a port that is none
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ConfigError(
            f"spans are sent to a URL such as http://localhost:4318, got {url!r:.120}. Correct "
            "traces.otlp_endpoint or OTEL_EXPORTER_OTLP_ENDPOINT"
        )
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
    )
    if protocol != "http/protobuf":
        raise ConfigError(
            f"spans are sent by http/protobuf, and OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r:.40}."
            " Unset it, and name the collector's HTTP port, mostly 4318"
        )
    return url


class _NoRedirects(HTTPRedirectHandler):
    """Follows no redirect: the headers have a key."""

    def redirect_request(self, *_: Any) -> None:
        """Return none."""


class OtlpSender:
    """Sends encoded spans to one URL.

    Args:
        url: see `traces_url`.
        environ: has headers, timeout, compression and certificate as `OTEL_EXPORTER_OTLP_HEADERS`,
            `..._TIMEOUT` (seconds), `..._COMPRESSION` and `..._CERTIFICATE`, each also as
            `..._TRACES_...`.

    Raises:
        ConfigError: when one of them cannot be used.
    """

    def __init__(self, url: str, environ: Mapping[str, str]) -> None:
        self.url = url
        self._headers = {
            "Content-Type": "application/x-protobuf",
            "User-Agent": "callwise",
            **_headers(_variable(environ, "HEADERS")),
        }
        try:
            self.timeout_seconds = float(_variable(environ, "TIMEOUT") or DEFAULT_TIMEOUT_SECONDS)
        except ValueError:
            self.timeout_seconds = 0.0
        if not 0 < self.timeout_seconds <= 600:
            raise ConfigError("OTEL_EXPORTER_OTLP_TIMEOUT is a number of seconds up to 600")
        self._is_packed = _variable(environ, "COMPRESSION") == "gzip"
        if self._is_packed:
            self._headers["Content-Encoding"] = "gzip"
        certificate = _variable(environ, "CERTIFICATE")
        context: SSLContext | None = None
        if certificate:
            try:
                context = create_default_context(cafile=certificate)
            except OSError as error:
                raise ConfigError(
                    f"OTEL_EXPORTER_OTLP_CERTIFICATE {certificate!r:.120} cannot be read: {error}"
                ) from error
        self._opener = build_opener(_NoRedirects, HTTPSHandler(context=context))

    @property
    def shown(self) -> str:
        """Return the server, for messages; no path, which may have a key in it."""
        parts = urlsplit(self.url)
        return printable(f"{parts.scheme}://{parts.hostname}" + f":{parts.port}" * bool(parts.port))

    def send(self, body: bytes) -> None:
        """Send one request.

        Raises:
            OSError: when it is not reached, or does not answer in time.
            HTTPException: when it answers something else than HTTP.
            HTTPError: when it refuses; a kind of OSError.
        """
        data = gzip.compress(body, 1) if self._is_packed else body
        request = Request(self.url, data, self._headers, method="POST")  # noqa: S310 - checked
        with self._opener.open(request, timeout=self.timeout_seconds) as answer:
            answer.read(65_536)


def _variable(environ: Mapping[str, str], name: str) -> str:
    own = environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}")
    return own or environ.get(f"OTEL_EXPORTER_OTLP_{name}", "")


def _headers(text: str) -> dict[str, str]:
    """Return `name=value,name=value`, whose values are URL-encoded."""
    found: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, is_pair, value = part.partition("=")
        if not is_pair or not name.strip() or not value.isprintable() or not name.isprintable():
            raise ConfigError(
                "OTEL_EXPORTER_OTLP_HEADERS is name=value,name=value; one of its parts is not"
            )
        found[name.strip()] = unquote(value.strip())
    return found


def resource_of(environ: Mapping[str, str]) -> Labels:
    """Return the attributes of whatever sends: `service.name`, and what the variables name."""
    named = environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    pairs = (part.partition("=") for part in named)
    given = {name.strip(): unquote(value.strip()) for name, is_pair, value in pairs if is_pair}
    given["service.name"] = (
        environ.get("OTEL_SERVICE_NAME") or given.get("service.name") or "callwise"
    )
    return tuple(sorted(given.items()))


class _Waiting:
    """A turn that waits to be sent: its notes, or its spans once they are encoded."""

    __slots__ = ("_note", "_spans", "calls")

    def __init__(self, note: TurnNote, calls: int) -> None:
        self._note: TurnNote | None = note
        self._spans = b""
        self.calls = calls

    def encode(self) -> bytes:
        """Return the spans; none for a turn that is not as it should be, which is logged."""
        note = self._note
        if note is not None:
            try:
                self._spans = turn_bytes(note)
            except Exception:
                _LOGGER.exception("the spans of %d calls cannot be encoded", self.calls)
            self._note = None
        return self._spans


class SpanExporter:
    """Encodes turns, and sends them in a thread that starts with the first of them.

    Args:
        send: sends one encoded request; raises OSError or HTTPException.
        shown: the collector's name in messages.
        resource: see `resource_of`.
        notify: called in the thread with what a person should know.
        delay_seconds: longest time for which turns are collected for one request.
        waits_seconds: waits before a request is sent again.
        max_waiting_calls: most calls that wait to be sent.
    """

    def __init__(
        self,
        send: Callable[[bytes], None],
        *,
        shown: str = "the collector",
        resource: Labels = (),
        notify: Callable[[str], None] | None = None,
        delay_seconds: float = DELAY_SECONDS,
        waits_seconds: Sequence[float] = WAITS_SECONDS,
        max_waiting_calls: int = MAX_WAITING_CALLS,
    ) -> None:
        self._send = send
        self._shown = shown
        self._resource = resource
        self._notify = notify
        self._delay_seconds = delay_seconds
        self._waits_seconds = tuple(waits_seconds)
        self._max_waiting_calls = max_waiting_calls
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._not_encoded: list[_Waiting] = []
        self._waiting_calls = self._calls_not_encoded = 0
        self._is_sending = self._is_hurried = self._is_ending = self._is_closed = False
        self._thread: threading.Thread | None = None
        self._has_failed = False
        self._end = threading.Event()
        self.sent_calls = self.dropped_calls = 0

    def put(self, turn: TurnNote) -> None:
        """Have a turn sent, or drop it where too much waits. Waits for nothing."""
        calls = len(turn.calls)
        with self._changed:
            if self._is_ending or self._waiting_calls + calls > self._max_waiting_calls:
                self.dropped_calls += calls
                return
            waiting = _Waiting(turn, calls)
            self._waiting.append(waiting)
            self._not_encoded.append(waiting)
            self._waiting_calls += calls
            self._calls_not_encoded += calls
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
                self._thread.start()
            if len(self._waiting) == 1 or self._waiting_calls >= MAX_CALLS_PER_REQUEST:
                # No turn between these wakes the thread, which would take the lock from the loop.
                self._changed.notify_all()
            if self._calls_not_encoded < ENCODED_CALLS:
                return
            together = self._take_not_encoded()
        for each in together:
            each.encode()

    def _take_not_encoded(self) -> "list[_Waiting]":
        found, self._not_encoded = self._not_encoded, []
        self._calls_not_encoded = 0
        return found

    def flush(self, seconds: float = 5.0) -> bool:
        """Wait until all is sent or dropped; return False where that takes longer."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()
            return self._changed.wait_for(
                lambda: not (self._waiting or self._is_sending), timeout=seconds
            )

    def close(self, seconds: float = 5.0) -> None:
        """Send what waits, for so long at most; the rest is dropped. Safe to call twice."""
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
        self._end.set()  # no further attempt waits
        if self._thread is not None:
            self._thread.join(seconds)
        with self._changed:
            left = sum(turn.calls for turn in self._waiting)
            self._waiting.clear()
            self._waiting_calls = 0
            self.dropped_calls += left
            is_first, self._is_closed = not self._is_closed, True
        if self.dropped_calls and is_first:
            missing = counted(self.dropped_calls, "call")
            self._show(f"traces: the spans of {missing} were not sent to {self._shown}")

    def _show(self, text: str) -> None:
        if self._notify is not None:
            self._notify(text)

    def _run(self) -> None:
        while turns := self._next_turns():
            encoded: list[bytes] = []
            calls = 0
            for turn in turns:
                spans = turn.encode()
                if spans:
                    encoded.append(spans)
                    calls += turn.calls
                else:
                    self.dropped_calls += turn.calls
            if encoded:
                self._send_all(request_of(encoded, self._resource), calls)

    def _next_turns(self) -> "list[_Waiting]":
        """Return the turns of the next request, once there are some; none at the end."""
        turns: list[_Waiting] = []
        with self._changed:
            self._is_sending = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._is_ending)
            self._changed.wait_for(self._is_due, timeout=self._delay_seconds)
            calls = 0
            while self._waiting and calls < MAX_CALLS_PER_REQUEST:
                turns.append(self._waiting.popleft())
                calls += turns[-1].calls
            self._waiting_calls -= calls
            self._take_not_encoded()  # this thread encodes them
            self._is_sending = bool(turns)
            self._is_hurried = bool(self._waiting) and self._is_hurried
        return turns

    def _is_due(self) -> bool:
        is_full = self._waiting_calls >= MAX_CALLS_PER_REQUEST
        return self._is_ending or self._is_hurried or is_full

    def _send_all(self, body: bytes, calls: int) -> None:
        """Send a request, again where that may help."""
        for wait_seconds in (*self._waits_seconds, None):
            try:
                self._send(body)
            except (OSError, HTTPException) as error:
                is_refused = isinstance(error, HTTPError) and error.code not in RETRIED_STATUSES
                if wait_seconds is None or is_refused or self._end.wait(wait_seconds):
                    self._failed(error, calls)
                    return
            else:
                self.sent_calls += calls
                return

    def _failed(self, error: Exception, calls: int) -> None:
        """Count what is lost, and show why, once."""
        self.dropped_calls += calls
        if self._has_failed:
            return
        self._has_failed = True
        if isinstance(error, HTTPError):
            why = f"answered with status {error.code}"
        else:
            reason = error.reason if isinstance(error, URLError) else error
            why = f"is not reached ({printable(f'{type(reason).__name__}: {reason}'[:200])})"
        self._show(
            f"traces: {self._shown} {why}. The run goes on; spans that it does not take are "
            "dropped. Start the collector, or set traces.enabled=false"
        )
