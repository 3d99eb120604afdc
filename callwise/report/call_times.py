"""Start and end of a run's calls in seconds, placed by their rounds.

Rounds and durations are recorded. Where a call starts in seconds is not: it is placed after what
ended in the round before, after its own node's call where there is one. The timeline of the report
page does the same in `assets/timeline.js`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from callwise.report.run_record import CallLine

__all__ = ["PlacedCall", "place_calls"]


class PlacedCall(NamedTuple):
    """One call of a turn, in seconds from the turn's start."""

    call: CallLine
    start: float
    end: float


def place_calls(calls: Sequence[CallLine], seconds: Sequence[float]) -> list[PlacedCall]:
    """Return the calls of one turn with their times, in the given order.

    Args:
        seconds: what each adds to the turn's path.
    """
    ends = [call.end_round if call.end_round is not None else n + 1 for n, call in enumerate(calls)]
    starts = [max(0, end - (not call.is_refused)) for call, end in zip(calls, ends, strict=True)]
    placed: dict[int, PlacedCall] = {}
    by_end: dict[int, list[int]] = {}
    for n in sorted(range(len(calls)), key=lambda n: (starts[n], ends[n], n)):
        before = by_end.get(starts[n], ())
        own = [each for each in before if calls[each].node == calls[n].node]
        start = max((placed[each].end for each in own or before), default=0.0)
        placed[n] = PlacedCall(calls[n], start, start + seconds[n])
        if starts[n] < ends[n]:
            by_end.setdefault(ends[n], []).append(n)
    return [placed[n] for n in range(len(calls))]
