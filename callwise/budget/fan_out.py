"""Several calls in one round.

Calls start in order, at most so many concurrently; the next one starts as soon as a place
is free. On the path they start together, and with a width of w the i-th starts i // w
rounds later: structure decides, not which of them happened to end first.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Sequence

from callwise.budget.critical_path import CriticalPathPoint, CriticalPathTrack, scheduled_seconds
from callwise.budget.scope import Scope
from callwise.calls.call import Call
from callwise.calls.errors import CallError
from callwise.calls.reply import Reply

__all__ = ["fan_out"]

AskOne = Callable[[Call, CriticalPathTrack], Awaitable[Reply]]


class _FanOut:
    """One `fan_out` under way."""

    def __init__(
        self, calls: Sequence[Call], ask: AskOne, start: CriticalPathPoint, width: int
    ) -> None:
        self._calls = calls
        self._ask = ask
        self._start = start
        self._width = width
        self._indexes = iter(range(len(calls)))
        self._freed_at_seconds: list[float] = []
        self._must_stop = False
        self.tracks: list[CriticalPathTrack] = []
        self.results: list[Reply | Exception | None] = [None] * len(calls)

    async def work(self) -> None:
        """Ask one call after the other, until none is left or going on makes no sense."""
        for index in self._indexes:
            track = CriticalPathTrack(self._start_of(index))
            self.tracks.append(track)
            try:
                self.results[index] = await self._ask(self._calls[index], track)
            except Exception as error:  # noqa: BLE001 - raised or returned once all have ended
                self.results[index] = error
                if not isinstance(error, CallError) or error.is_fatal:
                    self._must_stop = True
            heapq.heappush(self._freed_at_seconds, track.position.seconds)
            if self._must_stop:
                return

    def end(self) -> CriticalPathPoint:
        """Return where on the path everything that was started has ended."""
        durations = [track.position.seconds - track.start.seconds for track in self.tracks]
        seconds = scheduled_seconds(durations, max_concurrency=self._width)
        # A refused call was not waited for, whichever round it would have started in.
        rounds = [
            track.position.round
            for track in self.tracks
            if track.position.round > track.start.round
        ]
        return CriticalPathPoint(
            max(rounds, default=self._start.round), self._start.seconds + seconds
        )

    def _start_of(self, index: int) -> CriticalPathPoint:
        waited = index >= self._width and bool(self._freed_at_seconds)
        seconds = heapq.heappop(self._freed_at_seconds) if waited else self._start.seconds
        return CriticalPathPoint(self._start.round + index // self._width, seconds)


async def fan_out(
    calls: Sequence[Call], ask: AskOne, scope: Scope, *, max_concurrency: int | None
) -> list[Reply | CallError]:
    """Ask several calls in one round, and return each one's reply or error in order.

    After a fatal error no further call is started.

    Args:
        calls: all asked in `scope`.
        max_concurrency: most of them under way; at least 1; None for all.

    Raises:
        ValueError: when `max_concurrency` is below 1.
        CallError: the first fatal one in the order of `calls`, once all have ended.
        Exception: the first that is no `CallError`, likewise.
    """
    if max_concurrency is not None and max_concurrency < 1:
        raise ValueError(f"max_concurrency is at least 1, got {max_concurrency}")
    if not calls:
        return []
    width = min(max_concurrency or len(calls), len(calls))
    under_way = _FanOut(calls, ask, scope.position, width)
    try:
        if width == 1:
            await under_way.work()
        else:
            # Every worker ends before this does, also when it is cancelled.
            ends = await asyncio.gather(
                *(under_way.work() for _ in range(width)), return_exceptions=True
            )
            for end in ends:
                if end is not None:
                    raise end
    finally:
        scope.advance_to(under_way.end())
    answers: list[Reply | CallError] = []
    for result in under_way.results:
        if isinstance(result, CallError) and not result.is_fatal:
            answers.append(result)
        elif isinstance(result, Exception):
            raise result
        elif result is not None:
            answers.append(result)
    return answers
