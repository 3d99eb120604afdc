"""Figures and verdicts of a sweep in words, for people."""

from turnwise.tune.statistics.bootstrap import Interval
from turnwise.tune.statistics.power import Needed

__all__ = ["counted", "interval_in_words", "needed_in_words"]


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, `1 turn` or `3 turns`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def interval_in_words(found: Interval, unit: str = "") -> str:
    """Return a mean with its interval, `8 calls a turn (7.5 to 8.5)`, or with why there is none.

    Args:
        found: the interval.
        unit: of the figure; may be empty.
    """
    if found.mean is None:
        return "not known"
    what = f"{found.mean:.3g} {unit}".rstrip()
    if found.low is None or found.high is None:
        return f"{what} (no interval: {found.why_none})"
    if found.low == found.high:
        return f"{what} in every conversation"
    return f"{what} ({found.low:.3g} to {found.high:.3g})"


def needed_in_words(setting: str, needed: Needed) -> str:
    """Return what a verdict on a setting would take."""
    if needed.more_conversations is None or needed.more_turns is None:
        return f"no verdict on {setting} is in sight: {needed.why_none}"
    if needed.more_conversations == 0:
        return f"the conversations there are should nearly do for a verdict on {setting}"
    more = counted(needed.more_conversations, "more conversation")
    return (
        f"if what is seen goes on, {more} ({counted(needed.more_turns, 'turn')}) would show "
        f"{setting} to be {needed.verdict} with a chance of {needed.chance:.0%}"
    )
