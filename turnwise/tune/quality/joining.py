"""Scores joined to the rows of a sweep: who judged is chosen once, for all rows.

Sources are never mixed: a row that the chosen one did not judge has no quality, whatever
another source says of it.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np

from turnwise.calls.errors import ConfigError
from turnwise.tune.quality.scores import Score
from turnwise.tune.row import ReplyKey, Standing, TurnRow

__all__ = [
    "SOURCE_ORDER",
    "choose_source",
    "estimate_spread_of",
    "mean_values",
    "scale_width_of",
    "sources_of",
    "with_quality",
]

SOURCE_ORDER = ("human", "referee", "truth")
"""Whom to believe first, where nobody is named."""

_SCALE_WIDTHS_PER_SD = 4
"""A scale is about so many SD of a turn's replies wide, where too few are scored to tell."""


def sources_of(scores: Iterable[Score]) -> dict[str, int]:
    """Return how many replies each source scored, by its name, in order of names."""
    found: defaultdict[str, set[ReplyKey]] = defaultdict(set)
    for score in scores:
        found[score.by].add(score.reply_key)
    return {by: len(found[by]) for by in sorted(found)}


def choose_source(scores: Iterable[Score], by: str | None = None) -> str | None:
    """Return the one source that counts; None where there are no scores.

    Args:
        scores: of any sources.
        by: its name, or its kind: `human`, `referee` or `truth`. None takes people before
            referees and referees before truths. Of several of one kind the one that scored
            most replies counts, and of those the first by name.

    Raises:
        ConfigError: when `by` is none of those that scored; names them.
    """
    counts = sources_of(scores)
    if by in counts:
        return by
    kinds = SOURCE_ORDER if by is None else (by,)
    for kind in kinds:
        own = [name for name in counts if name.partition(":")[0] == kind]
        if own:
            return max(own, key=lambda name: counts[name])
    if by is None:
        return max(counts, key=lambda name: counts[name], default=None)
    known = ", ".join(counts) or "nobody"
    raise ConfigError(f"no quality was judged by {by!r}; judged by: {known}")


def mean_values(scores: Iterable[Score]) -> dict[ReplyKey, float]:
    """Return the mean score of each reply, over looks, raters and orders.

    Args:
        scores: of one source.
    """
    values: defaultdict[ReplyKey, list[float]] = defaultdict(list)
    for score in scores:
        values[score.reply_key].append(score.value)
    return {key: fmean(values[key]) for key in sorted(values)}


def scale_width_of(scores: Iterable[Score]) -> float:
    """Return how wide the scale of one source is, in its unit.

    Args:
        scores: of one source; at least one.

    Raises:
        ConfigError: when there are none, or they are on several scales; names the sources.
    """
    scores = list(scores)
    widths = Counter((score.scale_low, score.scale_high) for score in scores)
    if len(widths) == 1:
        low, high = next(iter(widths))
        return high - low
    if not widths:
        raise ConfigError("there are no scores, so there is no scale")
    scales = ", ".join(f"{low:g} to {high:g}" for low, high in sorted(widths))
    names = ", ".join(sources_of(scores))
    raise ConfigError(
        f"scores by {names} are on several scales ({scales}): choose one source by its name"
    )


def estimate_spread_of(values: Mapping[ReplyKey, float], scale_width: float) -> float:
    """Return how far a stand-in reply's quality may be from the real one's, as an SD.

    Where a setting's own reply is not recorded, another reply to the same turn stands in. If
    both are drawn alike, their qualities differ by the square root of two times the SD of a
    turn's replies, which is pooled here over turns with several. The judge's noise is in it.

    Args:
        values: mean score by reply, of one source.
        scale_width: how wide its scale is; a quarter of it is the SD where no turn has two
            replies.
    """
    by_turn: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for (conversation, turn, _), value in values.items():
        by_turn[conversation, turn].append(value)
    several = [own for own in by_turn.values() if len(own) >= 2]
    freedom = sum(len(own) - 1 for own in several)
    if not freedom:
        return math.sqrt(2.0) * scale_width / _SCALE_WIDTHS_PER_SD
    squares = math.fsum(float(np.var(own)) * len(own) for own in several)
    return math.sqrt(2.0 * squares / freedom)


def with_quality(
    rows: Sequence[TurnRow],
    scores: Iterable[Score],
    by: str | None = None,
    *,
    estimate_spread: float | None = None,
) -> list[TurnRow]:
    """Return the rows with the quality of their replies, as one source judged it.

    Rows whose reply it did not judge, and rows without a known reply, have none. Where a
    reply only stands in for the real one (`is_reply_exact` is false) its quality is an
    estimate and has a spread.

    Args:
        rows: of one sweep, in any order; returned in the same.
        scores: of any sources.
        by: who counts; see `choose_source`.
        estimate_spread: SD of an estimate, in the unit of the scores; None takes
            `estimate_spread_of`.

    Raises:
        ConfigError: when `by` scored nothing, or its scores are on several scales.
    """
    scores = list(scores)
    source = choose_source(scores, by)
    own = [score for score in scores if score.by == source]
    values = mean_values(own)
    if own and estimate_spread is None:
        estimate_spread = estimate_spread_of(values, scale_width_of(own))
    joined = []
    for row in rows:
        is_known = bool(row.reply_id) or row.standing is Standing.EXACT
        value = values.get((row.conversation, row.turn, row.reply_id)) if is_known else None
        is_estimate = value is not None and not row.is_reply_exact
        joined.append(
            replace(
                row,
                quality=value,
                quality_spread=(estimate_spread or 0.0) if is_estimate else 0.0,
                quality_by=(source or "") if value is not None else "",
            )
        )
    return joined
