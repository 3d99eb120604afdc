"""Measure the budgeter under load: `python -m benchmarks.load [PART ...]`, or `make bench-load`.

Each part that is run replaces its section of benchmarks/results/load.md, with the commit, date
and machine that it is from; the others stay as they are. Figures with a target say whether they
reach it.
"""

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Measured, markdown, provenance

__all__ = ["PARTS", "main"]

PARTS = {
    "replay": "1 · load and strict replay",
    "limits": "2 · requests and tokens per minute",
    "waiting": "3, 4 · waiting calls, classes and deadlines",
    "capacity": "5 · capacity that changes",
    "batches": "6, 7 · batches of texts and of chat calls",
    "pipeline": "6b · the pipeline on an endpoint with a batch route",
    "batch_kills": "8 · provider's batch interface, clients killed",
    "cache_traces": "9 · eviction on recorded and drawn traces",
    "processes": "10, 11 · limits over several processes",
    "dead_endpoint": "12 · dead endpoint of two",
    "azure": "13 · the Azure trace with faults",
    "cost": "14 · cost of a call",
    "peers": "15 · the same calls through peers",
    "headlines": "16 · the documents' tables, simulated",
}
"""Parts in the order of the page: module, and title of its section."""

RESULTS = Path(__file__).resolve().parents[1] / "results"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print and write.

    Raises:
        SystemExit: for a part that there is not.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--look", action="store_true", help="print, and write nothing")
    given = parser.parse_args(arguments)
    names = given.parts or list(PARTS)
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    run = provenance()
    for name in names:
        began, busy = time.monotonic(), os.getloadavg()[0]
        print(f"{name} ...", file=sys.stderr, flush=True)
        measured = importlib.import_module(f"benchmarks.load.{name}").measure()
        facts = {**run, "command": f"python -m benchmarks.load {name}"}
        facts["load average before"] = f"{busy:.1f}"
        if precedence := _precedence():
            facts["precedence"] = precedence
        facts["took"] = f"{time.monotonic() - began:.0f} s"
        section = {**facts, "result": measured.as_json()}
        print(_section(name, section), flush=True)
        if not given.look:
            _write({**_written(), name: section})


def _precedence() -> str:
    """Return by how much these processes go before others of the machine; empty for not at all."""
    group = Path("/proc/self/autogroup")
    nice = group.read_text(encoding="ascii").split()[-1] if group.exists() else "0"
    return "" if nice == "0" else f"scheduler group nice {nice}"


def _written() -> dict[str, dict[str, Any]]:
    """Return the sections that were written before."""
    path = RESULTS / "load.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _write(sections: Mapping[str, Mapping[str, Any]]) -> None:
    RESULTS.mkdir(exist_ok=True)
    ordered = {name: sections[name] for name in PARTS if name in sections}
    (RESULTS / "load.json").write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    page = "# The budgeter under load\n\nWritten by `make bench-load`.\n"
    page += "".join(f"\n{_section(name, section)}" for name, section in ordered.items())
    (RESULTS / "load.md").write_text(page, encoding="utf-8")


def _section(name: str, section: Mapping[str, Any]) -> str:
    """Return the Markdown of one part: facts, table, notes."""
    result = section["result"]
    figures = [Figure(**figure) for figure in result["figures"]]
    facts = " · ".join(f"{key} {value}" for key, value in section.items() if key != "result")
    notes = list(dict.fromkeys(figure.note for figure in figures if figure.note))
    lines = "".join(f"- {note}\n" for note in notes)
    table = markdown([Measured(result["name"], figures, result["skipped"])])
    return f"## {PARTS[name]}\n\n{facts}\n\n{table}" + (f"\n{lines}" if lines else "")


if __name__ == "__main__":
    main()
