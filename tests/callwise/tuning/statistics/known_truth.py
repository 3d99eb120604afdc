"""Simulated sweeps whose true means are known, as a reference for statistics.

Conversations have 2 to 30 turns. Turns of one conversation resemble each other, figures are
skewed, and four settings differ by effects of their own in each conversation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callwise.tuning.panel import Panel

__all__ = ["WORLDS", "World", "first_conversations", "with_figures"]

Floats = NDArray[np.float64]
Generator = np.random.Generator

TURNS = (2, 30)
"""Fewest and most turns of a conversation."""


@dataclass(frozen=True, slots=True)
class World:
    """Sources of a sweep's figures.

    Args:
        what: a description.
        draw: makes (S, T) figures of a generator and the (T,) conversation of each turn.
        truths: (S,) means over all turns that could be met.
    """

    what: str
    draw: Callable[[Generator, NDArray[np.intp]], Floats]
    truths: tuple[float, ...]

    def panel(self, rng: Generator, conversations: int) -> Panel:
        """Return one sweep."""
        lengths = rng.integers(TURNS[0], TURNS[1] + 1, conversations)
        of = np.repeat(np.arange(conversations), lengths)
        values = self.draw(rng, of)
        return Panel(
            settings=tuple(f"s{at}" for at in range(len(values))),
            conversations=tuple(f"c{at}" for at in range(conversations)),
            conversation_of=of,
            values=values,
            spread=np.zeros(values.shape),
        )


def _skewed(rng: Generator, of: NDArray[np.intp]) -> Floats:
    """Lognormal conversations, exponential turns, and effects of settings of either kind."""
    conversations = of[-1] + 1
    base = rng.lognormal(0, 0.5, conversations)[of] + rng.exponential(0.7, len(of))
    effect = rng.exponential(1, (4, conversations))[:, of] * np.array([[0], [0.1], [0.2], [0.2]])
    return base + effect + rng.exponential(0.5, (4, len(of)))


def _strongly_skewed(rng: Generator, of: NDArray[np.intp]) -> Floats:
    """Nearly all variance between conversations, and that exponential."""
    size = (4, int(of[-1]) + 1)
    effect = rng.exponential(1, size)[:, of] * np.array([[1], [1], [1.5], [0.5]])
    return effect + rng.normal(0, 0.5, (4, len(of)))


def _left_skewed(rng: Generator, of: NDArray[np.intp]) -> Floats:
    """Grades near their top, with rare low ones."""
    return -_skewed(rng, of)


def _judged(rng: Generator, of: NDArray[np.intp]) -> Floats:
    """Yes or no, with chances that differ between conversations."""
    chance = rng.beta(2, 3, of[-1] + 1)[of]
    return (rng.random((4, len(of))) < chance).astype(np.float64)


def _mostly_equal(rng: Generator, of: NDArray[np.intp]) -> Floats:
    """Settings whose replies are the same on 85 of 100 turns."""
    conversations = of[-1] + 1
    base = rng.lognormal(0, 0.5, conversations)[of] + rng.exponential(0.7, len(of))
    differs = rng.random((4, len(of))) < 0.15
    shift = rng.normal(0, 0.3, (4, conversations))[:, of]
    return base + differs * (rng.exponential(1, (4, len(of))) - 0.5 + shift)


_BASE = float(np.exp(0.125)) + 0.7
WORLDS: Mapping[str, World] = {
    "skewed": World("skewed", _skewed, (_BASE + 0.5, _BASE + 0.6, _BASE + 0.7, _BASE + 0.7)),
    "left-skewed": World(
        "left-skewed", _left_skewed, (-_BASE - 0.5, -_BASE - 0.6, -_BASE - 0.7, -_BASE - 0.7)
    ),
    "strong": World("strongly skewed", _strongly_skewed, (1.0, 1.0, 1.5, 0.5)),
    "judged": World("yes or no", _judged, (0.4, 0.4, 0.4, 0.4)),
    "equal": World("85 % of replies equal", _mostly_equal, (_BASE + 0.075,) * 4),
}


def with_figures(panel: Panel, values: Floats) -> Panel:
    """Return a panel of the same turns with other figures, all measured."""
    return Panel(
        panel.settings,
        panel.conversations,
        panel.conversation_of,
        values,
        np.zeros(values.shape),
    )


def first_conversations(panel: Panel, count: int) -> Panel:
    """Return the first conversations of a panel."""
    has = panel.conversation_of < count
    return Panel(
        panel.settings,
        panel.conversations[:count],
        panel.conversation_of[has],
        panel.values[:, has],
        panel.spread[:, has],
    )
