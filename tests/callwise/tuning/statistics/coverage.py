"""The share of simulated sweeps whose 95 % interval covers a known truth.

A sweep is covered when the interval contains the mean over all turns that could have been met.
"""

from collections.abc import Callable, Mapping

import numpy as np

from callwise.tuning.panel import Panel
from callwise.tuning.statistics.bootstrap import mean_intervals, paired_difference
from callwise.tuning.statistics.comparison import compare_with, compare_with_best
from callwise.tuning.statistics.imputation import impute
from callwise.tuning.statistics.racing import SettingRace
from callwise.tuning.statistics.unpaired import ArmSums, unpaired_difference
from tests.callwise.tuning.statistics.known_truth import (
    WORLDS,
    World,
    first_conversations,
    with_figures,
)

__all__ = ["ASKED", "coverage", "drop_rate", "estimated_coverage", "unpaired_coverage"]

SWEEPS = 1_000
DRAWS = 1_000


def _contains(low: float | None, high: float | None, truth: float) -> bool:
    return low is not None and high is not None and low <= truth <= high


def _mean(panel: Panel, truths: tuple[float, ...], seed: int) -> bool:
    found = mean_intervals(panel, seed=seed, draws=DRAWS)["s0"]
    return _contains(found.low, found.high, truths[0])


def _difference(panel: Panel, truths: tuple[float, ...], seed: int) -> bool:
    found = paired_difference(panel, "s2", "s0", seed=seed, draws=DRAWS)
    return _contains(found.low, found.high, truths[2] - truths[0])


def _together(panel: Panel, truths: tuple[float, ...], seed: int) -> bool:
    found = compare_with(panel, "s0", seed=seed, draws=DRAWS)
    return all(
        _contains(each.together.low, each.together.high, truths[int(name[1:])] - truths[0])
        for name, each in found.items()
    )


def _best(panel: Panel, truths: tuple[float, ...], seed: int) -> bool:
    found = compare_with_best(panel, seed=seed, draws=DRAWS).gaps()
    gaps = [truth - max(*truths[:at], *truths[at + 1 :]) for at, truth in enumerate(truths)]
    return all(
        _contains(found[f"s{at}"].low, found[f"s{at}"].high, gap) for at, gap in enumerate(gaps)
    )


ASKED: Mapping[str, Callable[[Panel, tuple[float, ...], int], bool]] = {
    "mean": _mean,
    "difference": _difference,
    "together": _together,
    "best": _best,
}


def coverage(world: World, asked: str, *, conversations: int, sweeps: int = SWEEPS) -> float:
    """Return the share of sweeps whose interval contains the truth, in [0, 1].

    Args:
        world: where the figures come from.
        asked: one of `ASKED`: a mean, a paired difference, all differences from a reference
            together, or all gaps to the best together.
        conversations: of a sweep.
        sweeps: how many.
    """
    rng = np.random.default_rng([conversations, *asked.encode()])
    hits = 0
    for seed in range(sweeps):
        hits += ASKED[asked](world.panel(rng, conversations), world.truths, seed)
    return hits / sweeps


def drop_rate(
    world: World, best: int, *, alpha: float, races: int, counts: tuple[int, ...]
) -> float:
    """Return the share of races in which a best setting is dropped, in [0, 1].

    Args:
        world: whose settings race; cost is the same for all, so that quality alone decides.
        best: place of a setting that no other beats in truth.
        alpha: of each race.
        races: how many.
        counts: conversations at each analysis; the last are all that are planned.
    """
    rng = np.random.default_rng(best)
    drops = 0
    for seed in range(races):
        whole = world.panel(rng, counts[-1])
        race = SettingRace(whole.settings, counts[-1], alpha)
        for count in counts:
            quality = first_conversations(whole, count)
            cost = with_figures(quality, np.ones(quality.values.shape))
            race = race.tell(cost, quality, seed=seed, draws=DRAWS)
        drops += whole.settings[best] in {each.setting for each in race.dropped}
    return drops / races


def estimated_coverage(share: float, *, conversations: int, sweeps: int) -> tuple[float, float]:
    """Return how often an interval contains the truth where part of a setting is estimated.

    Settings differ by a constant each, drawn again for each sweep; that is what an estimate made
    of other settings' replies cannot know.

    Args:
        share: of the first setting's turns that are not known, in [0, 1).
        conversations: of a sweep.
        sweeps: how many.

    Returns:
        The share of sweeps in which the interval of its difference from a setting that is fully
        known contains the truth, and the share of estimates whose own 95 % range contains the
        figure.
    """
    rng = np.random.default_rng(conversations)
    hits, inside = 0, []
    for seed in range(sweeps):
        whole = WORLDS["skewed"].panel(rng, conversations)
        shift = rng.normal(0, 0.2, (4, 1))
        values = whole.values + shift
        is_known = np.ones(values.shape, dtype=bool)
        is_known[0] = rng.random(values.shape[1]) >= share
        estimated = impute(with_figures(whole, values), is_known)
        off = np.abs(estimated.values - values)[~is_known]
        inside.append((off <= 1.96 * estimated.spread[~is_known]).mean())
        found = paired_difference(estimated, "s0", "s2", seed=seed, draws=DRAWS)
        truth = (
            WORLDS["skewed"].truths[0]
            - WORLDS["skewed"].truths[2]
            + float(shift[0, 0] - shift[2, 0])
        )
        hits += _contains(found.low, found.high, truth)
    return hits / sweeps, float(np.mean(inside))


def unpaired_coverage(
    world: World, *, conversations: tuple[int, int], experiments: int = SWEEPS
) -> float:
    """Return the share of experiments whose interval of a difference contains the truth.

    The arms have no conversation in common.

    Args:
        conversations: of the two arms.
        experiments: how many.
    """
    rng = np.random.default_rng(list(conversations))
    truth = world.truths[2] - world.truths[0]
    hits = 0
    for seed in range(experiments):
        arms = [
            ArmSums.of_turns(zip(panel.conversation_of.astype(str), panel.values[row], strict=True))
            for row, panel in (
                (2, world.panel(rng, conversations[0])),
                (0, world.panel(rng, conversations[1])),
            )
        ]
        found = unpaired_difference(arms[0], arms[1], seed=seed, draws=DRAWS)
        hits += _contains(found.low, found.high, truth)
    return hits / experiments
