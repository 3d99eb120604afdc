"""Speed at which a cassette opens and answers, and its use of memory, by its size.

    python -m benchmarks.cassette [--sizes 100 10000 100000] [--json]

Each size is measured in a separate process, on a file that was just written, so that
the file is in the page cache, as it is for a recording that is in use. A lookup is the
whole of `Cassette.lookup`: find the entry, read its line, decode the exchange.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any

from benchmarks.figures import ROOT, Figure, Measured
from callwise.budget.recorder import CallOrigin, RecordedExchange
from callwise.budget.usage import Usage
from callwise.calls import (
    Call,
    CallKey,
    Message,
    Outcome,
    Purpose,
    Reply,
    ReportedUsage,
    Role,
    call_key,
)
from callwise.recordings.cassette import CassetteMode, open_cassette

__all__ = ["measure", "measure_sizes"]

SIZES = (100, 10_000, 100_000)
MAX_LOOKUPS = 5_000
"""Lookups that are timed, at most; drawn at random over the whole file."""

MAX_LOOKUP_SECONDS = 0.0002
MAX_OPEN_SECONDS = 2.0
MAX_RESIDENT_MB = 150

_ENDPOINT, _MODEL = "local", "local-model"
_PROMPT = "The user wrote about the flat in the old town and asked what to see first. " * 36
_ANSWER = "Start with the bridge before nine, while it is still empty. " * 10


def _asked(number: int) -> tuple[CallKey, Call, CallOrigin]:
    """Return one call of a run with 16 calls per turn."""
    turn = number // 16
    call = Call(
        role=Role.MAIN,
        purpose=Purpose.EXPAND,
        messages=(Message("system", _PROMPT), Message("user", f"Turn {turn}, call {number}.")),
    )
    where = CallOrigin(
        scope=f"run/conv:c{turn // 40}/turn:{turn % 40}/node:lats_search",
        conversation=f"c{turn // 40}",
        turn=f"{turn % 40}",
        node="lats_search",
        role=call.role,
        purpose=call.purpose,
        endpoint=_ENDPOINT,
        model=_MODEL,
    )
    return call_key(call, endpoint=_ENDPOINT, model=_MODEL), call, where


def _write(path: Path, entries: int) -> float:
    """Record so many exchanges, and return the seconds that one `record` took on average."""
    answer = RecordedExchange(
        Outcome.SERVED,
        reply=Reply(_ANSWER, usage=ReportedUsage(700, 150), model=_MODEL, latency_seconds=0.8),
        usage=Usage(1, 1, input_tokens=700, output_tokens=150, charged_tokens=850),
        latency_seconds=0.8,
    )
    spent = 0.0
    with open_cassette(path, CassetteMode.REWRITE) as cassette:
        for number in range(entries):
            asked = _asked(number)
            began = time.perf_counter()
            cassette.record(*asked, answer)
            spent += time.perf_counter() - began
    return spent / entries


def _resident_bytes() -> int:
    """Return the memory that this process uses (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def _measure_one(path: Path, entries: int) -> dict[str, Any]:
    """Return what opening one cassette and looking up in it takes. Times in seconds."""
    numbers = random.Random(0).sample(range(entries), min(entries, MAX_LOOKUPS))
    asked = [_asked(number) for number in numbers]
    before = _resident_bytes()
    began = time.perf_counter()
    cassette = open_cassette(path, CassetteMode.STRICT)
    open_seconds = time.perf_counter() - began
    grown_bytes = _resident_bytes() - before
    times = []
    for key, call, where in asked:
        began = time.perf_counter()
        cassette.lookup(key, call, where)
        times.append(time.perf_counter() - began)
    cassette.close()
    cuts = quantiles(times, n=100)
    return {
        "entries": entries,
        "file_bytes": path.stat().st_size,
        "open_seconds": open_seconds,
        "open_resident_bytes": grown_bytes,
        "lookup_p50_seconds": cuts[49],
        "lookup_p99_seconds": cuts[98],
        "lookup_mean_seconds": sum(times) / len(times),
    }


def _rows(sizes: Sequence[int], folder: Path) -> Iterator[dict[str, Any]]:
    for entries in sizes:
        path = folder / f"{entries}.jsonl"
        record_seconds = _write(path, entries)
        command = [sys.executable, "-m", "benchmarks.cassette", "--one", str(path), str(entries)]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - this file
        yield {**json.loads(done.stdout), "record_mean_seconds": record_seconds}
        path.unlink()


def measure_sizes(sizes: Sequence[int] = SIZES) -> dict[str, Any]:
    """Return the figures for each size.

    Returns:
        `{"rows": [{"entries", "file_bytes", "open_seconds", "open_resident_bytes",
        "lookup_p50_seconds", "lookup_p99_seconds", "lookup_mean_seconds",
        "record_mean_seconds"}, …]}`, one row a size.
    """
    with tempfile.TemporaryDirectory() as folder:
        return {"rows": list(_rows(sizes, Path(folder)))}


def measure() -> Measured:
    """Return opening and lookup at each size, with their targets."""
    rows = measure_sizes()["rows"]
    figures = [
        Figure(
            f"cassette lookup at {row['entries']:,} entries, p50 / p99, ms",
            f"{row['lookup_p50_seconds'] * 1e3:.3f} / {row['lookup_p99_seconds'] * 1e3:.3f}",
            f"<= {MAX_LOOKUP_SECONDS * 1e3:g} (p50)",
            row["lookup_p50_seconds"] <= MAX_LOOKUP_SECONDS,
        )
        for row in rows
    ]
    largest = rows[-1]
    opened = f"opening a cassette of {largest['entries']:,} entries"
    grown_mb = largest["open_resident_bytes"] / 1e6
    figures += [
        Figure(
            f"{opened} ({largest['file_bytes'] / 1e6:.0f} MB), seconds",
            f"{largest['open_seconds']:.2f}",
            f"<= {MAX_OPEN_SECONDS:g}",
            largest["open_seconds"] <= MAX_OPEN_SECONDS,
            note="from the page cache",
        ),
        Figure(
            f"{opened}, memory grown by, MB",
            f"{grown_mb:.0f}",
            f"<= {MAX_RESIDENT_MB}",
            grown_mb <= MAX_RESIDENT_MB,
        ),
    ]
    return Measured("cassette", figures)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| entries | file | open | resident | lookup p50 | lookup p99 | record |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines.extend(
        f"| {row['entries']:,} | {row['file_bytes'] / 1e6:.1f} MB | {row['open_seconds']:.3f} s "
        f"| {row['open_resident_bytes'] / 1e6:.1f} MB | {row['lookup_p50_seconds'] * 1e6:.0f} us "
        f"| {row['lookup_p99_seconds'] * 1e6:.0f} us | {row['record_mean_seconds'] * 1e6:.0f} us |"
        for row in rows
    )
    return "\n".join(lines)


def main() -> None:
    """Print the figures as a table, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("PATH", "ENTRIES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        path, entries = options.one
        print(json.dumps(_measure_one(Path(path), int(entries))))
        return
    result = measure_sizes(options.sizes)
    print(json.dumps(result) if options.json else _table(result["rows"]))


if __name__ == "__main__":
    main()
