"""Write what follows from the code in docs/: graph, knobs, commands, metrics, the formats' table.

`python docs/generate.py` writes them; `--check` fails when one is out of date.
"""

import inspect
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from callwise.budget.ledger_row import LedgerRow
from callwise.budget.metrics import METRICS, SERVICE_METRICS, Metric
from callwise.budget.metrics.names import BUCKETS_SECONDS, LABELS
from callwise.budget.usage import Usage
from callwise.calls.delivery import Delivery
from callwise.cli.main import callwise
from callwise.knobs import VARIABLES, knob_paths
from callwise.knobs.knob_paths import KnobInfo
from callwise.recordings.formats import FORMATS
from callwise.tuning.row import TurnRow
from callwise.wake import WakeSettings
from graph.drivers import build_graph
from graph.settings import PipelineSettings

HERE = Path(__file__).resolve().parent
TABLE = "<!-- The table is written by docs/generate.py. -->"
TABLE_END = "<!-- The end of the table. -->"
NOTE = "<!-- Written by docs/generate.py. Do not edit. -->"


def graph_page() -> str:
    """Return the page with the reply graph drawn serially and overlapped."""
    parts = [NOTE, "# The reply graph", ""]
    for overlap, preset, words in (
        (False, "classic", "One node after another, in the order of the specification."),
        (True, "classic_parallel", "The same nodes, side by side where the data allow."),
    ):
        drawing = build_graph(overlap=overlap).get_graph().draw_mermaid()
        parts += [f"## `{preset}`", "", words, "", "```mermaid", drawing.strip(), "```", ""]
    return "\n".join(parts)


def knobs_page() -> str:
    """Return the page that lists every knob."""
    words = (
        "Set in a preset's YAML, with `--set name=value`, or in the environment "
        "(`CALLWISE__SEARCH__ROLLOUTS=2` for `search.rollouts=2`, two underscores for a dot). The "
        "preset counts least and `--set` most. Other variables: [below](#environment-variables)."
    )
    own = ("wake.", "memory.")
    wake = [each for each in knob_paths(WakeSettings) if each.path.startswith(own)]
    rows = [NOTE, "# Knobs", "", words, "", *_knob_rows(knob_paths(PipelineSettings)), ""]
    rows += [
        "`models.<name>` has every knob of `endpoints.<role>`, for a [further model](models.md)."
    ]
    rows += [""]
    rows += ["## Agents that wake", "", "Of [`callwise wake`](wake.md); all others of its file are"]
    rows += ["those of endpoints, retries, load, limits, metrics and traces above.", ""]
    rows += [*_knob_rows(wake), ""]
    rows += ["## Environment variables", ""]
    rows += [
        "One that is named almost like these, or like a knob with single underscores, is reported."
    ]
    rows += ["", "| variable | what |", "| --- | --- |"]
    rows += [f"| `{name}` | {what} |" for name, what in VARIABLES.items()]
    return "\n".join(rows) + "\n"


def _knob_rows(knobs: Iterable[KnobInfo]) -> list[str]:
    rows = ["| knob | type | default | range | what |", "| --- | --- | --- | --- | --- |"]
    for knob in knobs:
        if knob.path.startswith("models.<name>."):
            continue  # in one row, with what is left out: those of an endpoint
        default, once_set = f"`{knob.default}`", knob.default_once_set
        if once_set != knob.default:
            default += f", `{once_set}` once its group is set"
        cells = (f"`{knob.path}`", knob.type, default, knob.range, knob.doc)
        rows.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return rows


def commands_page() -> str:
    """Return the page of all commands and their options."""
    command = typer.main.get_command(callwise)
    context = typer.Context(command, info_name="callwise")
    text = get_docs_for_click(obj=command, ctx=context, name="callwise", title="Commands")
    return f"{NOTE}\n{text.strip()}\n"


def formats_page() -> str:
    """Return the page of formats with the table of those that conversations are read from."""
    page = (HERE / "formats.md").read_text(encoding="utf-8")
    before, _, rest = page.partition(TABLE)
    _, _, after = rest.partition(TABLE_END)
    rows = ["", "| format | what, and how it is read | example |", "| --- | --- | --- |"]
    for known in FORMATS:
        example = known.example.replace("|", "\\|").splitlines()
        shown = "<br>".join(f"`{line}`" for line in example)
        rows.append(f"| `{known.name}` | {known.about} | {shown} |")
    return before + TABLE + "\n".join([*rows, ""]) + TABLE_END + after


_ARGUMENT = re.compile(r"^    (\w+): (.*(?:\n      .*)*)", re.MULTILINE)
"""One entry of a docstring's `Args`."""


def _field_rows(documented: type) -> list[str]:
    """Return a table of the fields of a class, from the `Args` of its docstring."""
    _, _, arguments = (inspect.getdoc(documented) or "").partition("Args:\n")
    rows = ["| field | meaning |", "| --- | --- |"]
    for name, text in _ARGUMENT.findall(arguments):
        meaning = " ".join(text.split()).replace("|", "\\|")
        rows.append(f"| `{name}` | {meaning} |")
    return rows


def _metric_rows(metrics: Iterable[Metric]) -> list[str]:
    """Return a table of metrics of Prometheus."""
    rows = ["| metric | kind | labels | meaning |", "| --- | --- | --- | --- |"]
    for each in metrics:
        labels = ", ".join(f"`{label}`" for label in each.labels)
        rows.append(f"| `{each.name}` | {each.kind} | {labels} | {each.about} |")
    return rows


def metrics_page() -> str:
    """Return the page of all figures: of a call, of a row of a sweep, and of a service."""
    known = (
        "Each figure, by where it is found. Tokens and USD that are not known are never counted as "
        "0: they have a count for themselves. [What is counted](counting.md) has the rules."
    )
    usage = (
        "Of a call, and summed for a scope (`budgeter.run.statistics()`). In a line of the ledger "
        "these are flat, times in seconds and money in USD; what was charged is only in recordings."
    )
    parts = [NOTE, "# Metrics", "", known]
    for title, about, rows in (
        ("A call", "A line of a run's `ledger.jsonl`, and `budgeter.ledger.rows`.", LedgerRow),
        ("Its usage", usage, Usage),
        ("Its delivery", "Only what is not as usual, under `delivery`.", Delivery),
        ("A row of a sweep", "`rows.csv`, `rows.parquet` and data frames.", TurnRow),
    ):
        parts += ["", f"## {title}", "", about, "", *_field_rows(rows)]
    buckets = ", ".join(f"{seconds * 1e3:g}" for seconds in BUCKETS_SECONDS)
    about = (
        "For Prometheus, as [observing](observing.md) has it. A metric that has no value now is "
        f"left out. Buckets of histograms end at {buckets} ms. Values of a label that are in none "
        "of these sets are `other`:"
    )
    labels = [f"- `{name}`: {values}" for name, values in LABELS.items()]
    parts += ["", "## A run", "", about, "", *labels, "", *_metric_rows(METRICS)]
    about = "Next to those of its run, in `GET /metrics` of [`callwise serve`](serve.md)."
    parts += ["", "## A service", "", about, "", *_metric_rows(SERVICE_METRICS), ""]
    return "\n".join(parts)


def main() -> None:
    """Write the pages, or hold them against what would be written."""
    pages = {
        "graph.md": graph_page(),
        "knobs.md": knobs_page(),
        "cli.md": commands_page(),
        "metrics.md": metrics_page(),
        "formats.md": formats_page(),
    }
    stale = [
        name
        for name, text in pages.items()
        if not (HERE / name).exists() or (HERE / name).read_text(encoding="utf-8") != text
    ]
    if "--check" in sys.argv[1:]:
        if stale:
            sys.exit(f"out of date: {', '.join(f'docs/{name}' for name in stale)}; run `make docs`")
        return
    for name in stale:
        (HERE / name).write_text(pages[name], encoding="utf-8")


if __name__ == "__main__":
    main()
