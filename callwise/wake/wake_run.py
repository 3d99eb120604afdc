"""A run of awake agents: the hours, the lines of people, and the deliveries, on one clock.

On a loop of virtual time (`callwise.budget.virtual_time`) a day of simulated models takes seconds,
and gives the same bytes each time.
"""

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from callwise.budget.budgeter import Budgeter
from callwise.budget.clock import Clock
from callwise.calls.errors import ConfigError
from callwise.wake.agent_memory import AgentMemory
from callwise.wake.hours import run_hours
from callwise.wake.moments import Moment, deliver_until
from callwise.wake.rooms import RoomMessage
from callwise.wake.service import WakeService
from callwise.wake.store import WakeStore
from callwise.wake.wake_report import WakeReport
from callwise.wake.wake_settings import SaidLine, WakeSettings

__all__ = ["LiveChat", "WakeListener", "run_wakes"]

MOST_EARLY = 24
"""Most hours ahead of the present one that are woken early."""


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


class LiveChat:
    """The chat of a run while it goes on: people write, and hours are woken by hand.

    Args:
        notice: called when the outbox or the chat may have something new.
    """

    def __init__(
        self,
        service: WakeService,
        store: WakeStore,
        listener: WakeListener,
        *,
        notice: Callable[[], None],
        wall: Callable[[], float],
        every_seconds: float,
    ) -> None:
        self._service, self._store, self._listener = service, store, listener
        self._notice, self._wall, self._every_seconds = notice, wall, every_seconds
        self._under_way = 0
        self._is_at_rest = asyncio.Event()
        self._is_at_rest.set()

    async def wake(self, at: float) -> WakeReport:
        """Wake one hour; see `WakeService.wake`."""
        with self._counted():
            report = await self._service.wake(at)
            self._listener.on_wake(report)
            return report

    async def at_rest(self) -> None:
        """Return once no hour is awake and no message is being answered."""
        await self._is_at_rest.wait()

    def check_log(self) -> None:
        """Deliver what is due, and show what other processes have put into the log."""
        self._notice()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._under_way += 1
        self._is_at_rest.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._is_at_rest.set()

    async def wake_early(self) -> WakeReport:
        """Wake the present hour; where it was woken, the next one that was not, before its time.

        Raises:
            ConfigError: when all hours were woken that may be.
            StoreFailed: when the store cannot be read or written.
        """
        present = math.floor(self._wall() / self._every_seconds)
        for slot in range(present, present + MOST_EARLY + 1):
            at = slot * self._every_seconds
            if self._store.claims.claim_slot(math.floor(at)):
                return await self.wake(at)
        raise ConfigError(
            f"the next {MOST_EARLY} hours were woken already. Wait for the first that was not"
        )

    async def say(
        self,
        author: str,
        text: str,
        *,
        id: str,  # noqa: A002
        to: str = "",
        on_said: Callable[[RoomMessage], None] | None = None,
    ) -> WakeReport | None:
        """Add a person's message, and return once it is answered; see `WakeService.say`."""

        def said(message: RoomMessage) -> None:
            self._notice()
            if on_said is not None:
                on_said(message)

        with self._counted():
            report = await self._service.say(author, text, id=id, to=to, on_said=said)
            if report is not None:
                self._listener.on_wake(report)
            return report


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
    on_start: Callable[[LiveChat], None] | None = None,
    moment: Moment | None = None,
    memory: AgentMemory | None = None,
) -> int:
    """Wake the agents each hour, while people write and messages come at their time.

    An hour that an earlier process has left unfinished is woken again while it lasts: agents
    whose messages are there are not asked again.

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
        on_start: called on the running loop with the chat, before the first wake.
        moment: returns the time of a named event, after `wall` by default; see `moments`.
        memory: that of `settings.memory`, or another one; None for the notes of the store. Not
            owned.

    Returns:
        The number of wakes.

    Raises:
        ConfigError: when the settings name a memory and none is given, or one is given with
            `wake.retrieval=both`.
        StoreFailed: when the store cannot be read or written.
    """
    knobs = settings.wake
    settings.memory.check_given(memory)
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
        memory=memory,
    )

    chat = LiveChat(
        service,
        store,
        listener,
        notice=delivery.notice,
        wall=wall,
        every_seconds=knobs.every_seconds,
    )

    async def wake(at: float) -> None:
        await chat.wake(at)

    async def people() -> None:
        began = clock.now()
        async with asyncio.TaskGroup() as answers:
            for number, line in enumerate(sorted(lines, key=lambda each: each.after_seconds)):
                await clock.sleep(began + line.after_seconds - clock.now())
                answers.create_task(
                    chat.say(line.author, line.text, id=f"{start:.0f}.{number}", to=line.to)
                )

    start = wall() if moment is None else await moment("start")
    lines: Sequence[SaidLine] = settings.messages
    if count is not None:
        lines = [line for line in lines if line.after_seconds < count * knobs.every_seconds]
    try:
        async with asyncio.TaskGroup() as tasks:
            delivering = tasks.create_task(delivery.run())
            talking = tasks.create_task(people())
            if on_start is not None:
                on_start(chat)
            present = math.floor(start / knobs.every_seconds) * knobs.every_seconds
            if service.is_unfinished(present):  # an earlier process has ended in the middle of it
                await chat.wake(present)
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
