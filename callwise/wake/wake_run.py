"""A run of awake agents: the hours, the lines of people, and the deliveries, on one clock.

On a loop of virtual time (`callwise.budget.virtual_time`) a day of simulated models takes seconds,
and gives the same bytes each time.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from callwise.budget.budgeter import Budgeter
from callwise.budget.clock import Clock
from callwise.wake.hours import run_hours
from callwise.wake.moments import Moment, deliver_until
from callwise.wake.rooms import RoomMessage
from callwise.wake.service import WakeService
from callwise.wake.store import WakeStore
from callwise.wake.wake_report import WakeReport
from callwise.wake.wake_settings import SaidLine, WakeSettings

__all__ = ["WakeListener", "run_wakes"]


class WakeListener(Protocol):
    """Receives what happens in a run."""

    def on_message(self, message: RoomMessage) -> None:
        """See a message that has just come into the chat."""

    def on_wake(self, report: WakeReport) -> None:
        """See the report of an hour, or of a message that addressed agents."""


class _Delivery:
    """Brings messages from the outbox into the chat, each at its time, and shows what is new."""

    def __init__(
        self,
        store: WakeStore,
        room: str,
        clock: Clock,
        wall: Callable[[], float],
        on_message: Callable[[RoomMessage], None],
    ) -> None:
        self._rooms, self._room, self._clock, self._wall = store.rooms, room, clock, wall
        self._on_message = on_message
        known = store.rooms.messages(room, limit=1, newest=True)
        self._sequence = known[0].sequence if known else 0
        self._may_be_due = asyncio.Event()
        self._is_empty = asyncio.Event()

    def notice(self) -> None:
        """Check when the next message is due: one was published."""
        self._is_empty.clear()
        self._may_be_due.set()

    async def emptied(self) -> None:
        """Return once nothing waits for its time."""
        await self._is_empty.wait()

    async def run(self) -> None:
        """Deliver until it is cancelled."""
        while True:
            self._may_be_due.clear()
            deliver_until(self._rooms, self._wall())
            for message in self._rooms.messages(self._room, after=self._sequence):
                self._sequence = message.sequence
                self._on_message(message)
            due_at = self._rooms.next_due()
            if due_at is None:
                self._is_empty.set()
                await self._may_be_due.wait()
                continue
            when = self._clock.now() + max(due_at - self._wall(), 0.0)
            timer = self._clock.call_at(when, self._may_be_due.set)
            try:
                await self._may_be_due.wait()
            finally:
                timer.cancel()


async def run_wakes(
    settings: WakeSettings,
    store: WakeStore,
    budgeter: Budgeter,
    listener: WakeListener,
    *,
    clock: Clock,
    wall: Callable[[], float],
    count: int | None = None,
    is_first_now: bool = False,
    moment: Moment | None = None,
) -> int:
    """Wake the agents each hour, while people write and messages come at their time.

    Args:
        store: not owned.
        budgeter: has the endpoints of `settings.served_by` and the load of `settings.wake.load`.
            Not owned.
        listener: called on the running loop; it must not block.
        clock: on which everything waits.
        wall: returns the time in UTC epoch seconds.
        count: wakes after which it ends, once all their messages have come; None goes on until
            it is cancelled.
        is_first_now: wake immediately for the present hour, where no process has woken it.
        moment: returns the time of a named event, after `wall` by default; see `moments`.

    Returns:
        The number of wakes.

    Raises:
        StoreFailed: when the store cannot be read or written.
    """
    knobs = settings.wake
    delivery = _Delivery(store, knobs.room, clock, wall, listener.on_message)
    service = WakeService(
        settings.agents,
        store,
        budgeter,
        knobs,
        wall=wall,
        limits=settings.limits,
        on_published=delivery.notice,
        moment=moment,
    )

    async def wake(at: float) -> None:
        listener.on_wake(await service.wake(at))

    async def people() -> None:
        began = clock.now()
        async with asyncio.TaskGroup() as answers:
            for number, line in enumerate(sorted(lines, key=lambda each: each.after_seconds)):
                await clock.sleep(began + line.after_seconds - clock.now())
                answers.create_task(say(line, f"{start:.0f}.{number}"))

    async def say(line: SaidLine, message_id: str) -> None:
        report = await service.say(line.author, line.text, id=message_id, to=line.to)
        delivery.notice()
        if report is not None:
            listener.on_wake(report)

    start = wall() if moment is None else await moment("start")
    lines: Sequence[SaidLine] = settings.messages
    if count is not None:
        lines = [line for line in lines if line.after_seconds < count * knobs.every_seconds]
    try:
        async with asyncio.TaskGroup() as tasks:
            delivering = tasks.create_task(delivery.run())
            talking = tasks.create_task(people())
            woken = await run_hours(
                wake,
                clock=clock,
                wall=wall,
                claim=store.claims.claim_slot,
                every_seconds=knobs.every_seconds,
                missed=knobs.missed,
                count=count,
                after=start - knobs.every_seconds if is_first_now else None,
            )
            await talking
            await delivery.emptied()
            delivering.cancel()
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    return woken
