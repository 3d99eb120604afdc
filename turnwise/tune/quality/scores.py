"""One score of one reply, whoever gave it.

Every source of quality (a referee, people, a known truth) gives the same records, so that
they can stand in one table and be held against each other. The same text on the same turn
is one reply: it is judged once, and every setting that gives it shares the score.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from turnwise.tune.row import ReplyKey

__all__ = ["Order", "Score", "ScoreKey", "ScoreKind", "in_order"]

ScoreKind = Literal["pointwise", "pairwise", "label", "truth"]
"""How a score came about: a mark for one reply, a comparison, a person's, or known."""

Order = Literal["", "first", "second"]
"""Where the reply stood when two were compared; empty where nothing was shown beside it."""

ScoreKey = tuple[str, str, int, str, str, str, int, str]
"""What tells two scores apart; see `Score.key`."""


@dataclass(frozen=True, slots=True)
class Score:
    """One look at one reply.

    Args:
        by: who scored: `referee:<model>`, `human:<file>`, `truth:simulated`, `truth:<file>`.
        conversation: the conversation's id. Untrusted.
        turn: its number there. Starts at 0.
        reply_id: see `reply_id`.
        value: in the unit of the scale; higher is better. Finite.
        scale_low: the worst value that the source usually gives.
        scale_high: the best one; above `scale_low`.
        repeat: which look of this source at this reply. Starts at 0. For labels, which rater.
        order: where the reply stood; set for pairwise scores that were asked for.
        kind: how it came about.
        against: for pairwise scores the id of the reply that it was compared with.

    Raises:
        ValueError: for a value that is not finite, a scale without width, or a count below 0.
    """

    by: str
    conversation: str
    turn: int
    reply_id: str
    value: float
    scale_low: float
    scale_high: float
    repeat: int = 0
    order: Order = ""
    kind: ScoreKind = "pointwise"
    against: str = ""

    def __post_init__(self) -> None:
        """Hold what every reader of scores relies on."""
        if not math.isfinite(self.value):
            raise ValueError(f"a score is a finite number, got {self.value}")
        width = self.scale_high - self.scale_low
        if not (math.isfinite(width) and width > 0):
            raise ValueError(
                f"a scale runs from its low to its high end, got {self.scale_low:g} to "
                f"{self.scale_high:g}"
            )
        if self.turn < 0 or self.repeat < 0:
            raise ValueError(f"turn and repeat start at 0, got {self.turn} and {self.repeat}")

    @property
    def reply_key(self) -> ReplyKey:
        """Which reply it is about."""
        return self.conversation, self.turn, self.reply_id

    @property
    def key(self) -> ScoreKey:
        """What tells it apart from every other score; its place in a sorted table."""
        return (
            self.by,
            self.conversation,
            self.turn,
            self.reply_id,
            self.kind,
            self.against,
            self.repeat,
            self.order,
        )


def in_order(scores: Iterable[Score]) -> list[Score]:
    """Return the scores sorted by key; of two with one key the later one only."""
    latest = {score.key: score for score in scores}
    return [latest[key] for key in sorted(latest)]
