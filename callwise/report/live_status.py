"""State of a run that is under way: read from its folder or its budgeter, and drawn as text.

The file is untrusted: its values are checked, and text passes `safe_text`.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, ValidationError

from callwise.budget.budgeter import Budgeter
from callwise.budget.metrics.status import STATUS_FILE, STATUS_VERSION, status_of
from callwise.calls.errors import ConfigError, FormatError
from callwise.report.table import percent
from callwise.safe_text import cut_to_width, printable
from callwise.text_layout import EVERYTHING, Grid, Screen, grid_lines, styled, wrapped_lines

__all__ = [
    "STALE_SECONDS",
    "EndpointStatus",
    "LiveStatus",
    "budgeter_status",
    "newest_status",
    "read_status",
    "status_lines",
    "status_path",
]

STALE_SECONDS = 5.0
"""Age from which on a status counts as old: five times the time between two writings."""

MAX_BYTES = 1_000_000
"""Largest status that is read."""

_Name = Annotated[str, Field(max_length=200)]
_Amount = NonNegativeFloat | None


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class EndpointStatus(_Part):
    """One endpoint: its calls under way, its queue, its pace and its limits."""

    name: _Name
    in_flight: NonNegativeInt
    waiting: NonNegativeInt
    slots: NonNegativeInt | None
    ended: NonNegativeInt
    failed: NonNegativeInt
    mean_seconds: _Amount
    p95_seconds: _Amount
    requests_per_minute: _Amount
    tokens_per_minute: _Amount
    limits_per_minute: dict[_Name, NonNegativeFloat]


class LiveStatus(_Part):
    """The state of a run, as `callwise.budget.metrics.status` writes it."""

    callwise_status: int
    at: NonNegativeFloat
    has_ended: bool
    stopped: bool
    is_simulated: bool
    asked: NonNegativeInt
    in_flight: NonNegativeInt
    classes: dict[_Name, NonNegativeInt]
    outcomes: dict[_Name, NonNegativeInt]
    calls_per_minute: _Amount
    endpoints: Annotated[list[EndpointStatus], Field(max_length=200)]
    tokens: NonNegativeInt
    usd: NonNegativeFloat
    unknown_usd: NonNegativeInt
    retries: NonNegativeInt
    rate_limited: NonNegativeInt
    left: dict[_Name, _Amount]
    used: dict[_Name, NonNegativeFloat]
    last_errors: Annotated[list[tuple[_Name, _Name, _Name]], Field(max_length=100)]
    anomalies: dict[_Name, NonNegativeInt]


def status_path(given: Path) -> Path:
    """Return the file of a run's folder, or the file itself.

    Raises:
        ConfigError: when it is not there.
    """
    path = given / STATUS_FILE if given.is_dir() else given
    if not path.is_file():
        raise ConfigError(
            f"there is no {path}: a run writes it while it goes on with --set metrics.status=true"
        )
    return path


def newest_status(folder: Path) -> Path:
    """Return the status that was written last in the folders below one.

    Raises:
        ConfigError: when there is none.
    """
    found = [path for path in folder.glob(f"*/{STATUS_FILE}") if path.is_file()]
    if not found:
        raise ConfigError(
            f"no run below {folder} writes its status: run one with --set metrics.status=true, or "
            "name its folder"
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def read_status(path: Path) -> LiveStatus:
    """Return the status in a file.

    Raises:
        FormatError: when it is none of this version.
        OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise FormatError(path, None, f"is longer than {MAX_BYTES:,} bytes, and no status of a run")
    try:
        return _checked(orjson.loads(data), path)
    except orjson.JSONDecodeError as error:
        raise FormatError(path, None, "expected the status of a run") from error


def _checked(document: Any, path: object) -> LiveStatus:
    version = document.get("callwise_status") if isinstance(document, Mapping) else None
    if version is not None and version != STATUS_VERSION:
        raise FormatError(
            path, None, f"is of format {version!r:.20}, this Callwise reads {STATUS_VERSION}"
        )
    try:
        return LiveStatus.model_validate(document)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        odd = f"; {place} is odd" if place else ""
        raise FormatError(path, None, f"expected the status of a run{odd}") from error


def budgeter_status(
    budgeter: Budgeter, *, wall: Callable[[], float] = time.time, has_ended: bool = False
) -> LiveStatus:
    """Return the status of a budgeter of this process, counted from the first one on.

    Raises:
        TimeoutError: when its loop is busy for too long.
    """
    snapshot = budgeter.metrics().snapshot()
    document = status_of(snapshot, at=wall(), pid=os.getpid(), has_ended=has_ended)
    return LiveStatus.model_validate(document)


def status_lines(
    status: LiveStatus, screen: Screen = EVERYTHING, *, title: str = "run", now: float | None = None
) -> list[str]:
    """Return a status as lines that fit a screen.

    Args:
        title: name of the run; untrusted.
        now: seconds since 1970, for the age of the status; None does not show it.
    """
    width = screen.width or 10_000
    head = cut_to_width(printable(title), max(width - 30, 10))
    lines = [styled(f"{head}: {_state(status, now)}", "title", screen)]
    outcomes = {name: count for name, count in status.outcomes.items() if count}
    pace = status.calls_per_minute
    calls = {"asked": status.asked, "in flight": status.in_flight, **outcomes}
    if pace is not None:
        calls["per minute"] = round(pace)
    lines += _listed("calls", _counts(calls), screen)
    classes = {name: count for name, count in status.classes.items() if count}
    lines += _listed("in flight", _counts(classes), screen)
    lines += _listed("left", _left(status), screen)
    unknown = f"; cost of {status.unknown_usd:,} unknown" if status.unknown_usd else ""
    spent = [f"tokens {status.tokens:,}", f"USD {status.usd:,.4f}{unknown}"]
    again = {"retries": status.retries, "429s": status.rate_limited}
    spent += _counts({name: count for name, count in again.items() if count})
    lines += _listed("spent", spent, screen)
    if status.endpoints:
        lines += ["", *_endpoint_lines(status, screen)]
    lines += _error_lines(status, screen)
    return lines


def _state(status: LiveStatus, now: float | None) -> str:
    label = ", simulated" if status.is_simulated else ""
    if status.has_ended:
        return f"ended{label}"
    age = 0.0 if now is None else now - status.at
    if age >= STALE_SECONDS:
        return f"no sign for {age:,.0f} s{label}"
    return f"{'stopping' if status.stopped else 'running'}{label}"


def _counts(counts: Mapping[str, int]) -> list[str]:
    return [f"{printable(name)} {count:,}" for name, count in counts.items()]


def _left(status: LiveStatus) -> list[str]:
    parts = []
    for name, amount in status.left.items():
        if amount is None:
            continue
        unit = "USD" if name == "usd" else printable(name)
        shown = f"{amount:,.4f}" if name == "usd" else f"{amount:,.0f}"
        used = status.used.get(name)
        part = "" if used is None else f" ({percent(min(used, 1.0))} used)"
        parts.append(f"{unit} {shown}{part}")
    return parts


def _listed(name: str, parts: list[str], screen: Screen) -> list[str]:
    """Return a line of parts, wrapped where it is too long; none without parts."""
    if not parts:
        return []
    text = wrapped_lines(f"{name}: {', '.join(parts)}", screen)
    return text.split("\n")


def _endpoint_lines(status: LiveStatus, screen: Screen) -> list[str]:
    heads = (
        *("endpoint", "in flight", "waiting", "slots", "ended", "failed"),
        *("mean s", "p95 s", "requests/min", "tokens/min"),
    )
    rows = [
        (
            cut_to_width(printable(each.name), 30),
            f"{each.in_flight:,}",
            f"{each.waiting:,}",
            "-" if each.slots is None else f"{each.slots:,}",
            f"{each.ended:,}",
            f"{each.failed:,}",
            _seconds(each.mean_seconds),
            _seconds(each.p95_seconds),
            _of_limit(each.requests_per_minute, each.limits_per_minute.get("requests_per_minute")),
            _of_limit(each.tokens_per_minute, each.limits_per_minute.get("tokens_per_minute")),
        )
        for each in status.endpoints
    ]
    is_text = [True, *[False] * (len(heads) - 1)]
    folds = [heads.index(name) for name in ("mean s", "tokens/min", "slots", "ended", "p95 s")]
    return grid_lines(Grid(heads, rows, is_text, folds), screen)


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f}"


def _of_limit(pace: float | None, limit: float | None) -> str:
    """Return a pace with its limit, as `12 of 60`."""
    shown = "-" if pace is None else f"{pace:,.0f}"
    return shown if limit is None else f"{shown} of {limit:,.0f}"


def _error_lines(status: LiveStatus, screen: Screen) -> list[str]:
    lines: list[str] = []
    if status.last_errors:
        lines += ["", styled("last errors, the newest first", "head", screen)]
        for error, purpose, endpoint in reversed(status.last_errors):
            line = f"{printable(error)}: {printable(purpose)} at {printable(endpoint)}"
            lines.append(cut_to_width(line, screen.width or 10_000))
    for name, count in status.anomalies.items():
        times = "once" if count == 1 else f"{count:,} times"
        line = f"{printable(name)} changed beyond chance {times}"
        lines.append(cut_to_width(line, screen.width or 10_000))
    return lines
