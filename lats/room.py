"""How much room the driver has for the next round, as far as it knows."""

from dataclasses import dataclass

__all__ = ["Room"]


@dataclass(frozen=True, slots=True)
class Room:
    """Calls that would still be accepted. `None` means that nothing limits them.

    Args:
        max_calls: in all.
        max_proposer_calls: calls of the proposing model.
        max_judge_calls: calls of the judging model.
        is_late: whether the time for searching is over. Then nothing fits.
    """

    max_calls: int | None = None
    max_proposer_calls: int | None = None
    max_judge_calls: int | None = None
    is_late: bool = False

    def fits(self, *, proposer: int = 0, judge: int = 0) -> bool:
        """Return whether that many calls fit."""
        pairs = (
            (self.max_calls, proposer + judge),
            (self.max_proposer_calls, proposer),
            (self.max_judge_calls, judge),
        )
        if self.is_late and proposer + judge > 0:
            return False
        return all(limit is None or wanted <= limit for limit, wanted in pairs)
