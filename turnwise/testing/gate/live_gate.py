"""A gate for live runs, whose calls vary by themselves: a test with a stated false-alarm rate.

**The question.** Did calls a turn rise on average, or is this the model's own noise?

**The test.** Every turn is paired with itself in the baseline, and differences are added up
a conversation, because turns of one conversation are not independent. If nothing changed,
baseline and run might as well have changed places, in each conversation by itself: the sum
of a conversation's differences is as likely to be +d as -d. So the p-value is the share of
all 2^C choices of signs that give a rise at least as large as the one seen: the one-sided
sign-flip test, and it is exact, with no assumption on how calls are distributed.

**The false-alarm rate.** The test alarms where p <= alpha, so that of all pairs of baseline
and run between which nothing changed, a share of at most alpha alarms. That is over both: a
baseline that happened to be cheap alarms more often than that with every run held against
it, one that happened to be dear less often. Make it anew after an alarm that was none.

**What it cannot show.** C conversations have no p below 2^-C. Where that is above alpha, no
rise whatever can be shown, and the result says so instead of passing.

Rejected: turns as units (clustered turns alarm too often), a t-test (calls are few, whole
and skewed), random flips (the exact answer is cheap, and needs no seed).

Source: Pitman (1937), Significance tests which may be applied to samples from any
populations; the paired case.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from turnwise.calls.errors import ConfigError
from turnwise.testing.gate.baseline import Baseline, CallGroup, TurnFigures
from turnwise.testing.gate.gate_comparison import require_comparable

if TYPE_CHECKING:
    from turnwise.testing.gate.gate_exceptions import GateException, Quarantine

__all__ = ["DEFAULT_ALPHA", "LiveComparison", "compare_live", "sign_flip_p"]

DEFAULT_ALPHA = 0.01
"""Share of runs without a change that alarm, at most."""


@dataclass(frozen=True, slots=True)
class LiveComparison:
    """Calls of a live run beside a baseline's.

    Args:
        baseline: what it was held against.
        current: the run.
        alpha: the false-alarm rate that was asked for.
        p_value: share of equally likely pairs with a rise as large; in (0, 1].
        turns: pairs of turns.
        conversations: clusters of them.
        before: mean calls a turn of the baseline, quarantined ones left out.
        now: mean calls a turn of the run, likewise.
        by_path: mean rise in calls a turn by who asked, the largest first; zeros left out.
        held_turns: turns of which calls were left out, being in quarantine.
        expired: entries of the quarantine whose time is over. Each is a failure.
    """

    baseline: Baseline
    current: Baseline
    alpha: float
    p_value: float
    turns: int
    conversations: int
    before: float
    now: float
    by_path: tuple[tuple[CallGroup, float], ...]
    held_turns: int = 0
    expired: tuple["GateException", ...] = ()

    @property
    def least_conversations(self) -> int:
        """Conversations that a rise needs to be shown at all at this rate."""
        return math.ceil(-math.log2(self.alpha) - 1e-12)

    @property
    def can_show_rise(self) -> bool:
        """Whether these conversations could show any rise at this rate, however large."""
        return self.conversations >= self.least_conversations

    @property
    def has_risen(self) -> bool:
        """Whether the rise is more than noise, at this rate."""
        return self.p_value <= self.alpha

    @property
    def has_failed(self) -> bool:
        """Whether the gate is shut."""
        return self.has_risen or bool(self.expired)


_MAX_REACH = 2_000_000
"""Largest sum of absolute differences whose distribution is added up: 32 MB."""


def sign_flip_p(differences: list[int]) -> float:
    """Return how likely a sum at least as large is when every sign is a fair coin.

    The distribution of the signed sum is added up exactly, one cluster after another, so
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


def _asked(turn: TurnFigures, quarantine: "Quarantine | None") -> tuple[dict[str, int], bool]:
    """Return a turn's calls by path without those in quarantine, and whether some were."""
    if quarantine is None:
        return turn.asked, False
    kept = {
        text: count
        for text, count in turn.asked.items()
        if quarantine.case_of(turn.key, CallGroup.of(text).node) is None
    }
    return kept, len(kept) < len(turn.asked)


def compare_live(
    baseline: Baseline,
    current: Baseline,
    *,
    alpha: float = DEFAULT_ALPHA,
    quarantine: "Quarantine | None" = None,
) -> LiveComparison:
    """Return whether calls a turn rose by more than the model's own noise.

    Args:
        baseline: from a live run, or from the replay of one.
        current: the run.
        alpha: false-alarm rate, in (0, 0.5].
        quarantine: known flaky cases, whose calls are left out on both sides.

    Raises:
        ConfigError: when the two cannot be compared, or alpha is out of range.
    """
    if not 0.0 < alpha <= 0.5:
        raise ConfigError(f"alpha={alpha:g}: a false-alarm rate is more than 0 and at most 0.5")
    require_comparable(baseline, current)
    by_conversation: Counter[str] = Counter()
    rise: Counter[str] = Counter()
    before = now = held_turns = 0
    for was, is_ in zip(baseline.turns, current.turns, strict=True):
        (asked_before, held_before), (asked_now, held_now) = (
            _asked(turn, quarantine) for turn in (was, is_)
        )
        sums = sum(asked_before.values()), sum(asked_now.values())
        before, now = before + sums[0], now + sums[1]
        held_turns += held_before or held_now
        by_conversation[was.conversation] += sums[1] - sums[0]
        rise.update(asked_now)
        rise.subtract(asked_before)
    turns = len(baseline.turns)
    ordered = sorted(rise.items(), key=lambda item: (-item[1], item[0]))
    return LiveComparison(
        baseline=baseline,
        current=current,
        alpha=alpha,
        p_value=sign_flip_p(list(by_conversation.values())),
        turns=turns,
        conversations=len(by_conversation),
        before=before / max(turns, 1),
        now=now / max(turns, 1),
        by_path=tuple((CallGroup.of(text), count / turns) for text, count in ordered if count),
        held_turns=held_turns,
        expired=() if quarantine is None else quarantine.expired,
    )
