"""Cascades at equal quality, tuned thresholds, ensembles: simulated, and SummEval.

    python -m benchmarks.cascade --summeval FOLDER

SummEval's pool has scores of summaries that three Llamas and GPT-3.5 gave, and those of experts. A
call is the scoring of one summary, and quality is the experts' mean of the summary that is scored
best of its document's. Thresholds are chosen on half of the documents and evaluated on the other
half, in both directions. Intervals are of a bootstrap over documents. Thresholds as `callwise tune
--cascade` finds them are measured in simulated worlds of known truth, every number in them assumed
(`tests/callwise/tuning/routing/cascade_world.py`).
"""

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callwise.tuning.confidence import fit_confidence
from tests.callwise.tuning.routing.cascade_world import MARGIN, CascadeWorld, tuned_pick

__all__ = ["main"]

Floats = NDArray[np.float64]

SEEDS = 100
QUESTIONS, PER_CONVERSATION, LABELS = 2000, 10, 400
SMALL_USD, LARGE_USD = 0.1, 1.0
"""Prices of a call, in those of the large model."""

DRAWS = 4000
LLAMAS = ("7b", "13b", "70b")
PROMPTS = ("rts", "mcq", "altrts", "altmcq", "stareval")

WORLDS = {
    "noise .05 of the scale": (CascadeWorld(), (50, 150, 400)),
    "noise .1": (CascadeWorld(noise=0.1), (150, 400)),
    "small model at .3 of the price": (CascadeWorld(small_usd=0.3), (150,)),
    "confidence without bearing": (CascadeWorld(blur=9.0), (150,)),
}
"""Worlds, and the conversations of a recording in each, of some 9 turns."""


def interval(values: Floats, seed: int = 0) -> str:
    """Return a mean over documents or seeds with its 95 % interval."""
    draws = np.random.default_rng(seed).integers(len(values), size=(DRAWS, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), (0.025, 0.975))
    return f"{values.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def simulated(seed: int) -> tuple[float, float, float, float, float, float]:
    """Return cost and loss of a calibrated, and of a raw cascade, and both Brier scores.

    The small model's chance is from .3 to .99, the large one's .9, and a raw confidence claims too
    much and is noisy. The calibrated threshold is the cheapest within the margin on the labels;
    the raw one is .8 of a confidence that is taken for a chance.
    """
    generator = np.random.default_rng(seed)
    chance = generator.uniform(0.3, 0.99, QUESTIONS)
    small = (generator.uniform(size=QUESTIONS) < chance).astype(float)
    large = (generator.uniform(size=QUESTIONS) < 0.9).astype(float)
    raw = np.clip(chance**0.4 + generator.normal(0, 0.05, QUESTIONS), 0, 1)
    groups = [str(place // PER_CONVERSATION) for place in range(QUESTIONS)]
    fitted = fit_confidence(
        raw[:LABELS].tolist(),
        (small >= large)[:LABELS].tolist(),
        groups[:LABELS],
        model="small",
        by="logprobs",
        seed=seed,
    )
    mapped = np.array([fitted.calibration.chance_of(each) for each in raw])

    def outcome(taken: NDArray[np.bool_], part: slice) -> tuple[float, float]:
        right = np.where(taken, small, large)[part].mean()
        cost = SMALL_USD + LARGE_USD * (1 - taken[part].mean())
        return float(cost / LARGE_USD), float(large[part].mean() - right)

    labelled, rest = slice(0, LABELS), slice(LABELS, None)
    options = []
    for threshold in np.unique(mapped[labelled]):
        cost, loss = outcome(mapped >= threshold, labelled)
        if loss <= MARGIN:
            options.append((cost, float(threshold)))
    threshold = min(options)[1] if options else 2.0
    cost, loss = outcome(mapped >= threshold, rest)
    raw_cost, raw_loss = outcome(raw >= 0.8, rest)
    return cost, loss, raw_cost, raw_loss, fitted.raw.brier[0], fitted.mapped.brier[0]


def pools(folder: Path) -> tuple[Floats, dict[str, Floats]]:
    """Return experts' means, and each judge's mean scores, as (documents, summaries)."""
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(folder / "pool.parquet").to_pylist()
    documents: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        documents.setdefault(row["prompt_id"], []).append(row)
    aspects = ("coherence", "consistency", "fluency", "relevance")
    columns = {f"llama {size}": f"judge_llama-2-{size}-chat-hf_rts" for size in LLAMAS}
    columns |= {f"gpt-3.5 {name}": f"judge_gpt-3.5-turbo-0301_{name}" for name in PROMPTS}

    def table(value: Any) -> Floats:
        return np.array([[value(row) for row in document] for document in documents.values()])

    truth = table(lambda row: np.mean([np.mean(row[f"human_expert_{each}"]) for each in aspects]))
    scores = {
        name: table(lambda row, column=column: np.nanmean(np.array(row[column], dtype=float)))
        for name, column in columns.items()
    }
    return truth, scores


def picked(scores: Floats, truth: Floats) -> Floats:
    """Return the truth of each document's best-scored summary; the mean over equals."""
    best = np.isclose(scores, scores.max(axis=1, keepdims=True), atol=1e-9)
    found: Floats = (truth * best).sum(axis=1) / best.sum(axis=1)
    return found


def summeval_cascade(truth: Floats, scores: dict[str, Floats]) -> tuple[Floats, Floats, Floats]:
    """Return by document the cascade's cost in large calls, its quality and the large one's.

    The small answer is the three Llamas' mean, its confidence their spread; the offset of the
    large model's scores is estimated on the documents that the threshold is chosen on.
    """
    llamas = np.stack([scores[f"llama {size}"] for size in LLAMAS])
    small, spread = llamas.mean(axis=0), np.ptp(llamas, axis=0)
    large = scores["gpt-3.5 rts"]
    order = np.random.default_rng(0).permutation(len(truth))
    cost, quality = np.zeros(len(truth)), np.zeros(len(truth))
    width = 4.0
    large_quality = picked(large, truth)
    for half in (0, 1):
        chosen, rest = order[half::2], order[1 - half :: 2]
        slope, offset = np.polyfit(small[chosen].ravel(), large[chosen].ravel(), 1)
        mapped = slope * small + offset
        options = []
        for limit in [-1.0, *np.unique(np.round(spread[chosen], 6))]:
            mixed = np.where(spread <= limit + 1e-6, mapped, large)
            loss = (large_quality - picked(mixed, truth))[chosen].mean() / width
            if loss <= MARGIN:
                options.append((float((spread[chosen] > limit + 1e-6).mean()), limit))
        limit = min(options)[1]
        is_taken = spread <= limit + 1e-6
        mixed = np.where(is_taken, mapped, large)
        quality[rest] = picked(mixed, truth)[rest]
        cost[rest] = 3 * SMALL_USD + LARGE_USD * (1 - is_taken[rest].mean(axis=1))
    return cost, quality, large_quality


def ensembles(truth: Floats, scores: dict[str, Floats]) -> Iterator[str]:
    """Yield a line for each ensemble: its quality less that of its best member."""
    families = {
        "three Llamas": [f"llama {size}" for size in LLAMAS],
        "GPT-3.5's five prompts": [f"gpt-3.5 {name}" for name in PROMPTS],
    }
    order = np.random.default_rng(0).permutation(len(truth))
    for family, members in families.items():
        qualities = {name: picked(scores[name], truth) for name in members}
        best = np.zeros(len(truth))
        for half in (0, 1):  # the best member is named on the other half
            chosen, rest = order[half::2], order[1 - half :: 2]
            name = max(members, key=lambda each: float(qualities[each][chosen].mean()))
            best[rest] = qualities[name][rest]
        stacked = np.stack([scores[name] for name in members])
        for how, combined in (
            ("mean", stacked.mean(axis=0)),
            ("median", np.median(stacked, axis=0)),
        ):
            found = picked(combined, truth)
            yield (
                f"| {family}, {how} | {len(members)} | {found.mean():.3f} | {best.mean():.3f} | "
                f"{interval(found - best)} |"
            )


def tuned() -> Iterator[str]:
    """Yield a line for each world and size: what `callwise tune --cascade` finds there."""
    with ProcessPoolExecutor() as pool:
        for name, (world, sizes) in WORLDS.items():
            best = world.cheapest
            for size in sizes:
                work = partial(tuned_pick, world, conversations=size)
                picks = list(pool.map(work, range(SEEDS), chunksize=5))
                shown = [pick for pick in picks if pick.threshold is not None]
                tested = [pick for pick in picks if pick.quality is not None]
                within = sum(bool(pick.is_within) for pick in shown)
                saved = [pick.saved for pick in shown if pick.saved is not None]
                covered = [
                    f"{100 * np.mean([getattr(pick, each) for pick in tested]):.0f} %"
                    if tested
                    else ""
                    for each in ("quality", "usd")
                ]
                yield (
                    f"| {name} | {size} | {abs(100 * best):.0f} % | {len(shown)} | {within} | "
                    f"{f'{100 * np.mean(saved):.0f} %' if saved else ''} | {' | '.join(covered)} |"
                )


def report(folder: Path | None) -> str:
    """Return the report as Markdown."""
    runs: Sequence[tuple[float, ...]] = [simulated(seed) for seed in range(SEEDS)]
    cost, loss, raw_cost, raw_loss, raw_brier, brier = np.array(runs).T
    lines = [
        "# Cascades and ensembles",
        "",
        "`python -m benchmarks.cascade --summeval FOLDER`. Intervals are 95 % of a bootstrap.",
        f"A small model's call costs {SMALL_USD:g} of a large one's: an assumption.",
        "",
        f"## Simulated truth, {SEEDS} seeds",
        "",
        (
            f"{QUESTIONS - LABELS} questions after {LABELS} labels. Change and loss are against "
            f"asking the large model alone; the target is -.30 at a loss of at most {MARGIN:g}."
        ),
        "",
        "| cascade | change of cost | loss of right answers | Brier score |",
        "| --- | --- | --- | --- |",
        (
            f"| calibrated, threshold by the labels | {interval(cost - 1)} | {interval(loss)} | "
            f"{brier.mean():.3f} |"
        ),
        (
            f"| raw confidence of .8 | {interval(raw_cost - 1)} | {interval(raw_loss)} | "
            f"{raw_brier.mean():.3f} |"
        ),
        "",
        f"## Thresholds of `callwise tune --cascade`, {SEEDS} recordings each",
        "",
        (
            f"Margin: {MARGIN:g} of the scale. The best cascade has the cheapest threshold that is "
            "really within it. Shown: recommended. Intervals of 95 % are of thresholds that were "
            "chosen on other conversations; the truth is that of the recommended cascade."
        ),
        "",
        (
            "| world | conversations | saved by the best | shown | of these within the margin | "
            "of that saving | interval of quality right | of price |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *tuned(),
    ]
    if folder is not None:
        truth, scores = pools(folder)
        cost, quality, large = summeval_cascade(truth, scores)
        small = picked(np.mean([scores[f"llama {size}"] for size in LLAMAS], axis=0), truth)
        lines += [
            "",
            f"## SummEval: three Llamas, then GPT-3.5; {len(truth)} documents",
            "",
            "Quality is the experts' mean, 1 to 5, of the summary that is scored best.",
            "",
            "| judge | quality | less GPT-3.5's | change of cost |",
            "| --- | --- | --- | --- |",
            f"| GPT-3.5 | {large.mean():.3f} | | |",
            (
                f"| three Llamas | {small.mean():.3f} | {interval(small - large)} | "
                f"{3 * SMALL_USD - 1:+.2f} |"
            ),
            (
                f"| cascade by their agreement | {quality.mean():.3f} | "
                f"{interval(quality - large)} | {interval(cost - 1)} |"
            ),
            "",
            "## Ensembles against their best member, SummEval",
            "",
            "The best member is the one that is best on the other half of the documents.",
            "",
            "| ensemble | members | quality | best member | difference |",
            "| --- | --- | --- | --- | --- |",
            *ensembles(truth, scores),
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--summeval", type=Path, help="folder of SummEval's pool.parquet")
    print(report(parser.parse_args().summeval), end="")


if __name__ == "__main__":
    main()
