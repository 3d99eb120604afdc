"""Strategies by the name of their policy."""

from collections.abc import Mapping
from types import MappingProxyType

from lats.schedule import Strategy
from lats.strategies.auto import AUTO
from lats.strategies.best_of_n import BEST_OF_N
from lats.strategies.halving import HALVING
from lats.strategies.listwise import LISTWISE
from lats.strategies.posterior_uct import POSTERIOR_UCT

__all__ = ["STRATEGIES"]


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "best_of_n": BEST_OF_N,
        "listwise": LISTWISE,
        "halving": HALVING,
        "posterior_uct": POSTERIOR_UCT,
        "auto": AUTO,
    }
)
"""Strategies by the name of their policy."""
