"""A run as a file for trace viewers: Perfetto, `chrome://tracing`, Speedscope.

The file is JSON in the Trace Event Format. Each conversation is a process whose threads are the
turns and the nodes; one more process has a thread for each endpoint. A call is a slice, and in it
are the waits in queues, the attempts and the waits between them; where something overlaps, a node
or an endpoint has further threads.

Times are those of the ledger, which has durations and rounds. Moments are placed: a call after what
ended in the round before (`callwise.report.call_times`), a turn after the one before, and
conversations start together. In a call the waits in queues come first, then the attempts, then the
waits between them, each as their sum. Texts of users and models are not in the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from callwise.calls.call import Outcome
from callwise.calls.errors import ConfigError
from callwise.recordings.held_files import replace_file
from callwise.report.call_times import PlacedCall, place_calls
from callwise.report.page.plain import facts_of, figure, mapping, text
from callwise.report.run_record import CallLine, RunRecord, TurnKey, load_run
from callwise.safe_text import printable

__all__ = ["WrittenTrace", "trace_events", "write_trace_file"]

MICROSECONDS = 1e6

MAX_NAME_CHARS = 120
"""Longest name of a slice or a track; names are untrusted."""

_ARGUMENTS = (
    "role",
    "purpose",
    "outcome",
    "model",
    "endpoint",
    "attempts",
    "requests",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "unknown_usage",
    "usd",
    "queue_seconds",
    "retry_seconds",
    "end_round",
    "sample",
    "repair",
    "is_speculative",
    "is_unreadable",
    "is_simulated",
)


class WrittenTrace(NamedTuple):
    """Size of a file that was written."""

    turns: int
    calls: int
    size_bytes: int
    notices: tuple[str, ...]


class _Tracks:
    """Numbers of processes and threads, and the events that name them."""

    def __init__(self) -> None:
        self.named: list[dict[str, Any]] = []
        self._processes: dict[str, int] = {}
        self._threads: dict[tuple[int, str], list[int]] = {}
        self._free_at: dict[int, float] = {}
        self._last = 0

    def process(self, name: str) -> int:
        """Return the number of a process."""
        number = self._processes.get(name)
        if number is None:
            number = self._processes[name] = len(self._processes) + 1
            self._name("process_name", number, 0, name)
        return number

    def thread(self, process: int, name: str, start: float, end: float) -> int:
        """Return the first thread of a name that is free from `start` on, and take it."""
        threads = self._threads.setdefault((process, name), [])
        found = next((each for each in threads if self._free_at[each] <= start + 1e-9), None)
        if found is None:
            self._last += 1
            found = self._last
            threads.append(found)
            more = f" ({len(threads)})" if len(threads) > 1 else ""
            self._name("thread_name", process, found, f"{name}{more}")
        self._free_at[found] = max(end, start)
        return found

    def _name(self, kind: str, process: int, thread: int, name: str) -> None:
        event = {"ph": "M", "name": kind, "pid": process, "tid": thread, "ts": 0}
        self.named.append({**event, "args": {"name": _shown(name)}})


def _shown(name: str) -> str:
    return printable(name)[:MAX_NAME_CHARS] or "-"


def trace_events(run: RunRecord) -> dict[str, Any]:
    """Return a run as a JSON object of the Trace Event Format.

    Args:
        run: read with its raw lines, `load_run(folder, keep_raw=True)`.
    """
    tracks = _Tracks()
    events: list[dict[str, Any]] = []
    served: list[_Served] = []
    raw_calls: dict[TurnKey, list[tuple[CallLine, Mapping[str, Any]]]] = {}
    for call, raw in zip(run.rows, run.raw_rows, strict=True):
        if call.turn_key is not None:
            raw_calls.setdefault(call.turn_key, []).append((call, raw))
    starts: dict[str, float] = {}
    for turn in run.turns:
        calls = raw_calls.get(turn.key, [])
        lines = [call for call, _ in calls]
        seconds = [_seconds(call, raw) for call, raw in calls]
        placed = place_calls(lines, seconds)
        start = starts.get(turn.conversation_id, 0.0)
        took = max([turn.spans[3] or 0.0, *(each.end for each in placed)])
        starts[turn.conversation_id] = start + took
        process = tracks.process(f"conversation {turn.conversation_id}")
        thread = tracks.thread(process, "turns", start, start + took)
        events.append(
            _slice(
                f"turn {turn.turn}",
                "turn",
                (process, thread),
                (start, start + took),
                {"calls": len(lines), "seconds to the reply": turn.spans[2]},
            )
        )
        order = sorted(range(len(placed)), key=lambda n: (placed[n].start, n))
        for n in order:
            slices = _Slices(placed[n], start, calls[n][1])
            events += slices.of_node(tracks, process)
            if placed[n].call.usage.attempts:
                served.append(slices.of_endpoint())
    for each in sorted(served, key=lambda each: (each.start, each.end)):
        endpoints = tracks.process("endpoints")
        track = endpoints, tracks.thread(endpoints, each.endpoint, each.start, each.end)
        times = each.start, each.end
        events.append(_slice(each.name, "endpoint", track, times, each.arguments))
    time = "virtual" if any(call.is_virtual for call in run.rows) else "measured"
    return {
        "traceEvents": [*tracks.named, *events],
        "displayTimeUnit": "ms",
        "otherData": {
            "application": "callwise",
            "run": _shown(run.folder.resolve().name),
            "durations": f"{time} seconds of the ledger",
            "moments": "placed by rounds; the parts of a call are sums",
            "simulated": run.is_simulated,
        },
    }


def _seconds(call: CallLine, raw: Mapping[str, Any]) -> float:
    """Return the time that a call took; in an older ledger its attempts and waits."""
    known = figure(raw.get("path_seconds"))
    usage = call.usage
    return max(usage.path_seconds if known is None else float(known), 0.0)


class _Served(NamedTuple):
    """Part of an endpoint in a call."""

    endpoint: str
    name: str
    start: float
    end: float
    arguments: Mapping[str, Any]


class _Slices:
    """Slices of one call.

    Args:
        at: start of its turn, in seconds.
        raw: its line of the ledger.
    """

    def __init__(self, placed: PlacedCall, at: float, raw: Mapping[str, Any]) -> None:
        call = self.call = placed.call
        self.start, self.end = at + placed.start, at + placed.end
        self.raw = raw
        is_usual = call.outcome is Outcome.SERVED
        self.title = call.purpose if is_usual else f"{call.purpose} ({call.outcome})"
        given = {**raw, **call.usage.to_json(), "outcome": call.outcome, "usd": call.usd}
        found = {name: given[name] for name in _ARGUMENTS if given.get(name) not in _LEFT_OUT}
        for group in ("delivery", "choice"):
            facts = facts_of(mapping(raw.get(group)))
            found |= {f"{group}.{name}": value for name, value in facts}
        found["error"] = call.error.partition(":")[0] or None
        self.arguments = {
            _shown(name): _shown(value) if isinstance(value, str) else value
            for name, value in found.items()
        }

    def of_node(self, tracks: _Tracks, process: int) -> Iterator[dict[str, Any]]:
        """Yield the call's slice on its node's thread, with its parts."""
        end = self.end
        track = process, tracks.thread(process, self.call.node or "-", self.start, end)
        yield _slice(self.title, "call", track, (self.start, end), self.arguments)
        yield from _parts(self.call, track, self.start, end)

    def of_endpoint(self) -> _Served:
        """Return the call as its endpoint saw it, without its wait in queues."""
        start = min(self.start + self.call.usage.queue_seconds, self.end)
        endpoint = text(mapping(self.raw.get("delivery")).get("endpoint")) or self.call.endpoint
        name = f"{self.call.node or '-'}: {self.title}"
        return _Served(endpoint or "-", name, start, self.end, self.arguments)


_LEFT_OUT = (None, 0, False, "")
"""Values of arguments that are as usual."""


def _parts(
    call: CallLine, track: tuple[int, int], start: float, end: float
) -> Iterator[dict[str, Any]]:
    """Yield the waits in queues, the attempts and the waits between them, if there were waits."""
    usage = call.usage
    if not (usage.queue_microseconds or usage.retry_microseconds or usage.attempts > 1):
        return
    parts: Sequence[tuple[str, float, dict[str, Any]]] = (
        ("queue", usage.queue_seconds, {}),
        ("attempts", usage.work_seconds, {"attempts": usage.attempts}),
        ("waits before retries", usage.retry_seconds, {"retries": usage.attempts - 1}),
    )
    for name, seconds, arguments in parts:
        until = min(start + seconds, end)
        if until > start:
            yield _slice(name, "part of a call", track, (start, until), arguments)
            start = until


def _slice(
    name: str,
    category: str,
    track: tuple[int, int],
    times: tuple[float, float],
    arguments: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a complete event; times are whole microseconds, so that inner slices fit."""
    start, end = times
    first = round(start * MICROSECONDS)
    return {
        "name": _shown(name),
        "cat": category,
        "ph": "X",
        "ts": first,
        "dur": round(end * MICROSECONDS) - first,
        "pid": track[0],
        "tid": track[1],
        "args": {name: value for name, value in arguments.items() if value is not None},
    }


def write_trace_file(folder: Path, file: Path) -> WrittenTrace:
    """Write a run's file for trace viewers; an older one of the same name is replaced in one step.

    Raises:
        ConfigError: when the file is something else than such a file, or cannot be written.
        FormatError: when the folder is no run, or cannot be read.
    """
    run = load_run(folder, keep_raw=True)
    file = Path(file).resolve()
    document = trace_events(run)
    body = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
    try:
        if file.exists() and not _is_trace(file):
            raise ConfigError(
                f"{file} exists and is no trace of a run; it was left alone. Choose another name"
            )
        replace_file(file, body)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror or error}") from error
    return WrittenTrace(len(run.turns), len(run.rows), len(body), run.notices)


_BEGINNING = b'{"traceEvents":['


def _is_trace(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(len(_BEGINNING)) == _BEGINNING
