"""Several judges in one search: which of them judges a pass, and their scores on one scale.

Variety breaks a bias that one judge would repeat. Passes go round the judges, so that passes over
the same candidates are by different ones; rubrics go round as well, and every judge comes to every
rubric. What judges disagree about counts as noise, so the search is less sure of it.

Judges differ in how high and how far apart their scores are. The height of a call is removed with
its drift (`lats.posterior`). How far apart they are is brought to the scale of the first judge:
scores are multiplied, about their call's mean, by the ratio of the two judges' standard deviations
within calls, as far as it is known:

    ratio ** (degrees of freedom / (degrees of freedom + PRIOR_FREEDOM))

All judges count the same; their number is too small in one search to learn which is better.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from lats.answers import checked_name
from lats.judge_bias import JudgeReading

__all__ = ["checked_judges", "common_scale", "judge_and_rubric", "judge_names"]

PRIOR_FREEDOM = 6.0
"""Degrees of freedom that equal scales are worth, as the logarithm of their ratio."""

MAX_RATIO = 4.0
"""Most by which scores of a judge are multiplied or divided."""

MAX_FAILURES = 2
"""First calls of a judge that bring nothing, after which it is asked no more."""


def judge_names(judge: object) -> tuple[str, ...]:
    """Return the names of a problem's judges, in their order; none where there is one judge.

    Raises:
        ValueError: when a mapping of judges is empty.
    """
    if not isinstance(judge, Mapping):
        return ()
    if not judge:
        raise ValueError("`judge` is an empty mapping; give a function, or judges by name")
    return tuple(judge)


def checked_judges(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of several judges.

    Raises:
        ValueError: when one is blank, too long, not plain text, or there twice.
    """
    checked = [checked_name(name, "judge") for name in names]
    if len(set(checked)) < len(checked):
        raise ValueError(f"a judge is named twice in {checked}; give each its name")
    return tuple(checked)


def judge_and_rubric(
    number: int,
    judges: Sequence[str],
    rubrics: Sequence[str],
    readings: Sequence[JudgeReading] = (),
) -> tuple[str, str]:
    """Return the judge and the rubric of a pass; the judge is blank where there is one.

    A judge whose first calls all failed or brought no score is left out, unless that is true of
    all.

    Args:
        number: of the pass, from 0.
        judges: names; none where there is one judge.
        rubrics: at least one.
        readings: judge calls so far.
    """
    if not judges:
        return "", rubrics[number % len(rubrics)]
    useful = {reading.judge for reading in readings if reading.scored}
    calls = Counter(reading.judge for reading in readings)
    able = [name for name in judges if name in useful or calls[name] < MAX_FAILURES] or judges
    # Where their numbers have a common divisor, going round both together would tie each judge to
    # some of the rubrics.
    shift = number // math.lcm(len(able), len(rubrics))
    return able[number % len(able)], rubrics[(number + shift) % len(rubrics)]


def common_scale(
    scores: Sequence[float], judge: str, readings: Sequence[JudgeReading]
) -> list[float]:
    """Return a call's scores on the scale of the first judge, about the same mean.

    Args:
        scores: of one call, as they came.
        judge: that gave them; a blank name leaves them as they are.
        readings: judge calls so far, this one included.
    """
    if not judge or len(scores) < 2:
        return list(scores)
    squares: dict[str, float] = {}
    freedom: dict[str, int] = {}
    for reading in readings:
        own = [score for _, _, score in reading.scored]
        if len(own) > 1:
            mean = math.fsum(own) / len(own)
            total = math.fsum([(score - mean) ** 2 for score in own])
            squares[reading.judge] = squares.get(reading.judge, 0.0) + total
            freedom[reading.judge] = freedom.get(reading.judge, 0) + len(own) - 1
    first = next((name for name, total in squares.items() if total > 0), judge)
    if first == judge or not squares.get(judge):
        return list(scores)
    ratio = (squares[first] / freedom[first]) / (squares[judge] / freedom[judge])
    known = min(freedom[first], freedom[judge])
    factor = ratio ** (0.5 * known / (known + PRIOR_FREEDOM))
    factor = min(max(factor, 1 / MAX_RATIO), MAX_RATIO)
    mean = math.fsum(scores) / len(scores)
    return [mean + (score - mean) * factor for score in scores]
