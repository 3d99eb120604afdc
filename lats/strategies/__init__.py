"""Strategies by the name of their policy: one module each.

Its function `next_round` (a `Strategy`) decides what is asked. The answer is the first of the
ranking.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lats.search_schedule import Strategy

__all__ = ["STRATEGIES", "strategy_of"]

STRATEGIES = ("best_of_n", "listwise", "halving", "posterior_uct", "auto")
"""Names of the policies, each the name of a module here. The modules are imported when they are
asked for, since knobs read these names and the modules read knobs."""


def strategy_of(policy: str) -> "Strategy":
    """Return the strategy of a policy, one of `STRATEGIES`."""
    strategy: Strategy = import_module(f"lats.strategies.{policy}").next_round
    return strategy
