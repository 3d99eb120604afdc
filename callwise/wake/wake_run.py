"""A run of awake agents: the hours, the lines of people, and the deliveries, on one clock.

On a loop of virtual time (`callwise.budget.virtual_time`) a day of simulated models takes seconds,
and gives the same bytes each time.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from callwise.budget.budgeter import Budgeter
from callwise.budget.clock import Clock, Timer
from callwise.calls.errors import CallwiseError, ConfigError
from callwise.memory.memory_errors import StoreLocked
from callwise.wake.agent_memory import AgentMemory
from callwise.wake.hours import log_failure, run_hours, slot_of
from callwise.wake.moments import Moment, deliver_until
from callwise.wake.rooms import RoomMessage
from callwise.wake.scripted_lines import in_order, say_lines
from callwise.wake.service import WakeService
from callwise.wake.store import WakeStore
from callwise.wake.wake_report import WakeReport
from callwise.wake.wake_settings import WakeSettings

__all__ = ["LiveChat", "WakeListener", "run_wakes"]

MOST_EARLY = 24
"""Most hours ahead of the present one that are woken early."""

LEASE_SECONDS = 60.0
"""Time after which an hour whose process gives no sign of life is woken again by another one."""

RENEW_SECONDS = 15.0
"""Time between two signs of life, and between two checks for them."""

LOCKED_SECONDS = 1.0
"""Time between two attempts to deliver while another process locks the store."""

_LOGGER = logging.getLogger(__name__)


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
        self._store, self._on_message, self._is_locked = store, on_message, False
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
        """Deliver until it is cancelled; while another process locks the store, try again."""
        while True:
            self._may_be_due.clear()
            due_at: float | None
            try:
                with self._store.hurried():
                    due_at = self._deliver()
            except StoreLocked as error:
                if not self._is_locked:
                    _LOGGER.warning("messages wait: %s Trying again", error)
                self._is_locked, due_at = True, self._wall() + LOCKED_SECONDS
            else:
                self._is_locked = False
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

    def _deliver(self) -> float | None:
        """Deliver what is due, show what is new, and return when the next message is due."""
        deliver_until(self._rooms, self._wall())
        for message in self._rooms.messages(self._room, after=self._sequence):
            self._sequence = message.sequence
            self._on_message(message)
        return self._rooms.next_due()


class LiveChat:
    """The chat of a run while it goes on: people write, and hours are woken by hand.

    An hour is leased while it is awake: another process wakes it again only where this one has
    died, or has given it up.

    Args:
        notice: called when the outbox or the chat may have something new.
        clock: on which the lease is renewed.
        room: whose hours are claimed.
        moment: returns the time of a named event; see `moments`.
    """

    def __init__(
        self,
        service: WakeService,
        store: WakeStore,
        listener: WakeListener,
        *,
        notice: Callable[[], None],
        clock: Clock,
        wall: Callable[[], float],
        every_seconds: float,
        room: str,
        moment: Moment | None = None,
    ) -> None:
        self._clock, self._room, self._moment = clock, room, moment
        self._service, self._store, self._listener = service, store, listener
        self._notice, self._wall, self._every_seconds = notice, wall, every_seconds
        self._under_way = 0
        self._is_at_rest = asyncio.Event()
        self._is_at_rest.set()

    def claim(self, slot: int) -> bool:
        """Claim an hour by the time at which it begins, in whole seconds, and lease it.

        Returns:
            False where it was claimed before, by any process.

        Raises:
            StoreFailed: when the store cannot be written.
        """
        until = self._wall() + LEASE_SECONDS
        return self._store.claims.claim_slot(self._room, slot, until=until)

    def is_under_way(self, at: float) -> bool:
        """Return whether an hour was claimed, by any process, and its work has not ended.

        Raises:
            StoreFailed: when the store cannot be read.
        """
        return self._store.claims.leased_until(self._room, math.floor(at)) is not None

    async def wake_again(self, at: float) -> None:
        """Wake an hour that was claimed before, if its lease ends before its work.

        Returns once its work has ended, or the hour has.

        Raises:
            StoreFailed: when the store cannot be read or written.
        """
        number, slot = slot_of(at, self._every_seconds), math.floor(at)
        claims = self._store.claims
        while (until := claims.leased_until(self._room, slot)) is not None:
            now = self._wall()
            if slot_of(now, self._every_seconds) != number:
                return
            if claims.lease_slot(self._room, slot, now + LEASE_SECONDS, after=now):
                if self._moment is not None:
                    await self._moment(f"again:{number}")
                await self.wake(at)
                return
            await self._clock.sleep(min(max(until - now, 1.0), RENEW_SECONDS))

    async def wake(self, at: float) -> WakeReport:
        """Wake one hour, claimed or not; see `WakeService.wake`."""
        with self._counted(), self._leased(math.floor(at)) as finish:
            report = await self._service.wake(at)
            if all(each.outcome != "failed" for each in report.replies):
                finish()
            self._listener.on_wake(report)
            return report

    async def at_rest(self) -> None:
        """Return once no hour is awake and no message is being answered."""
        await self._is_at_rest.wait()

    def check_log(self) -> None:
        """Deliver what is due, and show what other processes have put into the log."""
        self._notice()

    @contextmanager
    def _leased(self, slot: int) -> Iterator[Callable[[], None]]:
        """Renew the lease of an hour. At the end any process may take it, unless it is finished."""
        timers: list[Timer] = []

        def renew() -> None:
            with self._store.hurried():
                self._lease(slot, self._wall() + LEASE_SECONDS)
            begin()

        def begin() -> None:
            timers[:] = [self._clock.call_at(self._clock.now() + RENEW_SECONDS, renew)]

        begin()
        until: float | None = 0.0

        def finish() -> None:
            nonlocal until
            until = None

        try:
            yield finish
        finally:
            timers[0].cancel()
            self._lease(slot, until)

    def _lease(self, slot: int, until: float | None) -> None:
        try:
            self._store.claims.lease_slot(self._room, slot, until)
        except CallwiseError:
            _LOGGER.exception("the lease of hour %d is not kept: it may be woken again", slot)

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
        present = slot_of(self._wall(), self._every_seconds)
        for slot in range(present, present + MOST_EARLY + 1):
            at = slot * self._every_seconds
            if self.claim(math.floor(at)):
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
        is_scripted: bool = False,
        on_said: Callable[[RoomMessage], None] | None = None,
    ) -> WakeReport | None:
        """Add a person's message, and return once it is answered; see `WakeService.say`."""

        def said(message: RoomMessage) -> None:
            self._notice()
            if on_said is not None:
                on_said(message)

        with self._counted():
            report = await self._service.say(
                author, text, id=id, to=to, is_scripted=is_scripted, on_said=said
            )
            if report is not None:
                self._listener.on_wake(report)
            return report


class _Watch:
    """Watches hours that other processes have claimed, and wakes them again where those die."""

    def __init__(
        self, chat: LiveChat, tasks: asyncio.TaskGroup, wall: Callable[[], float], every: float
    ) -> None:
        self._chat, self._tasks, self._wall, self._every_seconds = chat, tasks, wall, every
        self._watching: set[asyncio.Task[None]] = set()

    def claim(self, slot: int) -> bool:
        """Claim an hour, or watch it; see `LiveChat.claim`."""
        is_claimed = self._chat.claim(slot)
        if not is_claimed:
            self.begin(self._wall())
        return is_claimed

    def begin(self, now: float) -> None:
        """Watch the present hour, where another process has claimed it."""
        at = slot_of(now, self._every_seconds) * self._every_seconds
        if not self._chat.is_under_way(at):
            return
        task = self._tasks.create_task(self._watched(at))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    def end(self) -> None:
        """Watch no hour any more."""
        for task in self._watching:
            task.cancel()

    async def _watched(self, at: float) -> None:
        try:
            await self._chat.wake_again(at)
        except Exception as error:  # noqa: BLE001 - the next hour still comes
            log_failure(at, error)


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

    An hour that another process has left unfinished is woken again while it lasts, once its lease
    has ended: agents whose messages are there are not asked again.

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
        clock=clock,
        wall=wall,
        every_seconds=knobs.every_seconds,
        room=knobs.room,
        moment=moment,
    )

    async def wake(at: float) -> None:
        await chat.wake(at)

    start = wall() if moment is None else await moment("start")
    lines = in_order(settings.messages)
    if count is not None:
        lines = [line for line in lines if line.after_seconds < count * knobs.every_seconds]
    try:
        async with asyncio.TaskGroup() as tasks:
            delivering = tasks.create_task(delivery.run())
            talking = tasks.create_task(say_lines(chat, lines, start, clock, room=knobs.room))
            if on_start is not None:
                on_start(chat)
            watch = _Watch(chat, tasks, wall, knobs.every_seconds)
            watch.begin(start)
            woken = await run_hours(
                wake,
                clock=clock,
                wall=wall,
                claim=watch.claim,
                every_seconds=knobs.every_seconds,
                missed=knobs.missed,
                count=count,
                after=start - knobs.every_seconds if is_first_now else None,
            )
            await talking
            await chat.at_rest()
            await delivery.emptied()
            watch.end()
            delivering.cancel()
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    return woken
