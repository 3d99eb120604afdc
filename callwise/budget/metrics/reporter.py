"""Metrics of a run while it goes on: served at a port, and written to files.

Everything here is for watching: a port that is taken or a disk that is full is stated once, as a
sentence, and the run goes on. A thread writes the files; it reads the budgeter on its owner loop,
so numbers are of one moment, and a loop that is busy only makes a file a little older.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from callwise.budget.metrics.metrics_knobs import MetricsKnobs
from callwise.budget.metrics.run_metrics import RunMetrics
from callwise.budget.metrics.status import STATUS_FILE, status_of
from callwise.calls.errors import ConfigError
from callwise.optional_library import loaded

__all__ = ["LOOPBACK", "Reporter"]

LOOPBACK = "127.0.0.1"
"""Address that metrics are served at."""

JOIN_SECONDS = 0.2
"""Longest wait for the thread at the end: it may wait for the loop that this would block."""

_THREAD = "callwise-metrics"

STATUS_SECONDS = 1.0
"""Time between two writings of the status."""

_LOGGER = logging.getLogger(__name__)


class Reporter:
    """Serves and writes the metrics of one run, from `start` to `close`.

    Args:
        folder: where `status.json` is written.
        notify: called with each sentence for the user: the address, and what does not work.
        wall: returns seconds since 1970.

    Raises:
        ConfigError: when a port or a text file is asked for and prometheus_client is not
            installed, or the file's name has another ending.
    """

    def __init__(
        self,
        metrics: RunMetrics,
        knobs: MetricsKnobs,
        *,
        folder: Path,
        notify: Callable[[str], None] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._metrics, self._knobs, self._wall = metrics, knobs, wall
        self._notify = notify or _LOGGER.warning
        self._status = folder / STATUS_FILE if knobs.status else None
        self._textfile = None if knobs.textfile is None else Path(knobs.textfile)
        if self._textfile is not None and self._textfile.suffix != ".prom":
            raise ConfigError(
                f"metrics.textfile={self._textfile} is read by no collector: its name has to end "
                "with .prom"
            )
        metrics.set_interval(knobs.interval_seconds)
        self._registry: Any = None
        if knobs.port is not None or self._textfile is not None:
            self._registry = metrics.registry()
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self._is_over = threading.Event()
        self._is_started = False
        self._stated: set[str] = set()
        self.url: str | None = None
        """Address of the metrics; None where none are served."""

    def start(self) -> None:
        """Begin to serve and to write. Safe to call twice."""
        if self._is_started:
            return
        self._is_started = True
        if self._knobs.port is not None:
            self._serve(self._knobs.port)
        if self._status is not None or self._textfile is not None:
            self._thread = threading.Thread(target=self._run, name=_THREAD, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write the last state and stop. Safe to call twice.

        A thread that waits for the loop of the caller is not waited for: it writes nothing more.
        """
        self._is_over.set()
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS)
            self._thread = None
            self.write_status(has_ended=True)
            self.write_textfile()
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            thread.join()
            server.server_close()
            self._server = None

    def write_status(self, *, has_ended: bool = False) -> None:
        """Write the status now, where it is asked for."""
        if self._status is None:
            return
        try:
            snapshot = self._metrics.snapshot()
            if self._is_left_behind():
                return
            status = status_of(snapshot, at=self._wall(), pid=os.getpid(), has_ended=has_ended)
            _replace(self._status, orjson.dumps(status))
        except (OSError, TimeoutError) as error:
            self._state_once("the status is not written", error)

    def write_textfile(self) -> None:
        """Write the text file now, where it is asked for."""
        if self._textfile is None:
            return
        try:
            text = loaded("prometheus_client").generate_latest(self._registry)
            if self._is_left_behind():
                return
            self._textfile.parent.mkdir(parents=True, exist_ok=True)
            _replace(self._textfile, text, mode=0o644)
        except (OSError, TimeoutError) as error:
            self._state_once("metrics.textfile is not written", error)

    def _serve(self, port: int) -> None:
        try:
            self._server = loaded("prometheus_client").start_http_server(
                port, addr=LOOPBACK, registry=self._registry
            )
        except OSError as error:
            reason = error.strerror or str(error)
            self._notify(
                f"metrics are not served at {LOOPBACK}:{port}: {reason}. The run goes on; choose "
                "another metrics.port, or 0 for a free one"
            )
            return
        self.url = f"http://{LOOPBACK}:{self._server[0].server_port}/metrics"
        self._notify(f"metrics: {self.url}")

    def _run(self) -> None:
        written_at = -self._knobs.interval_seconds
        pause = STATUS_SECONDS if self._status is not None else self._knobs.interval_seconds
        while True:
            now = time.monotonic()
            self.write_status()
            if now - written_at >= self._knobs.interval_seconds:
                written_at = now
                self.write_textfile()
            if self._is_over.wait(pause):
                return

    def _is_left_behind(self) -> bool:
        """Return whether this is the thread, after `close` has written the last state."""
        is_thread = threading.current_thread().name == _THREAD
        return is_thread and self._is_over.is_set()

    def _state_once(self, what: str, error: Exception) -> None:
        if self._is_left_behind():
            return
        text = f"{what}: {getattr(error, 'strerror', None) or error}. The run goes on"
        if text not in self._stated:
            self._stated.add(text)
            self._notify(text)


def _replace(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file such that a reader finds the old one or the new one, whole."""
    part = path.with_name(f"{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    part.replace(path)
