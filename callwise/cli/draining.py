"""The end of a command at SIGTERM and Ctrl-C: calls under way are answered and kept.

At the first signal the sessions of the command accept no further call, so that the next one stops
the run; the second signal cancels the calls that are left. Either way each call is settled. Where
signals cannot be handled (another thread, Windows), they end the process as ever.
"""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from callwise.budget.run_gate import stopped_error
from callwise.calls.errors import RunStopped
from callwise.cli.terminal import say

if TYPE_CHECKING:
    from callwise.recordings.app_protocol import CanDrain

__all__ = ["DRAIN_SECONDS", "SignalDrain"]

DRAIN_SECONDS = 30.0
"""Time in which calls under way may end after the first signal; those left are then cancelled."""

_NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}


class SignalDrain:
    """Drains the sessions of one command at a signal.

    Args:
        seconds: time in which calls under way may end after the first signal.

    Attributes:
        received: the first signal; None before.
    """

    def __init__(self, seconds: float = DRAIN_SECONDS) -> None:
        self._seconds = seconds
        self.received: signal.Signals | None = None
        self._sessions: list[CanDrain] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drains: set[asyncio.Task[object]] = set()
        self._before: dict[signal.Signals, Any] = {}

    def watch(self, session: object) -> None:
        """Let signals drain a session of the running loop, until that loop is closed.

        A session that is opened after the signal accepts no call.
        """
        from callwise.recordings.app_protocol import CanDrain

        if not isinstance(session, CanDrain):
            return
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # the handlers of another one ended with it
            self._loop, self._before = loop, {}
            self._sessions.clear()
        self._sessions.append(session)
        if self.received is not None:
            self._drain(session, self._seconds)
            return
        for each in _NAMES.keys() - self._before.keys():
            before = signal.getsignal(each)
            if before is signal.SIG_IGN:  # as a shell has it for work in the background
                continue
            try:
                loop.add_signal_handler(each, partial(self._receive, each))
            except (NotImplementedError, RuntimeError, ValueError):
                return
            self._before[each] = before

    @contextmanager
    def watching(self, session: object) -> Iterator[None]:
        """Let signals drain a session of the running loop while the block runs."""
        self.watch(session)
        try:
            yield
        finally:
            self._sessions.clear()
            self._unwatch()

    @contextmanager
    def interrupted(self) -> Iterator[None]:
        """Let SIGTERM interrupt the block as Ctrl-C does, where no session is watched."""

        def interrupt(number: int, _frame: object) -> NoReturn:
            self.received = self.received or signal.Signals(number)
            raise KeyboardInterrupt

        try:
            before = signal.signal(signal.SIGTERM, interrupt)
        except ValueError:  # not in the main thread
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Let a block that a signal has stopped end by the error of that signal.

        Raises:
            KeyboardInterrupt: when it was Ctrl-C.
            RunStopped: when it was SIGTERM.
        """
        try:
            yield
        except RunStopped as stopped:
            if self.received is signal.SIGINT:
                raise KeyboardInterrupt from stopped
            raise
        except KeyboardInterrupt:
            if self.received is signal.SIGTERM:
                self.check()
            raise

    def check(self) -> None:
        """Do nothing before a signal.

        Raises:
            RunStopped: after one.
        """
        if self.received is not None:
            raise stopped_error(_reason(self.received))

    def _receive(self, received: signal.Signals) -> None:
        is_first = self.received is None
        self.received = self.received or received
        if is_first:
            say(
                f"callwise: stopping; calls under way have {self._seconds:g} s to end; the next "
                "signal cancels them"
            )
        else:
            say("callwise: stopping; calls under way are cancelled")
            self._unwatch()
        for session in self._sessions:
            self._drain(session, self._seconds if is_first else 0.0)

    def _drain(self, session: "CanDrain", seconds: float) -> None:
        draining = session.drain(seconds, reason=_reason(self.received or signal.SIGTERM))
        task: asyncio.Task[object] = asyncio.get_running_loop().create_task(draining)
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)

    def _unwatch(self) -> None:
        """Handle signals as before the first session was watched."""
        loop = asyncio.get_running_loop()
        while self._before:
            each, before = self._before.popitem()
            loop.remove_signal_handler(each)
            signal.signal(each, before)


def _reason(received: signal.Signals) -> str:
    return f"{_NAMES[received]} ended it"
