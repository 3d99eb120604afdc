"""Run every benchmark and write one table: `make bench`.

`python -m benchmarks.run [NAME...]` runs those named. Results go to
benchmarks/results/ as JSON and Markdown, with commit, date and machine.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path

from benchmarks.figures import Measured, markdown, provenance

BENCHMARKS = (
    "startup",
    "budgeter",
    "overshoot",
    "server_log",
    "cassette",
    "replay_rate",
    "presets",
    "sweep",
    "reuse",
    "coverage",
    "check_gate",
    "report_page",
    "retrieval",
)
"""In the order of the table. `benchmarks.tokens` and `benchmarks.calibrate_judge` run by
hand: they measure against tokenizers and recordings that are not installed here."""
RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of: {', '.join(BENCHMARKS)}")
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        sys.exit(f"no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}")
    results: list[Measured] = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        results.append(importlib.import_module(f"benchmarks.{name}").measure())
    facts = provenance()
    table = markdown(results)
    heading = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    print(f"{heading}\n\n{table}")
    if names != list(BENCHMARKS):
        return
    RESULTS.mkdir(exist_ok=True)
    document = {**facts, "results": [result.as_json() for result in results]}
    (RESULTS / "latest.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "latest.md").write_text(f"{heading}\n\n{table}", encoding="utf-8")


if __name__ == "__main__":
    main()
