"""Measure how a real judge errs, and solve the simulated judge's figures from it.

Reads the recorded Topical-Chat pool and the CharacterBench scores under
`CALLWISE_DATA` and prints aggregates only; no recorded row leaves the data. The
printed values stand, with their date, in `callwise/simulator/judge.py`.

Run: `python benchmarks/calibrate_judge.py` (needs the `bench` extra).

Two steps. First the observed figures: for each of the 28 judge configurations
(4 attributes x 7 prompt styles) the correlation of one score with the human score
within a prompt, the correlation of two samples of one reply, and the share of tied
pairs; then the median over configurations. Second the latent figures: the simulated
judge reads `y = truth_weight * q + bias_weight * b + noise_weight * e` (all standard
normal, weights squared sum to 1) and rounds y to steps of `step_sd`. Rounding lowers
correlations, so the weights are solved such that the rounded readings show the
observed figures.
"""

import itertools
import os
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

SAMPLES = 20
PROMPTS = 60
REPLIES = 6
LATENT_DRAWS = 400_000


def data_folder() -> Path:
    """Return the folder of recorded data."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("CALLWISE_DATA", default))


def within(values: np.ndarray) -> np.ndarray:
    """Return values [prompt, reply] less their prompt's mean; NaN stays NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a prompt without one parsed score
        return values - np.nanmean(values, axis=1, keepdims=True)


def within_r(left: np.ndarray, right: np.ndarray) -> float:
    """Return the correlation of two [prompt, reply] arrays after centring each prompt."""
    known = ~(np.isnan(left) | np.isnan(right))
    x = within(np.where(known, left, np.nan))[known]
    y = within(np.where(known, right, np.nan))[known]
    return float((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))


def tie_rate(samples: np.ndarray) -> float:
    """Return the share of pairs of one prompt whose single scores are equal."""
    equal = pairs = 0
    for first, second in itertools.combinations(range(samples.shape[1]), 2):
        x, y = samples[:, first], samples[:, second]
        known = ~(np.isnan(x) | np.isnan(y))
        equal += int((x == y)[known].sum())
        pairs += int(known.sum())
    return equal / pairs


def repeat_figures(samples: np.ndarray) -> tuple[float, float]:
    """Return the within-prompt correlation of two samples, and the share that is equal."""
    correlations, equal = [], []
    for first, second in itertools.combinations(range(samples.shape[2]), 2):
        x, y = samples[:, :, first], samples[:, :, second]
        known = ~(np.isnan(x) | np.isnan(y))
        correlations.append(within_r(x, y))
        equal.append(float((x == y)[known].mean()))
    return statistics.fmean(correlations), statistics.fmean(equal)


def observed(samples: np.ndarray, human: np.ndarray) -> dict[str, float]:
    """Return one judge configuration's figures.

    Args:
        samples: scores [prompt, reply, sample], NaN where unparsed.
        human: human scores [prompt, reply].
    """
    single = [within_r(samples[:, :, index], human) for index in range(samples.shape[2])]
    repeat_r, repeat_equal = repeat_figures(samples)
    return {
        "truth_r": statistics.fmean(single),
        "repeat_r": repeat_r,
        "tie_rate": tie_rate(samples),
        "repeat_equal": repeat_equal,
    }


def bias_of(samples: np.ndarray, human: np.ndarray) -> np.ndarray:
    """Return what a judge's mean score adds to the human score, centred [prompt, reply]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        mean = within(np.nanmean(samples, axis=2))
    truth = within(human)
    known = ~np.isnan(mean)
    slope = (mean * truth)[known].sum() / (truth * truth)[known].sum()
    return mean - slope * truth


def read_pool() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return judge samples by configuration, human scores, and which replies are human."""
    rows = pq.read_table(data_folder() / "topicalchat_reply_pool" / "pool.parquet").to_pylist()
    rows.sort(key=lambda row: (row["prompt_id"], row["cand_id"]))
    shape = (PROMPTS, REPLIES)
    human = np.array([row["human_overall"] for row in rows], dtype=float).reshape(shape)
    is_human = np.array([bool(row["human_written"]) for row in rows]).reshape(shape)
    judges = {}
    for name in (name for name in rows[0] if name.startswith("judge_")):
        padded = [(list(row[name] or ()) + [None] * SAMPLES)[:SAMPLES] for row in rows]
        judges[name] = np.array(padded, dtype=float).reshape(*shape, SAMPLES)
    return judges, human, is_human


def shared_bias(
    judges: dict[str, np.ndarray], human: np.ndarray, repeat_r: dict[str, float]
) -> tuple[float, float]:
    """Return the median correlation of two rubrics' biases: same attribute, other attribute.

    Corrected for the noise that is left in a mean of 20 samples (Spearman-Brown).
    """
    biases = {name: bias_of(samples, human) for name, samples in judges.items()}
    reliable = {
        name: SAMPLES * value / (1 + (SAMPLES - 1) * value) for name, value in repeat_r.items()
    }
    same, other = [], []
    for left, right in itertools.combinations(biases, 2):
        attenuation = (reliable[left] * reliable[right]) ** 0.5
        value = within_r(biases[left], biases[right]) / attenuation
        (same if left.split("_")[1] == right.split("_")[1] else other).append(value)
    return statistics.median(same), statistics.median(other)


def bisect(target: float, low: float, high: float, measure: Callable[[float], float]) -> float:
    """Return where a rising measure meets its target, to 5 digits."""
    for _ in range(40):
        middle = (low + high) / 2
        if measure(middle) < target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def solve_latent(truth_r: float, repeat_r: float, ties: float) -> dict[str, float]:
    """Return the latent judge whose rounded readings show the three observed figures."""
    generator = np.random.default_rng(0)
    first, second, third = generator.standard_normal((3, LATENT_DRAWS))

    def rounded(values: np.ndarray, step: float) -> np.ndarray:
        return np.round(values / step)

    step = bisect(
        ties,
        0.05,
        4.0,
        lambda value: float((rounded(first, value) == rounded(second, value)).mean()),
    )

    def rounded_repeat(kappa: float) -> float:
        left = kappa**0.5 * first + (1 - kappa) ** 0.5 * second
        right = kappa**0.5 * first + (1 - kappa) ** 0.5 * third
        return float(np.corrcoef(rounded(left, step), rounded(right, step))[0, 1])

    kappa = bisect(repeat_r, 0.01, 0.99, rounded_repeat)
    attenuation = float(np.corrcoef(first, rounded(first, step))[0, 1])
    truth_weight = truth_r / attenuation
    return {
        "step_sd": step,
        "rounding_attenuation": attenuation,
        "truth_weight": truth_weight,
        "bias_weight": (kappa - truth_weight**2) ** 0.5,
        "noise_weight": (1 - kappa) ** 0.5,
    }


def character_bench() -> dict[str, float]:
    """Return the median correlation over dimensions of judge and human, across contexts."""
    table = pq.read_table(data_folder() / "characterbench_judge_calibration" / "scores.parquet")
    rows = table.to_pylist()
    figures: dict[str, list[float]] = {"pred_zh": [], "pred_zh_sc": [], "pred_zh_ref_free": []}
    for dimension in sorted({row["dim"] for row in rows}):
        part = [row for row in rows if row["dim"] == dimension]
        human = np.array([row["human"] for row in part], dtype=float)
        for name, values in figures.items():
            judge = np.array([row[name] for row in part], dtype=float)
            known = ~np.isnan(judge)
            values.append(float(np.corrcoef(judge[known], human[known])[0, 1]))
    return {name: statistics.median(values) for name, values in figures.items()}


def report(title: str, judges: dict[str, np.ndarray], human: np.ndarray) -> None:
    """Print the median figures over configurations and the latent judge that shows them."""
    by_judge = {name: observed(samples, human) for name, samples in judges.items()}
    median = {
        figure: statistics.median(figures[figure] for figures in by_judge.values())
        for figure in ("truth_r", "repeat_r", "tie_rate", "repeat_equal")
    }
    same, other = shared_bias(
        judges, human, {name: figures["repeat_r"] for name, figures in by_judge.items()}
    )
    print(f"## {title}: median of {len(by_judge)} configurations")
    latent = solve_latent(median["truth_r"], median["repeat_r"], median["tie_rate"])
    shared = {"bias_r_same_attribute": same, "bias_r_other_attribute": other}
    for name, value in {**median, **shared, **latent}.items():
        print(f"{name:26} {value:.3f}")


def main() -> None:
    """Print the calibration table."""
    judges, human, is_human = read_pool()
    report("all six replies", judges, human)
    machine = ~is_human
    replies = int(machine[0].sum())
    report(
        "the four machine replies",
        {name: s[machine].reshape(PROMPTS, replies, SAMPLES) for name, s in judges.items()},
        human[machine].reshape(PROMPTS, replies),
    )
    print("## CharacterBench, across contexts: median of the dimensions")
    for name, value in character_bench().items():
        print(f"{name:26} {value:.3f}")


if __name__ == "__main__":
    main()
