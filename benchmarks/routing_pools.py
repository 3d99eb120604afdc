"""Routing by complexity between the systems of published pools, with scores of people.

Each pool has answers of several systems to the same prompts, so a routing table's answers are known
without a call. Systems are ordered by their mean score on the tuning half: the best is the
strongest model, the one in the middle the medium, the worst the weakest. Prices are assumed, 1, 5
and 20. The table is the one of 15 that gains most on a random mix on the tuning half; figures are
of the other half.

Complexity is the length of the prompt. SummEval's pool has no documents: there it is the median
length of all twelve summaries, which a router would not know before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import numpy as np

from benchmarks.figures import Figure
from benchmarks.search.pools import PoolAbsent, read_columns
from callwise.tuning.panel import Panel, measured_panel
from callwise.tuning.routing.curve import CurvePoint, routing_curve
from callwise.tuning.statistics.bootstrap import Interval
from tests.callwise.tuning.routing.world import Option, options_of

__all__ = ["pool_figures"]

PRICES = (1.0, 5.0, 20.0)
LEVELS = (0.25, 0.5, 0.75)
Scores = Mapping[str, Mapping[str, float]]
"""By prompt and system."""


@dataclass(frozen=True, slots=True)
class _Pool:
    """Scores by prompt and system, and how complex each prompt is."""

    scores: Scores
    complexity: Mapping[str, float]

    @property
    def systems(self) -> list[str]:
        return sorted(next(iter(self.scores.values())))

    def half(self, start: int) -> list[str]:
        return sorted(self.scores)[start::2]


def _rows(folder: str, columns: Sequence[str]) -> list[Mapping[str, Any]]:
    table = read_columns(folder, "pool.parquet", columns=columns)
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def _pool(
    rows: Sequence[Mapping[str, Any]],
    score: Callable[[Mapping[str, Any]], float],
    length: Callable[[Sequence[Mapping[str, Any]]], float],
) -> _Pool:
    by_prompt: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_prompt.setdefault(row["prompt_id"], []).append(row)
    return _Pool(
        {name: {row["system"]: score(row) for row in own} for name, own in by_prompt.items()},
        {name: length(own) for name, own in by_prompt.items()},
    )


def _summeval() -> _Pool:
    aspects = [
        f"human_expert_{each}" for each in ("coherence", "consistency", "fluency", "relevance")
    ]
    columns = ["prompt_id", "system", "summary", *aspects]
    return _pool(
        _rows("summeval_summary_pool", columns),
        lambda row: fmean(fmean(row[aspect]) for aspect in aspects),
        lambda own: median(len(row["summary"].split()) for row in own),
    )


def _topical_chat(*, has_people: bool) -> _Pool:
    columns = ["prompt_id", "system", "human_written", "dialogue", "fact", "human_overall"]
    rows = _rows("topicalchat_reply_pool", columns)
    return _pool(
        [row for row in rows if has_people or not row["human_written"]],
        lambda row: float(row["human_overall"]),
        lambda own: len(own[0]["dialogue"]) + len(own[0]["fact"]),
    )


def _ends(pool: _Pool) -> tuple[str, str, str]:
    """Return the weakest, the middle and the strongest system on the tuning half."""
    tuning = pool.half(0)
    means = {name: fmean(pool.scores[each][name] for each in tuning) for name in pool.systems}
    ordered = sorted(pool.systems, key=lambda name: (means[name], name))
    return ordered[0], ordered[len(ordered) // 2], ordered[-1]


def _curve(pool: _Pool, prompts: Sequence[str], cuts: Mapping[Option, Option]) -> list[CurvePoint]:
    models = _ends(pool)
    quality: dict[str, list[float]] = {}
    cost: dict[str, list[float]] = {}
    for option, (low, high) in cuts.items():
        own = [
            0 if pool.complexity[each] <= low else 1 if pool.complexity[each] <= high else 2
            for each in prompts
        ]
        quality[str(option)] = [
            pool.scores[each][models[at]] for each, at in zip(prompts, own, strict=True)
        ]
        cost[str(option)] = [PRICES[at] for at in own]
    panels: list[Panel] = [measured_panel(each, prompts) for each in (cost, quality)]
    return routing_curve(*panels, strong=str((0.0, 0.0)), weak=str((1.0, 1.0)))


def _figure(name: str, pool: _Pool) -> Figure:
    tuning, held_out = pool.half(0), pool.half(1)
    known = np.array([pool.complexity[each] for each in tuning])

    def cut(share: float) -> float:
        if share in {0.0, 1.0}:
            return -np.inf if share == 0.0 else np.inf
        return float(np.quantile(known, share))

    cuts = {option: (cut(option[0]), cut(option[1])) for option in options_of(LEVELS)}
    ends = {str((0.0, 0.0)), str((1.0, 1.0)), str((0.0, 1.0))}
    tuned = [each for each in _curve(pool, tuning, cuts) if each.table not in ends]
    chosen = max(tuned, key=lambda each: each.gain.mean if each.gain and each.gain.mean else -1.0)
    found = {each.table: each for each in _curve(pool, held_out, cuts)}
    own, middle = found[chosen.table], found[str((0.0, 1.0))]
    return Figure(
        f"{name}: routing by length between {' < '.join(_ends(pool))}, {len(held_out)} prompts",
        f"gain on a random mix of weakest and strongest at its cost {_text(own.gain)}; of the "
        f"middle system alone {_text(middle.gain)}; less than the strongest "
        f"{_text(own.difference)}; gap recovered {_text(own.recovered)} at "
        f"{own.cost_share or 0:.0%} of the cost between them",
        note="prices assumed",
    )


def _text(found: Interval | None) -> str:
    if found is None or found.mean is None:
        return "not known"
    return f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f})"


def pool_figures() -> list[Figure]:
    """Return one figure for each pool; one that names the absent data where they are absent."""
    try:
        pools = {
            "SummEval, experts' scores 1 to 5": _summeval(),
            "Topical-Chat, overall 1 to 5": _topical_chat(has_people=True),
            "Topical-Chat without people's replies": _topical_chat(has_people=False),
        }
    except PoolAbsent as absent:
        return [Figure("published pools: routing by length", f"not measured: {absent}")]
    return [_figure(name, pool) for name, pool in pools.items()]
