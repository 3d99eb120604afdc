"""Sample-ratio mismatch: whether the arms of an experiment have the units that their shares give.

Arms that do not are a sign of lost or duplicated units (one arm's turns fail more often, say), and
then no comparison of them is fair. The test is the exact binomial one, two-sided, of each arm
against all others; of three arms or more the smallest p-value times their number.

Source: the multinomial exact test in its binomial form; the threshold as in Fabijan and others
(2019), Diagnosing sample ratio mismatch in online controlled experiments.
"""

from collections.abc import Mapping

import numpy as np

__all__ = ["MISMATCH", "binomial_p", "sample_ratio_p"]

MISMATCH = 0.001
"""p-value below which arms are reported as mismatched: 1 in 1,000 experiments without a fault."""


def binomial_p(count: int, of: int, share: float) -> float:
    """Return the chance of a count at most as likely as this one: exact, two-sided.

    Args:
        count: in [0, of].
        share: chance of each, in [0, 1].
    """
    if share <= 0 or share >= 1:
        return 1.0 if count == round(of * share) else 0.0
    logs = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, of + 1)))))
    at = np.arange(of + 1)
    chance = np.exp(
        logs[of] - logs - logs[::-1] + at * np.log(share) + (of - at) * np.log1p(-share)
    )
    return float(min(chance[chance <= chance[count] * (1 + 1e-7)].sum(), 1.0))


def sample_ratio_p(counts: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """Return the p-value of the counts of units under the shares of the arms.

    Args:
        counts: units by arm; an arm that is left out has none.
        shares: by arm, which add to one.
    """
    of = sum(counts.get(arm, 0) for arm in shares)
    found = [binomial_p(counts.get(arm, 0), of, share) for arm, share in shares.items()]
    # Of two arms both tests are one.
    factor = len(found) if len(found) > 2 else 1
    return min(1.0, factor * min(found, default=1.0))
