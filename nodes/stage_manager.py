"""Stage manager: the relationship's stage, of Knapp's ten, with hysteresis.

One number decides, the bond:
`.35 closeness + .25 trust + .2 liking + .2 warmth`, in [0, 1], .27 for strangers.

| stage | goes on to | at a bond of | falls to | below |
|---|---|---|---|---|
| initiating | experimenting | .34 | avoiding | .14 |
| experimenting | intensifying | .48 | stagnating | .24 |
| intensifying | integrating | .62 | differentiating | .38 |
| integrating | bonding | .78 | differentiating | .52 |
| bonding | | | differentiating | .68 |
| differentiating | intensifying | .46 | circumscribing | .36 |
| circumscribing | differentiating | .44 | stagnating | .28 |
| stagnating | experimenting | .34 | avoiding | .20 |
| avoiding | initiating | .24 | terminating | .10 |
| terminating | initiating | .20 | | |

The bond must point the same way for `HOLD_TURNS` turns in a row; one fewer in a turn
whose message sounds like the stage that it points to. At most one step per turn.

Invariant: every way round the table needs a swing of the bond of at least
`MIN_SWING`, so noise smaller than that can never bring a stage back.

Source: the stages, and that people may go back along them, are from M. L. Knapp,
Social Intercourse (1978). The bond and its thresholds are ours.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from nodes.records import Relationship, Stage

__all__ = ["HOLD_TURNS", "MIN_SWING", "bond", "next_stage"]

HOLD_TURNS = 3
"""Turns in a row that the bond must point to a stage before it is entered."""

MIN_SWING = 0.08
"""Smallest change of the bond, there and back, that can leave a stage and re-enter it."""


class _Ways(NamedTuple):
    """The stages next to one: up at or above one bond, down below another."""

    up: Stage | None
    up_at: float
    down: Stage | None
    down_below: float


_WAYS: Mapping[Stage, _Ways] = MappingProxyType(
    {
        Stage.INITIATING: _Ways(Stage.EXPERIMENTING, 0.34, Stage.AVOIDING, 0.14),
        Stage.EXPERIMENTING: _Ways(Stage.INTENSIFYING, 0.48, Stage.STAGNATING, 0.24),
        Stage.INTENSIFYING: _Ways(Stage.INTEGRATING, 0.62, Stage.DIFFERENTIATING, 0.38),
        Stage.INTEGRATING: _Ways(Stage.BONDING, 0.78, Stage.DIFFERENTIATING, 0.52),
        Stage.BONDING: _Ways(None, 1.0, Stage.DIFFERENTIATING, 0.68),
        Stage.DIFFERENTIATING: _Ways(Stage.INTENSIFYING, 0.46, Stage.CIRCUMSCRIBING, 0.36),
        Stage.CIRCUMSCRIBING: _Ways(Stage.DIFFERENTIATING, 0.44, Stage.STAGNATING, 0.28),
        Stage.STAGNATING: _Ways(Stage.EXPERIMENTING, 0.34, Stage.AVOIDING, 0.20),
        Stage.AVOIDING: _Ways(Stage.INITIATING, 0.24, Stage.TERMINATING, 0.10),
        Stage.TERMINATING: _Ways(Stage.INITIATING, 0.20, None, 0.0),
    }
)


def bond(relationship: Relationship) -> float:
    """Return how strong the bond is, in [0, 1]."""
    return (
        0.35 * relationship.closeness
        + 0.25 * relationship.trust
        + 0.2 * relationship.liking
        + 0.2 * relationship.warmth
    )


def _pointed_to(stage: Stage, bond_now: float) -> Stage | None:
    ways = _WAYS[stage]
    if ways.up is not None and bond_now >= ways.up_at:
        return ways.up
    return ways.down if bond_now < ways.down_below else None


def next_stage(relationship: Relationship, stage_hint: Stage | None = None) -> Relationship:
    """Return the relationship with its stage moved by at most one step. Once a turn.

    Args:
        relationship: after this turn's deltas.
        stage_hint: the stage that the user's message sounds like. It can hasten a
            step that the numbers point to, and never makes one.
    """
    target = _pointed_to(relationship.stage, bond(relationship))
    held = relationship.pending_turns if relationship.pending_stage is target else 0
    held = 0 if target is None else held + 1
    needed = HOLD_TURNS - 1 if stage_hint is target else HOLD_TURNS
    update: dict[str, Any] = {"stage_turns": relationship.stage_turns + 1}
    if target is not None and held >= needed:
        update = {"stage": target, "stage_turns": 0}
        target, held = None, 0
    return relationship.model_copy(
        update={**update, "pending_stage": target, "pending_turns": held}
    )
