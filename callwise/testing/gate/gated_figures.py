"""The figures that a gate compares, and how each is read of a turn."""

from collections.abc import Callable
from enum import StrEnum

from callwise.testing.gate.baseline import TurnFigures

__all__ = ["GATE_OF", "PER_RUN", "PER_TURN", "GatedFigure", "Measure"]


class GatedFigure(StrEnum):
    """The figures that are compared, as they are shown, in the order of the report."""

    CALLS = "calls"
    DEGRADED = "degradations"
    UNREADABLE = "unreadable answers"
    REQUESTS = "requests"
    ROUNDS_REPLY = "rounds to the reply"
    ROUNDS_TURN = "rounds to the end"
    TOKENS = "tokens"
    USD = "USD"
    QUALITY = "quality"


Measure = Callable[[TurnFigures], float | None]

PER_TURN: tuple[tuple[GatedFigure, str, Measure], ...] = (
    (GatedFigure.DEGRADED, "degraded", lambda turn: turn.degraded),
    (GatedFigure.UNREADABLE, "unreadable", lambda turn: turn.unreadable),
    (GatedFigure.REQUESTS, "requests", lambda turn: turn.requests),
    (GatedFigure.ROUNDS_REPLY, "rounds", lambda turn: turn.rounds_reply),
    (GatedFigure.ROUNDS_TURN, "rounds", lambda turn: turn.rounds_turn),
)
"""Figures that are compared in every turn, with the gate of each."""

PER_RUN: tuple[tuple[GatedFigure, str, Measure], ...] = (
    (GatedFigure.TOKENS, "tokens", lambda turn: turn.tokens),
    (GatedFigure.USD, "usd", lambda turn: turn.usd),
    (GatedFigure.QUALITY, "quality", lambda turn: turn.quality),
)
"""Figures that are compared over all turns together."""

GATE_OF = {
    GatedFigure.CALLS: "calls",
    **{figure: gate for figure, gate, _ in (*PER_TURN, *PER_RUN)},
}
"""The gate of each figure."""
