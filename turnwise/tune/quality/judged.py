"""What came of judging: the scores, what has none and why, and what it cost."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from turnwise.budget.tally import Counts
from turnwise.calls.errors import CallError
from turnwise.safe_text import printable
from turnwise.tune.quality.scores import ReplyKey, Score

__all__ = ["Judged", "Loss", "Losses"]

MAX_ERROR_CHARS = 200


class Loss(StrEnum):
    """Why a look gave no score."""

    PAST_BUDGET = "past the budget"
    """Not asked, or refused: there was no room for it. The next run goes on with it."""
    FAILED = "failed"
    """The endpoint failed or declined. The next run asks again."""
    UNREADABLE = "unreadable"
    """An answer came, and its repair, and neither fits. They stand in the recording."""
    STOPPED = "not asked"
    """A fatal error had come before it."""
    NOT_JUDGEABLE = "not judgeable"
    """There is nothing to hold the reply against."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of judging some replies.

    Args:
        by: the name that the scores bear.
        scores: one a question answered, in the order of the looks.
        replies: different replies that were to be judged.
        unscored: those of them without any score.
        losses: looks without a score, by why.
        counts: what the ledger says of this judging.
        notices: what a person should know, in words.
        lost: that of them which counts the looks without a score; empty where all have one.
        is_simulated: whether a simulated model gave any answer.
        stopped_by: the fatal error that ended it early, or None.
    """

    by: str
    scores: tuple[Score, ...]
    replies: int
    unscored: tuple[ReplyKey, ...]
    losses: Mapping[Loss, int]
    counts: Counts
    notices: tuple[str, ...]
    is_simulated: bool
    stopped_by: CallError | None = None
    lost: str = ""

    def raise_if_stopped(self) -> None:
        """Raise the fatal error, for those who have kept the scores.

        Raises:
            CallError: the one that ended the judging.
        """
        if self.stopped_by is not None:
            raise self.stopped_by


class Losses:
    """Counts looks without a score, and remembers the first error of each kind."""

    def __init__(self) -> None:
        self.counts: Counter[Loss] = Counter()
        self._first_error: dict[Loss, CallError] = {}
        self._settled: Counter[str] = Counter()

    def add(self, loss: Loss, error: CallError | None = None) -> None:
        """Count one look."""
        self.counts[loss] += 1
        if error is not None:
            self._first_error.setdefault(loss, error)

    def settle(self, why: str) -> None:
        """Count one look that needed no call."""
        self._settled[why] += 1

    def settled_sentences(self) -> list[str]:
        """Return what to say of the looks that needed no call."""
        return [f"{count} looks unasked: {why}" for why, count in sorted(self._settled.items())]

    def lost_sentence(self, look_count: int, reply_count: int, unscored_count: int) -> str:
        """Return what to say of the looks without a score; nothing when every look has one."""
        if not self.counts:
            return ""
        parts = [self._part(loss) for loss in Loss if self.counts[loss]]
        return (
            f"{self.counts.total()} of {look_count} looks gave no score: {'; '.join(parts)}. "
            f"{unscored_count} of {reply_count} replies have none at all"
        )

    def _part(self, loss: Loss) -> str:
        part = f"{self.counts[loss]} {loss}"
        error = self._first_error.get(loss)
        if error is None:
            return part
        text = printable(str(error)[:MAX_ERROR_CHARS])
        return f"{part} (the first with {type(error).__name__}: {text})"
