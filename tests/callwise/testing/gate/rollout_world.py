"""Simulated rollouts whose truth is known: how often an arm that is no worse is returned."""

from collections.abc import Callable, Mapping

import numpy as np

from callwise.knobs.experiment import RolloutKnobs
from callwise.testing.gate.rollout import Rollout, UnitSums

__all__ = ["CALLS", "return_rate"]

Generator = np.random.Generator

CALLS: Mapping[str, Callable[[Generator, int], np.ndarray]] = {
    "8 calls, 5 in a tenth of turns": lambda rng, n: np.where(rng.random(n) < 0.1, 5, 8),
    "8 calls, 14 in a tenth of turns": lambda rng, n: np.where(rng.random(n) < 0.1, 14, 8),
    "5 calls and a geometric number": lambda rng, n: 5 + rng.geometric(0.3, n),
    "conversations with rates of their own": lambda rng, n: rng.poisson(rng.gamma(2, 4), n),
}
"""Calls of the turns of one conversation, by what is unlike a normal distribution in them."""


def return_rate(
    world: str, plan: RolloutKnobs, *, rise: float, rollouts: int, seed: int = 1
) -> float:
    """Return the share of rollouts that are returned.

    Conversations have 2 to 7 turns, of which one in twenty is degraded.

    Args:
        rise: calls that each turn of the new arm has more, on average.
    """
    rng = np.random.default_rng(seed)
    returned = 0
    for _ in range(rollouts):
        state = Rollout.begun("x", "new", "old", share=plan.stages[0])
        number = 0
        while state.status == "running":
            for _ in range(round(plan.units / plan.checks / state.share)):
                arm = "new" if rng.random() < state.share else "old"
                turns = int(rng.integers(2, 8))
                more = rng.binomial(turns, rise % 1) + turns * int(rise) if arm == "new" else 0
                calls = float(CALLS[world](rng, turns).sum() + more)
                sums = {
                    "calls": (calls, turns),
                    "degradations": (float(rng.binomial(turns, 0.05)), turns),
                    "unreadable answers": (0.0, turns),
                }
                number += 1
                state.units[f"u{number}"] = UnitSums(arm=arm, turns=[], sums=sums)
            state.decide(plan, seed=int(rng.integers(1_000_000)))
        returned += state.status == "returned"
    return returned / rollouts
