"""One figure of a sweep as a matrix: settings by turns, turns in conversations.

Statistics take panels and know nothing of rows, settings or recordings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callwise.tuning.row import TurnRow

__all__ = ["Panel", "measured_panel", "panel_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One figure of every setting on every turn.

    Args:
        settings: names, S of them.
        conversations: names, C of them.
        conversation_of: (T,) index into `conversations` of each turn.
        values: (S, T) figures; NaN where one is not known.
        spread: (S, T) standard deviation of a figure that is an estimate; 0 where it was
            measured, and where it is not known.
    """

    settings: tuple[str, ...]
    conversations: tuple[str, ...]
    conversation_of: NDArray[np.intp]
    values: NDArray[np.float64]
    spread: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Raise `ValueError` for shapes that do not fit each other."""
        shape = (len(self.settings), len(self.conversation_of))
        if self.values.shape != shape or self.spread.shape != shape:
            raise ValueError(
                f"expected values and spread of {shape} (settings, turns), got "
                f"{self.values.shape} and {self.spread.shape}"
            )


def measured_panel(
    figures: Mapping[str, Sequence[float | None]], conversation_of: Sequence[str]
) -> Panel:
    """Return measured figures of T turns by setting as a panel; None is not known."""
    places = {name: place for place, name in enumerate(dict.fromkeys(conversation_of))}
    values = np.array(list(figures.values()), dtype=np.float64)
    return Panel(
        settings=tuple(figures),
        conversations=tuple(places),
        conversation_of=np.array([places[name] for name in conversation_of], dtype=np.intp),
        values=values,
        spread=np.zeros_like(values),
    )


def panel_of(rows: Sequence[TurnRow], figure: str) -> Panel:
    """Return one numeric field of the rows as a panel, in order of first appearance.

    Args:
        figure: a numeric field of `TurnRow`, such as `quality` or `asked`. `spread` is
            `quality_spread` for quality, and 0 for everything else.

    Raises:
        ValueError: when a setting has two rows of one turn.
        AttributeError: when there is no such field.
    """
    settings = {name: place for place, name in enumerate(dict.fromkeys(r.setting for r in rows))}
    turns = {
        key: place
        for place, key in enumerate(dict.fromkeys((r.conversation, r.turn) for r in rows))
    }
    conversations = {
        name: place for place, name in enumerate(dict.fromkeys(name for name, _ in turns))
    }
    values = np.full((len(settings), len(turns)), np.nan)
    spread = np.zeros_like(values)
    seen: set[tuple[int, int]] = set()
    for row in rows:
        place = settings[row.setting], turns[row.conversation, row.turn]
        if place in seen:
            raise ValueError(
                f"setting {row.setting!r} has two rows of turn {row.turn} of {row.conversation!r}"
            )
        seen.add(place)
        value = getattr(row, figure)
        if value is not None:
            values[place] = value
            spread[place] = row.quality_spread if figure == "quality" else 0.0
    return Panel(
        settings=tuple(settings),
        conversations=tuple(conversations),
        conversation_of=np.array([conversations[name] for name, _ in turns], dtype=np.intp),
        values=values,
        spread=spread,
    )
