"""Test of live runs, whose calls vary by themselves, with a stated false-alarm rate.

**The question.** Did calls per turn rise on average, or is this the model's own noise?

**The test.** Every turn is paired with itself in the baseline, and differences are summed
per conversation, because turns of one conversation are not independent. If nothing changed,
baseline and run are exchangeable in each conversation by itself: the sum
of a conversation's differences is as likely to be +d as -d. So the p-value is the share of
all 2^C choices of signs that give a rise at least as large as the one seen: the one-sided
sign-flip test, and it is exact, with no assumption on how calls are distributed.

**The false-alarm rate.** The test alarms where p <= alpha, so that of all pairs of baseline
and run between which nothing changed, a share of at most alpha alarms. That is over both: a
baseline that happened to be cheap alarms more often with every run compared with it, one
that happened to be expensive less often. Make it again after a false alarm.

**What it cannot show.** C conversations have no p below 2^-C. Where that is above alpha, no
rise can be shown, and the comparison is refused instead of passing.

Rejected: turns as units (clustered turns alarm too often), a t-test (calls are few, whole
and skewed), random flips (the exact answer is cheap, and needs no seed). `tuning.statistics` has
no equal test: its intervals are for means of many conversations, not for a few counts.

Source: Pitman (1937), Significance tests which may be applied to samples from any
populations; the paired case.
"""

import math
from collections import Counter

from callwise.calls.errors import ConfigError
from callwise.testing.gate.baseline import Baseline, CallGroup, TurnFigures
from callwise.testing.gate.gate_comparison import (
    GateComparison,
    LiveTest,
    causes_between,
    require_comparable,
)
from callwise.testing.gate.gate_exceptions import Quarantine

__all__ = ["DEFAULT_ALPHA", "compare_live", "sign_flip_p"]

DEFAULT_ALPHA = 0.01
"""Share of runs without a change that alarm, at most."""


_MAX_REACH = 2_000_000
"""Largest sum of absolute differences whose distribution is added up: 32 MB."""


def sign_flip_p(differences: list[int]) -> float:
    """Return how likely a sum at least as large is when every sign is a fair coin.

    The distribution of the signed sum is computed exactly, one cluster after another, so
    the cost is clusters x sum of absolute differences. Where that sum is too large, as in a
    baseline that was edited, Hoeffding's bound is returned, which is never below it.

    Args:
        differences: one a cluster: its calls now, less its calls before.

    Returns:
        One-sided p-value in (0, 1]; 1 without clusters.
    """
    import numpy as np  # noqa: PLC0415 - the gate of a replay needs no numpy

    sizes = [abs(difference) for difference in differences if difference]
    reach = sum(sizes)
    if reach > _MAX_REACH:
        total = max(sum(differences), 0)
        return math.exp(-(total**2) / (2 * sum(size**2 for size in sizes)))
    # Place i is the chance of the sum i - reach.
    chance = np.zeros(2 * reach + 1)
    chance[reach] = 1.0
    for size in sizes:
        spread = np.zeros_like(chance)
        spread[size:] += 0.5 * chance[:-size]
        spread[:-size] += 0.5 * chance[size:]
        chance = spread
    return float(min(chance[reach + sum(differences) :].sum(), 1.0))


def _asked(turn: TurnFigures, quarantine: Quarantine) -> tuple[dict[str, int], bool]:
    """Return a turn's calls by path without excepted ones, and whether there were any."""
    kept = {
        text: count
        for text, count in turn.asked.items()
        if quarantine.exception_of(turn.key, CallGroup.of(text).node) is None
    }
    return kept, len(kept) < len(turn.asked)


def compare_live(
    baseline: Baseline,
    current: Baseline,
    *,
    alpha: float = DEFAULT_ALPHA,
    quarantine: Quarantine | None = None,
) -> GateComparison:
    """Return whether calls per turn rose by more than the model's own noise.

    Args:
        baseline: from a live run, or from the replay of one.
        alpha: false-alarm rate, in (0, 0.5].
        quarantine: known flaky cases, whose calls are left out on both sides.

    Raises:
        ConfigError: when the two cannot be compared, alpha is out of range, or there are too few
            conversations to show any rise at this rate.
    """
    if not 0.0 < alpha <= 0.5:
        raise ConfigError(f"alpha={alpha:g}: a false-alarm rate is more than 0 and at most 0.5")
    require_comparable(baseline, current)
    count = len({turn.conversation for turn in baseline.turns})
    least = math.ceil(-math.log2(alpha) - 1e-12)
    if count < least:
        raise ConfigError(
            f"{count} conversations cannot show any rise at a false-alarm rate of {alpha * 100:g} "
            f"%: run at least {least}, allow a larger rate (alpha), or check a replay of a "
            "recording, which is exact"
        )
    quarantine = quarantine or Quarantine()
    by_conversation: Counter[str] = Counter()
    rise: Counter[str] = Counter()
    before = now = excepted_turns = 0
    for was, is_ in zip(baseline.turns, current.turns, strict=True):
        (asked_before, left_out_before), (asked_now, left_out_now) = (
            _asked(turn, quarantine) for turn in (was, is_)
        )
        sums = sum(asked_before.values()), sum(asked_now.values())
        before, now = before + sums[0], now + sums[1]
        excepted_turns += left_out_before or left_out_now
        by_conversation[was.conversation] += sums[1] - sums[0]
        rise.update(asked_now)
        rise.subtract(asked_before)
    turns = len(baseline.turns)
    ordered = sorted(rise.items(), key=lambda item: (-item[1], item[0]))
    return GateComparison(
        baseline=baseline,
        current=current,
        causes=causes_between(baseline, current),
        expired=quarantine.expired,
        live=LiveTest(
            alpha=alpha,
            p_value=sign_flip_p(list(by_conversation.values())),
            turns=turns,
            conversations=count,
            before=before / max(turns, 1),
            now=now / max(turns, 1),
            by_path=tuple((CallGroup.of(text), count / turns) for text, count in ordered if count),
            excepted_turns=excepted_turns,
        ),
    )
