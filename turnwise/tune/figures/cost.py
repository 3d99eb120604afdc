"""What quality is held against: calls, tokens, USD or rounds."""

from enum import StrEnum

from turnwise.tune.row import TurnRow

__all__ = ["Cost"]


class Cost(StrEnum):
    """One cost of a turn."""

    CALLS = "calls"
    TOKENS = "tokens"
    USD = "usd"
    ROUNDS = "rounds"

    @property
    def noun(self) -> str:
        """Its unit, as it is written."""
        return "USD" if self is Cost.USD else self.value

    @property
    def label(self) -> str:
        """Its axis, with the unit."""
        return "rounds to the reply" if self is Cost.ROUNDS else f"{self.noun} per turn"

    @property
    def digits(self) -> int:
        """How many digits after the point are worth reading."""
        return {Cost.TOKENS: 0, Cost.USD: 5}.get(self, 2)

    def of(self, row: TurnRow) -> float | None:
        """Return what a turn cost; None where it is not known, which is not 0."""
        if self is Cost.CALLS:
            return row.asked
        if self is Cost.TOKENS:
            return row.input_tokens + row.output_tokens
        return row.usd if self is Cost.USD else row.rounds_reply
