"""Calibration of a cascade's confidence: a monotone map from labelled answers, and its reliability.

A label is whether a small model's answer was as good as that of the model after it. The map is an
isotonic regression (pool adjacent violators) of labels on raw confidences, one point per level. Its
reliability is measured on answers of conversations that it was not fitted on.

Source of the map: Zadrozny and Elkan (2002). Source of the expected calibration error (ECE): Guo
et al. (2017), here with bins of equal counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from callwise.calls.policies import ConfidenceCalibration
from callwise.calls.policies.cascade_policy import ConfidenceSource

__all__ = [
    "MIN_LABELS",
    "FittedConfidence",
    "Reliability",
    "confidence_map",
    "fit_confidence",
    "folds_of",
]

Floats = NDArray[np.float64]

MIN_LABELS = 20
"""Labels below which nothing is fitted."""

TILT = 0.001
"""Rise of the chance in the outer half of the first and of the last level, so that each confidence
between the least and the largest label has a separate chance, and can be a threshold."""

MAX_LEVELS = 12
FOLDS = 5
BINS = 10
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Reliability:
    """Reliability of confidences, each figure as (value, low, high): a 95 % interval.

    The interval is of a bootstrap over conversations. Noise makes an ECE too large, and that of
    a draw even more so: the value and its interval are corrected by that bias.

    Args:
        brier: mean squared distance from the label, in [0, 1]; 0 is best.
        ece: mean distance of confidence and share of good answers, in [0, 1]; 0 is best.
    """

    brier: tuple[float, float, float]
    ece: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class FittedConfidence:
    """A fitted map, and the reliability of raw and of mapped confidences.

    Args:
        raw: of the confidences as they came.
        mapped: of answers from conversations that their map was not fitted on.
    """

    calibration: ConfidenceCalibration
    raw: Reliability
    mapped: Reliability

    def yaml(self) -> str:
        """Return the map as an entry of the cascade's `calibration`."""
        entry = self.calibration.model_dump(mode="json")
        text: str = yaml.safe_dump([entry], sort_keys=False, default_flow_style=None)
        return text


def fit_confidence(
    raw: Sequence[float],
    is_good: Sequence[bool],
    conversations: Sequence[str],
    *,
    model: str,
    by: ConfidenceSource,
    seed: int = 0,
) -> FittedConfidence:
    """Return the map of a small model's raw confidences to chances.

    Args:
        raw: in [0, 1], one for each question.
        is_good: whether its answer was as good as that of the model after it, likewise.
        conversations: the one that each question is of.
        seed: of the folds and the bootstrap.

    Raises:
        ValueError: when lengths differ, a confidence is out of range, a label is neither true nor
            false, there are fewer than `MIN_LABELS` labels, or all are of one conversation.
    """
    if not len(raw) == len(is_good) == len(conversations):
        raise ValueError(
            f"got {len(raw)} confidences, {len(is_good)} labels and {len(conversations)} "
            "conversations; give as many of each"
        )
    if len(raw) < MIN_LABELS:
        raise ValueError(f"a map needs at least {MIN_LABELS} labels; got {len(raw)}")
    confidences = np.asarray(raw, dtype=np.float64)
    if not ((confidences >= 0) & (confidences <= 1)).all():
        raise ValueError("a confidence is in [0, 1]")
    wrong = [each for each in is_good if each not in (False, True)]
    if wrong:
        raise ValueError(f"a label is true or false; got {wrong[0]!r:.60}")
    labels = np.asarray(is_good, dtype=np.float64)
    names = list(map(str, conversations))
    place = {name: at for at, name in enumerate(sorted(set(names)))}
    groups = np.array([place[name] for name in names], dtype=np.intp)
    count = len(place)
    if count < 2:
        raise ValueError("labels of at least 2 conversations are needed, for the reliability")
    fold_of = folds_of(groups, seed)
    mapped = np.empty_like(confidences)
    for fold in range(min(FOLDS, count)):
        is_out = fold_of == fold
        points = _isotonic(confidences[~is_out], labels[~is_out])
        mapped[is_out] = np.interp(confidences[is_out], *points)
    calibration = confidence_map(confidences, labels, model=model, by=by)
    draws = np.random.default_rng([seed, 1]).integers(count, size=(DRAWS, count))
    return FittedConfidence(
        calibration,
        _reliability(confidences, labels, groups, draws),
        _reliability(mapped, labels, groups, draws),
    )


def confidence_map(
    raw: Floats, is_good: NDArray[Any], *, model: str, by: ConfidenceSource
) -> ConfidenceCalibration:
    """Return the map of raw confidences to chances that some labels give, without its reliability.

    Args:
        raw: (L,) in [0, 1], at least one.
        is_good: (L,) labels, as 0 and 1.
    """
    levels, chances = _isotonic(raw, is_good.astype(np.float64))
    return ConfidenceCalibration(
        model=model,
        by=by,
        raw=tuple(levels.tolist()),
        chance=tuple(chances.tolist()),
        labels=len(raw),
    )


def folds_of(conversation_of: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """Return (T,) the fold of each turn, from 0; those of one conversation have the same.

    Args:
        conversation_of: (T,) place of each turn's conversation, from 0.
    """
    count = int(conversation_of.max()) + 1
    order = np.random.default_rng(seed).permutation(count)
    found: NDArray[np.intp] = order[conversation_of] % min(FOLDS, count)
    return found


def _isotonic(raw: Floats, labels: Floats) -> tuple[Floats, Floats]:
    """Return rising levels of raw confidence and the share of good answers at each.

    Answers are first put in at most `MAX_LEVELS` groups of equal counts. A group has one good and
    one bad answer added, so that a few labels never make a certainty.
    """
    order = np.argsort(raw, kind="stable")
    # Rounded before groups are formed, so that no two levels are one.
    raw, labels = np.round(raw[order], 6), labels[order]
    cuts = np.searchsorted(raw, np.quantile(raw, np.arange(1, MAX_LEVELS) / MAX_LEVELS), "right")
    starts = np.unique(np.concatenate(([0], cuts)))
    starts = starts[starts < len(raw)]
    blocks: list[tuple[float, float, float]] = []  # raw sum, good, count
    sums = zip(
        np.add.reduceat(raw, starts),
        np.add.reduceat(labels, starts),
        np.diff(np.append(starts, len(raw))),
        strict=True,
    )
    for total, good, size in sums:
        block = (float(total), float(good), float(size))
        while blocks and (
            _share(blocks[-1]) >= _share(block) or _level(blocks[-1]) == _level(block)
        ):
            last = blocks.pop()
            block = (last[0] + block[0], last[1] + block[1], last[2] + block[2])
        blocks.append(block)
    levels = [_level(block) for block in blocks]
    shares = [_share(block) for block in blocks]
    if raw[0] < levels[0]:
        levels, shares = [float(raw[0]), *levels], [shares[0] - TILT, *shares]
    if raw[-1] > levels[-1]:
        levels, shares = [*levels, float(raw[-1])], [*shares, shares[-1] + TILT]
    return np.asarray(levels), np.round(np.clip(shares, 0, 1), 6)


def _level(block: tuple[float, float, float]) -> float:
    """Return the mean raw confidence as a map has it."""
    total, _, count = block
    return min(max(round(total / count, 6), 0.0), 1.0)


def _share(block: tuple[float, float, float]) -> float:
    _, good, count = block
    return (good + 1) / (count + 2)


def _reliability(
    chances: Floats, labels: Floats, groups: NDArray[np.intp], draws: NDArray[np.intp]
) -> Reliability:
    """Return both figures with intervals over draws of groups."""
    count = draws.shape[1]
    order = np.argsort(chances, kind="stable")
    bins = np.empty(len(chances), dtype=np.intp)
    bins[order] = np.arange(len(chances)) * BINS // len(chances)
    squares = np.bincount(groups, (chances - labels) ** 2, count)
    sizes = np.bincount(groups, minlength=count).astype(np.float64)
    gaps = np.zeros((count, BINS))
    np.add.at(gaps, (groups, bins), chances - labels)

    def figures(times: Floats) -> tuple[float, float]:
        total = float(times @ sizes)
        return float(times @ squares) / total, float(np.abs(times @ gaps).sum()) / total

    found = np.asarray(figures(np.ones(count)))
    drawn = np.asarray(
        [figures(np.bincount(draw, minlength=count).astype(np.float64)) for draw in draws]
    )
    bias = drawn.mean(axis=0) - found
    low, high = np.maximum(np.quantile(drawn, (0.025, 0.975), axis=0) - 2 * bias, 0.0)
    value = np.clip(found - bias, low, high)
    brier, ece = ((float(value[place]), float(low[place]), float(high[place])) for place in (0, 1))
    return Reliability(brier, ece)
