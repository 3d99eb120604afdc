"""The order in which the turns of several settings are bought side by side.

Settings come in their order, and in each its conversations. A conversation keeps a place from its
first turn to its last; a setting begins when the ones before it have all their places and one is
free. Of one place, turns are bought one after another.

Problem: a cap is used up by whichever call comes first, so side by side it would end another turn
each time. Choice: under a cap, a turn begins when it lasts for the most calls of all turns before
it and its own (those of their plan without those that are recorded), or when all before it have
ended.

Invariant: the turn that a cap ends is the first one that does not fit, the turns before it are
whole and none after it has begun, as if they were bought one by one. In USD that is so as long as
no call costs more than twice the dearest before. Once the purchase stops, the turns under way go
on to their ends, and no other begins.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from callwise.calls.errors import CallError, RunStopped
from callwise.recordings.app_protocol import TurnInput
from callwise.recordings.counterfactual.purchase import SpendingCap, SpendingCapReached

__all__ = ["PurchaseOrder", "SettingLine"]

_Place = tuple[int, int]
"""Number of a setting, and of a turn of it, from 0."""


class PurchaseOrder:
    """Places and turns of all settings of one purchase.

    Args:
        max_concurrency: conversations side by side, at least 1.
        is_strict: whether turns wait for their order under a cap. Otherwise it ends whichever
            calls come when it is used up: a batch is not worth a day of waiting for each turn.

    Attributes:
        stopped_by: what stopped the purchase; None while it goes on.
    """

    def __init__(
        self, budget: SpendingCap, max_concurrency: int, *, is_strict: bool = True
    ) -> None:
        if max_concurrency < 1:
            raise ValueError(f"max_concurrency is at least 1, got {max_concurrency}")
        self.places = asyncio.Semaphore(max_concurrency)
        self.stopped_by: CallError | None = None
        self._budget = budget
        self._is_strict = is_strict
        self._settings = 0
        self._ahead: dict[_Place, int | None] = {}
        self._changed = asyncio.Event()

    async def next_setting(self) -> "SettingLine":
        """Return the line of the next setting once there is a place for it."""
        await self.places.acquire()
        self._settings += 1
        return SettingLine(self, self._settings)

    def stop(self, error: CallError) -> None:
        """Let no further turn begin. The first error is kept."""
        self.stopped_by = self.stopped_by or error
        self._wake()

    def announce(self, place: _Place, most_calls: int | None) -> None:
        """Note a turn that will come, and the most calls that it may buy; None is not known."""
        self._ahead[place] = most_calls

    async def begin(self, place: _Place) -> None:
        """Return when an announced turn may begin."""
        while not self._may_begin(place):
            await self._changed.wait()

    def end(self, place: _Place) -> None:
        """Note that a turn has ended."""
        del self._ahead[place]
        self._wake()

    def end_all(self, setting: int) -> None:
        """Note that no further turn of a setting comes."""
        self._ahead = {place: most for place, most in self._ahead.items() if place[0] != setting}
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _may_begin(self, place: _Place) -> bool:
        if self.stopped_by is not None or not (self._is_strict and self._budget.is_capped):
            return True
        before = [most for other, most in self._ahead.items() if other < place]
        if not before:
            return True
        calls = 0
        for most in (*before, self._ahead[place]):
            if most is None:
                return False
            calls += most
        return self._budget.lasts_for(calls)


class SettingLine:
    """The conversations of one setting. A context that gives its places back.

    Attributes:
        all_begun: set when each of its conversations has a place, or needs none.
    """

    def __init__(self, order: PurchaseOrder, number: int) -> None:
        self.all_begun = asyncio.Event()
        self._order = order
        self._number = number
        self._places_held = 1
        self._turns: dict[tuple[str, str], list[tuple[TurnInput, int | None]]] = {}
        self._numbers: dict[tuple[str, int | None], int] = {}
        self._turns_left: dict[tuple[str, str], int] = {}
        self._not_begun: set[tuple[str, str]] = set()

    def announce(self, turn: TurnInput, most_calls: int | None) -> None:
        """Note a turn of it, and the most calls that it may buy; None is not known.

        All of them are noted before the first begins, those of a conversation in their order.
        """
        self._turns.setdefault(turn.memory_owner, []).append((turn, most_calls))

    def _begin_all(self) -> None:
        """Give each turn its place in the order: conversation by conversation."""
        self._turns_left = {owner: len(turns) for owner, turns in self._turns.items()}
        self._not_begun = set(self._turns)
        turns = (each for own in self._turns.values() for each in own)
        for number, (turn, most_calls) in enumerate(turns):
            self._numbers[turn.conversation_id, turn.turn] = number
            self._order.announce((self._number, number), most_calls)

    @asynccontextmanager
    async def around(self, turn: TurnInput) -> AsyncIterator[bool]:
        """Wait until the turn may begin, and yield whether it is still wanted."""
        order, owner = self._order, turn.memory_owner
        if not self._numbers:
            self._begin_all()
        if owner in self._not_begun:
            await self._take_place(owner)
        place = self._number, self._numbers[turn.conversation_id, turn.turn]
        try:
            await order.begin(place)
            yield order.stopped_by is None
        except SpendingCapReached as reached:
            order.stop(reached)
        finally:
            order.end(place)
            self._turns_left[owner] -= 1
            if not self._turns_left[owner] and any(self._turns_left.values()):
                self._places_held -= 1
                order.places.release()

    async def _take_place(self, owner: tuple[str, str]) -> None:
        if len(self._not_begun) < len(self._turns_left):  # the first has that of the setting
            await self._order.places.acquire()
            self._places_held += 1
        self._not_begun.discard(owner)
        if not self._not_begun:
            self.all_begun.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Give back what it still has; a run that has stopped stops the purchase."""
        if isinstance(error, RunStopped):
            self._order.stop(error)
        self._order.end_all(self._number)
        self.all_begun.set()
        for _ in range(self._places_held):
            self._order.places.release()
        return isinstance(error, RunStopped)
