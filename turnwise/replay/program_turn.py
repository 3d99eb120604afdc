"""A turn that a program runs, from its first call until none of its calls is in flight.

Problem: a program may end while its calls are in flight: a limit refuses one of several that
run side by side, or a task is left running. Choice: the turn waits for them, so that their rows
are in it; what is asked after its end is refused, since it belongs to no turn.
"""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from turnwise.budget.scope import Scope
from turnwise.calls.errors import ConfigError
from turnwise.replay.asked_prompts import AskedPrompts

__all__ = ["OpenTurn", "turn_is_over"]

MAX_REST_SECONDS = 600.0
"""Longest wait for calls that a program has left in flight at the end of a turn."""


class OpenTurn:
    """A turn that a program runs, and its calls in flight, which may be asked in any thread.

    Args:
        scope: its scope.

    Attributes:
        prompts: what was asked in it.
        is_over: whether the program has ended it, and asks no more in it.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.prompts = AskedPrompts()
        self.is_over = False
        self._lock = threading.Lock()
        self._in_flight = 0

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Count a call as in flight.

        Raises:
            ConfigError: when the turn is over.
        """
        with self._lock:
            if self.is_over:
                raise turn_is_over(self.scope)
            self._in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1

    async def come_to_rest(self) -> None:
        """End the turn: refuse further calls, and wait until those in flight have ended.

        Raises:
            ConfigError: when one does not end.
        """
        with self._lock:
            self.is_over = True
        give_up_at = time.monotonic() + MAX_REST_SECONDS
        while self._in_flight:
            if time.monotonic() > give_up_at:
                raise ConfigError(
                    f"turn {self.scope.turn} of {self.scope.conversation!r} has ended with "
                    f"{self._in_flight} calls in flight, which do not end: await or close them "
                    "before the turn ends"
                )
            await asyncio.sleep(0.001)


def turn_is_over(scope: Scope) -> ConfigError:
    """Return the error of a call that is asked in a turn after its end."""
    return ConfigError(
        f"turn {scope.turn} of {scope.conversation!r} is over, and something that the program "
        "left running asks in it: await it before the turn ends"
    )
