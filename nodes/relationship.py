"""How a relationship moves in one turn: deltas, damped and capped.

For each quantity: `step = delta * max_step * min(1, 2 * room)`, where `room` is the
share of its range that is left in the direction of the step. So a step is at most
`max_step`, shrinks to nothing in the half before a bound, and never passes it.

Falls may be larger than rises, and trust is the quantity for which that is most so:
bad weighs more than good (R. F. Baumeister et al., Bad Is Stronger Than Good, 2001),
and trust is easier to destroy than to build (P. Slovic, Perceived Risk, Trust, and
Democracy, 1993). The sizes are ours: at a steady
delta of .3, strangers come to bonding in about eighty turns.
"""

from collections.abc import Mapping
from types import MappingProxyType

from nodes.evolver import RelationshipDelta
from nodes.records import Relationship

__all__ = ["MAX_FALLS", "MAX_RISES", "apply_delta"]

MAX_RISES: Mapping[str, float] = MappingProxyType(
    {
        "closeness": 0.03,
        "trust": 0.02,
        "liking": 0.03,
        "respect": 0.025,
        "warmth": 0.04,
        "power": 0.03,
    }
)
"""Most that one turn adds to a quantity."""

MAX_FALLS: Mapping[str, float] = MappingProxyType(
    {
        "closeness": 0.06,
        "trust": 0.12,
        "liking": 0.08,
        "respect": 0.08,
        "warmth": 0.08,
        "power": 0.03,
    }
)
"""Most that one turn takes from a quantity. Power has no good side, so both are equal."""

_LOWEST: Mapping[str, float] = MappingProxyType({"power": -1.0})


def _moved(name: str, before: float, delta: float) -> float:
    lowest = _LOWEST.get(name, 0.0)
    room = ((1.0 - before) if delta > 0 else (before - lowest)) / (1.0 - lowest)
    max_step = MAX_RISES[name] if delta > 0 else MAX_FALLS[name]
    after = before + delta * max_step * min(1.0, 2.0 * room)
    return round(max(lowest, min(1.0, after)), 6)


def apply_delta(relationship: Relationship, delta: RelationshipDelta) -> Relationship:
    """Return the relationship after one turn. Its stage is the stage manager's business.

    Args:
        relationship: as it was before the turn.
        delta: how the turn changed it, each quantity in [-1, 1].
    """
    moved = {
        name: _moved(name, getattr(relationship, name), getattr(delta, name)) for name in MAX_RISES
    }
    return relationship.model_copy(update=moved)
