"""Write what follows from the code in docs/: graph, knobs, commands, and the formats' table.

`python docs/generate.py` writes them; `--check` fails when one is out of date.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from callwise.cli.main import callwise
from callwise.knobs import VARIABLES, knob_paths
from callwise.knobs.knob_paths import KnobInfo
from callwise.recordings.formats import FORMATS
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
    rows += ["## Agents that wake", "", "Of [`callwise wake`](wake.md); all others of its file are"]
    rows += ["those of endpoints, retries, load and limits above.", "", *_knob_rows(wake), ""]
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


def main() -> None:
    """Write the pages, or hold them against what would be written."""
    pages = {
        "graph.md": graph_page(),
        "knobs.md": knobs_page(),
        "cli.md": commands_page(),
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
