"""One room that is awake: the loop of hours, the people who write, and the end in order."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from callwise.budget.budgeter import Budgeter
from callwise.budget.clock import LoopClock
from callwise.budget.layers.cache import MemoryCache
from callwise.budget.ledger_row import LedgerRow
from callwise.budget.run_gate import Drained
from callwise.calls.client import Endpoint
from callwise.calls.errors import CallwiseError, ConfigError
from callwise.serve.acknowledgements import Acknowledgements
from callwise.serve.live_costs import LiveCosts
from callwise.serve.reply_feedback import ReplyFeedback
from callwise.serve.room_feed import STALL_SECONDS, RoomFeed
from callwise.wake.agent_memory import AgentMemory
from callwise.wake.rooms import MAX_KEPT_CLIENTS, RoomMessage
from callwise.wake.store import WakeStore
from callwise.wake.wake_report import WakeReport, one_line
from callwise.wake.wake_run import LiveChat, run_wakes
from callwise.wake.wake_settings import WakeSettings

__all__ = ["Busy", "NotReady", "RoomHost"]

_LOGGER = logging.getLogger(__name__)

MAX_ANSWERED = 64
"""Most messages that are being answered; further ones are refused."""

REST_SECONDS = 0.3
"""Time after a drain in which ended calls become messages."""

LOCKED_SECONDS = 0.01
"""Longest wait for the store at the end, where it was locked before: for each message's credits."""

POLL_SECONDS = 1.0
"""Time between two checks for what other processes have put into the log."""


class NotReady(CallwiseError):
    """The room does not accept messages: it begins, or it ends."""


class Busy(CallwiseError):
    """Too much is under way; the same request may be sent again later."""


class RoomHost:
    """Runs one room, and is the listener of its run.

    Made on the running loop.

    Args:
        store: not owned.
        endpoints: those of `settings.served_by`. Owned: `run` closes their clients.
        wall: returns the time in UTC epoch seconds.
        notify: called with what a person should know while a call waits.
        secrets: values of keys, kept out of every error.
        is_first_now: whether the present hour is woken when it begins.
        stall_seconds: see `RoomFeed`.
        poll_seconds: time between two checks for messages of other processes, after which what
            clients have acknowledged is stored too.
        max_acknowledging: most clients whose acknowledged number is kept.
        memory: see `run_wakes`.
        feedback: folder of a run for feedback on replies; None keeps none.

    Attributes:
        acknowledgements: last numbers of clients.
        feed: lines and status, for clients.
        feedback: what people think of replies; None where none is kept.
        budgeter: has the ledger.
        is_simulated: whether a simulated model answers.
        counted: what has happened, by name: for the metrics.
        stopped: set once the room has ended in order.
    """

    def __init__(
        self,
        settings: WakeSettings,
        store: WakeStore,
        endpoints: Mapping[str, Endpoint],
        *,
        wall: Callable[[], float] = time.time,
        notify: Callable[[str], None] | None = None,
        secrets: Collection[str] = (),
        is_first_now: bool = False,
        stall_seconds: float = STALL_SECONDS,
        poll_seconds: float = POLL_SECONDS,
        max_acknowledging: int = MAX_KEPT_CLIENTS,
        memory: AgentMemory | None = None,
        feedback: Path | None = None,
    ) -> None:
        self._memory = memory
        self.settings, self._store, self._wall = settings, store, wall
        self._is_first_now, self._poll_seconds = is_first_now, poll_seconds
        self.room = settings.wake.room
        self.is_simulated = any(each.client.is_simulated for each in endpoints.values())
        self._costs = LiveCosts(self.room)
        self.feed = RoomFeed(
            store.rooms, self.room, self._costs.cost_of, stall_seconds=stall_seconds
        )
        self.acknowledgements = Acknowledgements(
            store.rooms, self.room, max_clients=max_acknowledging
        )
        self.feedback: ReplyFeedback | None = None
        if feedback is not None:
            self.feedback = ReplyFeedback(
                feedback,
                store.rooms,
                room=self.room,
                agents=[each.id for each in settings.agents],
                chat_lines=settings.wake.chat_limit,
                is_simulated=self.is_simulated,
                wall=wall,
            )
        self._clock = LoopClock()
        self.budgeter = Budgeter(
            endpoints,
            clock=self._clock,
            cache=MemoryCache(clock=self._clock) if settings.wake.retrieval == "both" else None,
            retry=settings.retry,
            load=settings.wake.load(settings.load),
            seed=settings.wake.seed,
            sinks=[self._on_row],
            notify=notify,
            secrets=secrets,
        )
        self.counted: Counter[str] = Counter()
        self.stopped = asyncio.Event()
        self._state: Literal["starting", "running", "stopping"] = "starting"
        self._chat: LiveChat | None = None
        self._tasks: set[asyncio.Task[WakeReport | None]] = set()
        self._is_waking = self._is_locked = False
        self._reported = (0, 0)

    async def run(self) -> None:
        """Run the room until it is cancelled.

        Raises:
            StoreFailed: when the store cannot be read or written.
        """
        polling = asyncio.create_task(self._poll())
        try:
            await run_wakes(
                self.settings,
                self._store,
                self.budgeter,
                self,
                clock=self._clock,
                wall=self._wall,
                is_first_now=self._is_first_now,
                on_start=self._start,
                memory=self._memory,
            )
        finally:
            self._state = "stopping"
            for task in (polling, *self._tasks):
                task.cancel()
            await asyncio.gather(polling, *self._tasks, return_exceptions=True)
            self.feed.close()
            with self._store.hurried():
                self.acknowledgements.store()
            if self.feedback is not None:
                self.feedback.close()
            await self.budgeter.aclose()

    @property
    def state(self) -> str:
        """`starting`, `running`, `locked` (another process locks the store), or `stopping`."""
        return "locked" if self._is_locked and self._state == "running" else self._state

    def undelivered(self) -> int:
        """Return how many messages wait for their time.

        Raises:
            StoreFailed: when the store cannot be read.
        """
        return self._store.rooms.undelivered()

    def described(self) -> dict[str, Any]:
        """Return what a client needs to show the room: its agents, and what is simulated."""
        agents = self.settings.agents[:1_000]
        return {
            "room": self.room,
            "last": self.feed.head,
            "simulated": self.is_simulated,
            "variant": self.settings.wake.variant,
            "agents": [{"id": each.id, "name": each.name, "model": each.model} for each in agents],
        }

    async def say(self, author: str, text: str, *, id: str, to: str = "") -> RoomMessage:  # noqa: A002
        """Add a person's message; the agents that it addresses are asked afterwards.

        Returns:
            The message in the log.

        Raises:
            ConfigError: when the author, the id or `to` cannot be.
            StoreFailed: when it cannot be written.
            NotReady: when the room begins or ends.
            Busy: when too many messages are being answered.
        """
        chat = self._accepting()
        if len(self._tasks) >= MAX_ANSWERED:
            raise Busy(f"{MAX_ANSWERED} messages are being answered. Send it again later")
        said: asyncio.Future[RoomMessage] = asyncio.get_running_loop().create_future()

        def on_said(message: RoomMessage) -> None:
            if not said.done():
                said.set_result(message)

        task = asyncio.create_task(chat.say(author, text, id=id, to=to, on_said=on_said))
        self._tasks.add(task)
        task.add_done_callback(self._answered)
        self._report()
        waited: set[asyncio.Future[Any]] = {task, said}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not said.done():
            await task  # it has failed, and nothing was said
        self.counted["said"] += 1
        return said.result()

    async def wake_early(self) -> WakeReport:
        """Wake the present hour, or the next one that was not woken; see `LiveChat.wake_early`.

        Raises:
            ConfigError: when a wake by hand is under way, or all hours were woken that may be.
            StoreFailed: when the store cannot be read or written.
            NotReady: when the room begins or ends.
        """
        chat = self._accepting()
        if self._is_waking:
            raise ConfigError("a wake is under way. Wait for its end")
        self._is_waking = True
        self._report()
        try:
            return await chat.wake_early()
        finally:
            self._is_waking = False

    async def drain(self, seconds: float, *, reason: str) -> Drained:
        """Accept nothing more, let what is under way end, and set `stopped`.

        Args:
            seconds: time that calls under way have to be answered; then they are cancelled.
            reason: what later calls give as their reason.
        """
        self._state = "stopping"
        if self._is_locked:
            self._store.wait_at_most(LOCKED_SECONDS)
        self._report()
        drained = await self.budgeter.drain(seconds, reason=reason)
        if self._chat is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(REST_SECONDS):
                    await self._chat.at_rest()
        self.stopped.set()
        return drained

    # The listener of the run.

    def on_message(self, message: RoomMessage) -> None:
        """Stream a message that has just come into the log."""
        self.counted["delivered"] += 1
        self.feed.publish(message)

    def on_wake(self, report: WakeReport) -> None:
        """Show the report of a wake."""
        self.counted["answered messages" if report.is_message else "wakes"] += 1
        self._costs.on_wake(report)
        self._report()

    def _on_row(self, row: LedgerRow) -> None:
        self._costs.on_row(row)
        self._report()

    def _start(self, chat: LiveChat) -> None:
        self._chat = chat
        if self._state == "starting":
            self._state = "running"
        self._report()

    async def _poll(self) -> None:
        while True:
            await self._clock.sleep(self._poll_seconds)
            self._check_lock()
            with self._store.hurried():
                self.acknowledgements.store()
            if self._chat is not None:
                self._chat.check_log()
            if self._reported != (self.budgeter.run.counts().in_flight, len(self.feed.readers)):
                self._report()

    def _check_lock(self) -> None:
        """Notice that another process locks the store, or that it does no longer."""
        try:
            is_locked = self._store.is_locked()
        except CallwiseError:  # what needs the store reports it
            is_locked = False
        if is_locked != self._is_locked:
            self._is_locked = is_locked
            self._report()
            _LOGGER.warning(
                "another process locks the store: messages and hours wait"
                if is_locked
                else "no other process locks the store any more"
            )

    def _accepting(self) -> LiveChat:
        if self._chat is None or self._state != "running":
            raise NotReady(f"the room is {self._state}. Send it again later")
        if self._is_locked:
            raise NotReady("another process locks the store. Send it again later")
        return self._chat

    def _answered(self, task: "asyncio.Task[WakeReport | None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            line = one_line(error, "a message") if isinstance(error, Exception) else repr(error)
            _LOGGER.error("a message was not answered: %s", line)

    def _report(self) -> None:
        self.feed.report(self._status)

    def _status(self) -> dict[str, Any]:
        counts = self.budgeter.run.counts()
        usage = counts.usage
        self._reported = counts.in_flight, len(self.feed.readers)
        return {
            "state": self.state,
            "clients": len(self.feed.readers),
            "under_way": counts.in_flight,
            "totals": {
                "calls": counts.asked,
                "requests": usage.requests,
                "tokens": usage.tokens,
                "usd": None if usage.unknown_usd else usage.usd,
            },
            **self._costs.to_json(),
        }
