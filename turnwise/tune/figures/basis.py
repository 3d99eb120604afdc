"""What a figure rests on: how many turns of how many conversations, and who answered."""

from collections.abc import Iterable
from dataclasses import dataclass

from turnwise.tune.row import TurnRow

__all__ = ["Basis", "basis_of", "counted"]


@dataclass(frozen=True, slots=True)
class Basis:
    """What a figure rests on.

    Args:
        turns: different turns in it.
        conversations: different conversations that they are of.
        is_simulated: whether a simulated model gave any answer.
    """

    turns: int
    conversations: int
    is_simulated: bool

    @property
    def words(self) -> str:
        """How it is said under a figure."""
        words = f"{counted(self.turns, 'turn')} of {counted(self.conversations, 'conversation')}"
        return f"{words}. Simulated: no real model answered" if self.is_simulated else words


def basis_of(rows: Iterable[TurnRow]) -> Basis:
    """Return what the rows of a sweep rest on."""
    turns: set[tuple[str, int]] = set()
    is_simulated = False
    for row in rows:
        turns.add((row.conversation, row.turn))
        is_simulated = is_simulated or row.is_simulated
    return Basis(len(turns), len({conversation for conversation, _ in turns}), is_simulated)


def counted(number: int, noun: str) -> str:
    """Return a number and its noun: `1 turn`, `2 turns`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
