"""The report of a run: one Markdown file, one JSON file, the figures, and a part of a page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Figure, Measured, markdown
from benchmarks.search import table
from benchmarks.search.claims import (
    auto_claims,
    bias_words,
    overhead_claims,
    quality_claims,
    rounds_claims,
    saving_claims,
)
from benchmarks.search.comparing import Comparison
from benchmarks.search.drawing import draw
from benchmarks.search.figures import STYLES, Panel, panels_of, panels_text, read_panels
from benchmarks.search.measuring import STOPPING, Found
from benchmarks.search.settings import CLAIMED_GAIN, gain_entry, preset_knobs

__all__ = [
    "BEGIN",
    "END",
    "claims",
    "draw_again",
    "means_part",
    "page_part",
    "results_markdown",
    "with_part",
    "write_results",
]

BEGIN = "<!-- Written by `python -m benchmarks.search` from here on. Do not edit. -->"
END = "<!-- Written by `python -m benchmarks.search` up to here. -->"

FIGURE = "search.svg"
CURVES = "search_curves.json"


def claims(found: Found) -> list[Figure]:
    """Return every claim with its measured value."""
    figures = quality_claims(found.averages) + auto_claims(found.pools, found.mean_pools)
    by_gain = gain_entry(CLAIMED_GAIN)
    for plan in ((STOPPING, preset_knobs(STOPPING).max_calls or 0), (by_gain.label, by_gain.cap)):
        figures += saving_claims(found.savings, plan)
    return figures + found.step_claims + rounds_claims() + overhead_claims(found.overhead)


_INTRO = """\
A request is one call that a provider would charge: it generates candidates or judges them.
Requests, judged items and rounds are means per prompt. The share of the gap is the true quality of
the final pick alone, where 0 is a random pick of a pool and 100 its best one, mean over prompts,
with its 95 % interval. Differences are paired over prompts; the seeds of a prompt are averaged
first. A difference whose interval contains 0 is marked `open`. Packed best-of-N is held against
at the same cap; treequest at 11 is, pool by pool, the better of its two searches.

`frugal`, `balanced` and `thorough` are the shipped presets' searches with all their knobs. Nothing
is changed but what a pool has no use for: the early exit and the weights read sub-scores that no
recorded judge gave, so they never apply. Rules about replies have no say, except in the rows
*with rules*. A record ends: where all its candidates have been judged four times, a larger cap is
not spent, and curves are flat from there on.
"""

_MEANS = """\
Mean over {count} pools of whole answers whose judge is not known to be biased: {pools}. Each
pool counts once. Pools with the same prompts share the draws of the bootstrap. Intervals are over
prompts: they are for these pools, and the table by pool shows how far pools differ.
"""

_JUDGES = """\
What is left of a judge's errors once all its recorded calls are averaged, so that no further call
could mend it. *Pairs in order*: of two candidates that are not equally good. *Wrong checks*: those
that most of the best candidates fail. *Best of n*: share of the gap, in percent, of the candidate
with the best mean score among n at random. Where that falls, reading more candidates misleads a
search, though most pairs are in order: the best score of many is a fault that suits the judge.
"""

_BIAS = """\
HumanEval's judge is tests that the model wrote which wrote the programs. `listwise, 32 per request`
reads up to 64 programs where `listwise` reads 8: a limit on candidates reduces the harm of such a
judge, and does not remove its bias. Agreement is for answers that can be checked: programs that
pass the same tests are one cluster, whose size counts with the tests passed. With a judge that may
be biased, compare few requests with many on labelled prompts before paying for more.
"""

_SAVING = """\
The fixed plan is `listwise` by cap, without a `min_gain`. *Fixed plan's requests*: the least number
at which it is at least as good, interpolated between caps; where its curve falls it keeps what it
had reached. Where the curve is flat, little quality is many requests: read the last column too.
"""

_CONFIDENCE = """\
Of the presets' searches: the mean chance that they gave their pick of being the best of all
candidates that they had / the share of runs in which it truly was (runs). Only noise is in the
chance, so what the judge gets wrong every time shows here. Candidates that are equally good are all
the best. `all` is over the runs of the pools above it.
"""


def _biased(found: Found) -> list[Comparison]:
    return [row for row in found.pools if row.pool in found.biased_pools]


def results_markdown(found: Found, facts: Mapping[str, str]) -> str:
    """Return the whole report."""
    parts = ["# Search: quality, calls, rounds\n"]
    parts.append("\n".join(f"- {name}: {value}" for name, value in facts.items()) + "\n")
    parts += [_INTRO, "## Targets\n", markdown([Measured("search", claims(found))])]
    parts += [f"{key} was not run: {why}\n" for key, why in found.absent.items()]
    if found.averages:
        pools = "; ".join(found.mean_pools)
        parts += ["## Means over pools\n", _MEANS.format(count=len(found.mean_pools), pools=pools)]
        parts += [f"![Share of the gap against requests]({FIGURE})\n"]
        parts += [table.mean_tables(found.averages), "## The shipped searches by pool\n"]
        parts += [table.by_pool_table(found.pools, found.averages)]
    if found.biases:
        parts += ["## The judges, noise averaged out\n", _JUDGES, table.judges_table(found.biases)]
    biased = _biased(found)
    if biased:
        words = bias_words(found.biases, biased) + "\n"
        parts += ["## A biased judge\n", words, _BIAS, table.bias_table(biased)]
    if found.savings:
        parts += ["## Requests saved by stopping\n", _SAVING, table.saving_table(found.savings)]
    if found.confidence:
        parts += ["## Confidence and truth\n", _CONFIDENCE]
        parts += [table.confidence_table(found.confidence)]
    for pool, (description, cost_model) in found.described.items():
        rows = [row for row in found.pools if row.pool == pool]
        parts += [f"## {pool}\n", f"{description}\n\n{cost_model}\n", table.pool_tables(rows)]
    if found.step_tables:
        parts += ["## Tasks of steps\n", _STEPS, *found.step_tables]
    parts += ["## The simulated grid\n", _GRID_NOTE, table.grid_table(found.grid)]
    parts += ["## Overhead\n", _OVERHEAD_NOTE, table.overhead_table(found.overhead)]
    return "\n".join(parts)


_STEPS = """\
Puzzles whose rules give every next state and an exact end, made from a seed: no record, so nothing
is a miss. Share solved with its 95 % interval; mean requests in brackets. treequest is shown as it
is, a node taking two requests, and packed, with as many children a request as ours.
"""

_GRID_NOTE = (
    "Simulated: Gaussian candidates and the simulated model's judge; it proves nothing about "
    "language. Share of the gap in percent, ± half of the 95 % interval; + better and - worse than "
    "the classic search at 11. Refinements may pass the best of the first candidates, 100.\n"
)
_OVERHEAD_NOTE = (
    "Processor time of the search alone, with models that answer immediately. A step is one "
    "proposal and its answer. All are measured alternately in one process; treequest is driven "
    "by its `ask_batch` and `tell`.\n"
)


def _facts(facts: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {value}" for name, value in facts.items()) + "."


def means_part(found: Found, facts: Mapping[str, str]) -> str:
    """Return the generated part of docs/measured.md: means, shipped searches by pool, targets."""
    lines = [BEGIN, "", _facts(facts), ""]
    if found.averages:
        pools = "; ".join(found.mean_pools)
        lines += [f"Mean over {len(found.mean_pools)} pools: {pools}.", ""]
        lines += [f"![Share of the gap against requests](../benchmarks/results/{FIGURE})", ""]
        shown = [row for row in found.averages if row.policy in STYLES]
        lines += [table.share_table(shown).strip(), ""]
        lines += [table.by_pool_table(found.pools, found.averages).strip(), ""]
    if biased := _biased(found):
        lines += ["**Judges that mislead.** " + bias_words(found.biases, biased), ""]
    lines += [markdown([Measured("search", claims(found))]).strip()]
    return "\n".join([*lines, "", END])


def page_part(found: Found, facts: Mapping[str, str]) -> str:
    """Return the generated part of the page that compares the simulator with the pools."""
    lines = [BEGIN, "", _facts(facts), ""]
    if not found.trust:
        lines += ["No recorded pool was on this machine, so there is nothing to compare it with."]
    else:
        lines += [table.trust_table(found.judges, found.trust).strip()]
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


def _json(found: Found, facts: Mapping[str, str]) -> bytes:
    """Return all figures as JSON; arrays by prompt as lists, draws of the bootstrap left out."""
    document = {**facts, "claims": [asdict(figure) for figure in claims(found)], **asdict(found)}
    for saving in document["savings"]:
        del saving["drawn"]
    return json.dumps(document, indent=1, ensure_ascii=False, default=_plain).encode() + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [round(each, 6) for each in value.tolist()]
    raise TypeError(f"{type(value).__name__} is not JSON")


def _drawn(panels: Sequence[Panel], facts: Mapping[str, str]) -> bytes:
    return draw(
        panels,
        title=f"The search on {len(panels) - 1} recorded pools",
        caption=f"{facts['prompts']} of the prompts; bands: 95 % intervals over prompts",
    )


def draw_again(folder: Path) -> Path:
    """Draw the figure of stored results again, and return its path. Nothing is measured."""
    path = folder / FIGURE
    path.write_bytes(_drawn(*read_panels((folder / CURVES).read_text(encoding="utf-8"))))
    return path


def write_results(
    found: Found, facts: Mapping[str, str], folder: Path, *, pages: Mapping[Path, str]
) -> list[Path]:
    """Write all files of the report, and return their paths.

    Args:
        folder: for the results; made where it is missing.
        pages: pages that exist, each with what replaces its generated part.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[Path, bytes] = {
        folder / "search.json": _json(found, facts),
        folder / "search.md": results_markdown(found, facts).encode(),
    }
    for page, part in pages.items():
        files[page] = with_part(page.read_text(encoding="utf-8"), part).encode()
    shown = [row for row in found.pools if row.pool in found.mean_pools]
    panels = panels_of(found.averages, shown)
    if panels:
        files[folder / CURVES] = panels_text(panels, facts).encode()
        files[folder / FIGURE] = _drawn(panels, facts)
    for path, content in files.items():
        path.write_bytes(content)
    return list(files)
