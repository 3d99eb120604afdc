"""The report of a run: one Markdown file, one JSON file, the figures, and a part of a page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Measured, markdown
from benchmarks.search import table
from benchmarks.search.claims import (
    harmless_claims,
    overhead_claims,
    quality_claims,
    rounds_claims,
    saving_claims,
)
from benchmarks.search.drawing import draw
from benchmarks.search.figures import panels, trust_panels
from benchmarks.search.measuring import TRUSTED, Found
from benchmarks.search.settings import HEADLINE_MIN_GAIN

__all__ = ["BEGIN", "END", "claims", "page_part", "results_markdown", "with_part", "write_results"]

BEGIN = "<!-- Written by `python -m benchmarks.search` from here on. Do not edit. -->"
END = "<!-- Written by `python -m benchmarks.search` up to here. -->"

SHOWN_SETTING = "simulated: accuracy 0.5, similarity 0.3, gain 0.5"
"""The cell of the grid that is drawn next to the recorded pools."""


def claims(found: Found) -> list[Figure]:
    """Return every claim with its measured value."""
    figures = quality_claims(found.pools) + rounds_claims() + harmless_claims(found.harmless)
    for mix, (_, saved) in found.savings.items():
        figures += saving_claims(mix, saved)
    return figures + overhead_claims(found.overhead)


def results_markdown(found: Found, facts: Mapping[str, str]) -> str:
    """Return the whole report."""
    parts = ["# Search: quality, calls, rounds\n"]
    parts.append("\n".join(f"- {name}: {value}" for name, value in facts.items()) + "\n")
    parts.append(
        "A request is one call that a provider would charge: it generates candidates or judges "
        "them. Requests, completions (candidates received), judged items and rounds are means "
        "per prompt. True quality is that of the final pick alone, with its 95 % interval. "
        "Differences are paired over prompts; the seeds of a prompt are averaged first. Not "
        "worse: the interval excludes a loss of more than 1 % of the gap between a random pick "
        "and the best pick.\n"
    )
    parts += ["## Targets\n", markdown([Measured("search", claims(found))])]
    parts += [f"{key} was not run: {why}\n" for key, why in found.absent.items()]
    for pool, (description, cost_model) in found.described.items():
        rows = [row for row in found.pools if row.pool == pool]
        parts += [f"## {pool}\n", f"{description}\n\n{cost_model}\n", table.pool_table(rows)]
    parts.append("## Savings by `min_gain`\n")
    parts.append(
        "Mean quality over each pool, on a scale where 0 is a random pick and 1 the best pick. "
        "The fixed plan is `listwise` by cap. The claimed value was chosen on the tuning half: "
        f"{HEADLINE_MIN_GAIN:g}.\n"
    )
    for mix, (points, saved) in found.savings.items():
        parts += [f"### {mix}\n", table.saving_table(points, saved)]
    parts += ["## The simulated grid\n", _GRID_NOTE, table.grid_table(found.grid)]
    parts += ["## Overhead\n", _OVERHEAD_NOTE, table.overhead_table(found.overhead)]
    return "\n".join(parts)


_GRID_NOTE = (
    "Simulated: Gaussian candidates and the simulated model's judge; it proves nothing about "
    "language. In within-prompt SD, ± half of the 95 % interval; + better and - worse than the "
    "classic search at 11.\n"
)
_OVERHEAD_NOTE = (
    "Processor time of the search alone, with models that answer immediately. A step is one "
    "proposal and its answer. All are measured alternately in one process; treequest is driven "
    "by its `ask_batch` and `tell`.\n"
)


def page_part(found: Found, facts: Mapping[str, str], figure: str) -> str:
    """Return the generated part of the page that compares the simulator with the pools.

    Args:
        figure: path of the figure, as linked from the page.
    """
    lines = [BEGIN, "", "; ".join(f"{name} {value}" for name, value in facts.items()) + ".", ""]
    if not found.trust:
        lines += ["No recorded pool was on this machine, so there is nothing to compare it with."]
    else:
        words = "Recorded (solid, with 95 % bands) and simulated (dashed) curves of each pool"
        lines += [f"![{words}]({figure})", "", table.trust_table(found.judges, found.trust).strip()]
    return "\n".join([*lines, "", END])


def with_part(page: str, part: str) -> str:
    """Return a page with its generated part replaced.

    Raises:
        ValueError: when the page has no such part.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no part between {BEGIN!r} and {END!r}")
    return before + part + after


def _json(found: Found, facts: Mapping[str, str]) -> dict[str, Any]:
    document = {**facts, "claims": [asdict(figure) for figure in claims(found)]}
    return {**document, **asdict(found)}


def write_results(
    found: Found, facts: Mapping[str, str], folder: Path, *, page: Path, figure_from_page: str
) -> list[Path]:
    """Write all files of the report, and return their paths.

    Args:
        folder: for the results; made where it is missing.
        page: the page whose generated part is replaced; it must exist.
        figure_from_page: path of the simulator's figure, as linked from the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    document = json.dumps(_json(found, facts), indent=1, ensure_ascii=False)
    files: dict[Path, bytes] = {
        folder / "search.json": document.encode() + b"\n",
        folder / "search.md": results_markdown(found, facts).encode(),
        page: with_part(
            page.read_text(encoding="utf-8"), page_part(found, facts, figure_from_page)
        ).encode(),
        **{folder / name: drawn for name, drawn in _figures(found, facts).items()},
    }
    for path, content in files.items():
        path.write_bytes(content)
    return list(files)


def _figures(found: Found, facts: Mapping[str, str]) -> dict[str, bytes]:
    shown = [*found.pools, *(row for row in found.grid if row.pool == SHOWN_SETTING)]
    half = facts["prompts"]
    caption = (
        f"{half}; bands: 95 % intervals over prompts (all others are in the table); "
        "dashed: peers; dotted: a random pick and the best pick"
    )
    drawn = {
        "search_calls.svg": draw(
            panels(shown, "requests"), x_label="requests made, mean", caption=caption
        ),
        "search_rounds.svg": draw(panels(shown, "rounds"), x_label="rounds, mean", caption=caption),
    }
    if found.trust:
        drawn["search_simulator.svg"] = draw(
            trust_panels(found.trust, _drawn_policies(TRUSTED)),
            x_label="cap, requests",
            caption=f"{half}; solid: recorded, with 95 % intervals; dashed: simulated",
        )
    return drawn


def _drawn_policies(policies: Sequence[str]) -> list[str]:
    """Return the policies with a curve; the packed one would hide `listwise`."""
    return [policy for policy in policies if policy != "best-of-N, packed"]
