"""Moments: the times of the events that decide what the prompts of a run contain.

Problem: a prompt has the chat as it was when an hour began or a message came, and agents' notes as
they were when it was asked. On models that take their time, that depends on the time of each
answer, so a replay whose answers come immediately would ask other prompts.
Choice: a run asks one function for the time of each such event, by a name. It returns the present;
while recording, it notes that as well; in a replay it returns the noted time once that has come on
the replay's own clock, events of equal times in their recorded order. What a stopped run had begun
and not ended begins again, comes as far as it had come, and stays there: others have read it.
Rejected: waiting for each answer as long as it took. Times then differ by the work in between.

The events: `start` of a run; `again:SLOT`, when an hour of a process that has died is taken over;
`wake:SLOT` and `say:ID`, when an hour or a person's message begins;
`ask:KEY`, when its agents are known; `recall:KEY`, when their notes are read; `reply:MESSAGE`,
when one has answered; `facts:MESSAGE`, when what its agent remembers of it is noted; `end:KEY`.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import NoReturn

from callwise.budget.clock import Clock
from callwise.calls.errors import CassetteMiss
from callwise.safe_text import shown
from callwise.wake.rooms import Rooms

__all__ = [
    "APART_SECONDS",
    "Moment",
    "deliver_until",
    "noted_moments",
    "replayed_moments",
    "share_of",
    "stay_for_ever",
]

Moment = Callable[[str], Awaitable[float]]
"""Returns the time of an event in UTC epoch seconds, by the event's name."""

ON_TIME_SECONDS = 60.0
"""A message that is delivered within this time came when it was due; a later one, only then."""

APART_SECONDS = 1e-9
"""Time on the clock between two events of a replay that were recorded at the same time."""


def deliver_until(rooms: Rooms, now: float, *, limit: int | None = None) -> int:
    """Take what is due from the outbox into the log, with times that depend on no timer.

    Args:
        now: the time, in UTC epoch seconds.
        limit: how many messages at most; None for all.

    Returns:
        The number of messages.

    Raises:
        StoreFailed: when the file cannot be written.
    """
    return len(rooms.deliver_due(now, on_time_seconds=ON_TIME_SECONDS, limit=limit))


def noted_moments(wall: Callable[[], float], note: Callable[[str, float], object]) -> Moment:
    """Return a function that returns the present, and notes it under the event's name."""

    async def moment(name: str) -> float:
        at = wall()
        note(name, at)
        return at

    return moment


def replayed_moments(
    times: Mapping[str, float],
    *,
    clock: Clock,
    on_miss: Callable[[CassetteMiss], object],
    unended: Collection[str] = (),
    on_passed: Callable[[str], object] = str,
) -> Moment:
    """Return a function that returns the recorded time of an event, once it has come.

    Args:
        times: of all events, in their order; the first is now.
        clock: waits; best on a loop of virtual time.
        on_miss: called with the error of an event that is not among them, before it is raised.
        unended: keys of the hours and messages that had begun and not ended when the run was
            stopped. An event of theirs that is not among the times never comes.
        on_passed: called with the name of each event that comes.
    """
    places = {name: place for place, name in enumerate(times)}
    began, first = clock.now(), next(iter(times.values()), 0.0)

    async def moment(name: str) -> float:
        at = times.get(name)
        if at is None:
            if _key_of(name) in unended:
                await stay_for_ever()
            miss = CassetteMiss(
                f"the recording has no event {shown(name)[:120]!r}: it was made with other agents, "
                "messages or knobs, or ended before"
            )
            on_miss(miss)
            raise miss
        due = began + (at - first) + places[name] * APART_SECONDS
        if due > clock.now():
            await clock.sleep(due - clock.now())
        on_passed(name)
        return at

    return moment


async def stay_for_ever() -> NoReturn:
    """Wait until it is cancelled.

    Raises:
        CancelledError: when it is.
    """
    while True:
        await asyncio.get_running_loop().create_future()


def _key_of(name: str) -> str:
    """Return the key of the hour or message that an event is of; see the list of events above."""
    parts = name.split(":")
    return parts[-2] if parts[0] in ("reply", "facts") else parts[-1]


def share_of(seed: int, name: str) -> float:
    """Return a number in [0, 1) that the seed and the name decide."""
    digest = hashlib.blake2b(f"{seed}\n{name}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48
