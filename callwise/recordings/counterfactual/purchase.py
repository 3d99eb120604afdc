"""Buying what a recording lacks: the turns of a setting that are not exact, and those only.

What is recorded is played; what is not is sent by the app's own budgeter and appended to
the recording at once, so whatever ends a purchase, nothing is paid for twice. A spending cap limits
all settings together: it is asked before a call is sent, and settled when it has ended.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from callwise.budget.recorder import CallOrigin, RecordedExchange
from callwise.calls.call import Call
from callwise.calls.errors import CassetteMiss
from callwise.calls.key import CallKey
from callwise.memory.snapshot_memory import SnapshotBackend
from callwise.recordings.app_protocol import Session, TurnInput, TurnResult
from callwise.recordings.counterfactual.evaluation import Past, starting_book
from callwise.recordings.counterfactual.reusable_cassette import ReusableCassette, StandInAnswers
from callwise.recordings.held_files import open_fresh
from callwise.recordings.learned_endpoints import ENDPOINTS_FILE
from callwise.recordings.recording import Recording
from callwise.recordings.replay_run import RunRecorder

__all__ = ["SpendingCap", "SpendingCapReached", "buy_turns"]

BoughtListener = Callable[[TurnResult], None]
"""Told each turn that has just been bought whole."""


class SpendingCapReached(CassetteMiss):
    """A call that is not recorded no longer fits what may be spent."""


@dataclass(slots=True)
class SpendingCap:
    """What all purchases of a sweep may spend together, a referee's judging among them.

    Calls are exact. USD are reserved at what a like call cost when it was recorded and
    settled at what each did cost, so they can be passed by what the calls in flight cost more.

    Args:
        max_calls: calls that may be sent; None for any number.
        max_usd: USD that may be spent; None for any amount.
        calls: sent so far.
        usd: spent so far, as far as known, and reserved.
        unknown_usd: calls whose cost is not known.
    """

    max_calls: int | None = None
    max_usd: float | None = None
    calls: int = 0
    usd: float = 0.0
    unknown_usd: int = 0

    def reserve(self, usd: float | None) -> float:
        """Reserve the money of a call, and return what was reserved for it.

        Args:
            usd: what it costs, about; None when that is not known.

        Raises:
            PurseEmpty: when it does not fit.
        """
        if self.max_calls is not None and self.calls >= self.max_calls:
            raise SpendingCapReached(
                f"{self.calls} calls were bought, and no more than that may be"
            )
        reserved = usd or 0.0
        if self.max_usd is not None and self.usd + reserved > self.max_usd:
            raise SpendingCapReached(
                f"USD {self.usd:.6f} of {self.max_usd:.6f} are spent, and the next call costs "
                f"about {reserved:.6f}"
            )
        self.calls += 1
        self.usd += reserved
        return reserved

    @property
    def calls_left(self) -> int | None:
        """Calls that may still be sent; None for any number."""
        return None if self.max_calls is None else max(self.max_calls - self.calls, 0)

    @property
    def is_empty(self) -> bool:
        """Whether nothing may be spent any more."""
        return self.calls_left == 0 or self.usd_left == 0

    @property
    def usd_left(self) -> float | None:
        """USD that may still be spent; None for any amount."""
        return None if self.max_usd is None else max(self.max_usd - self.usd, 0.0)

    def spend(self, calls: int, usd: float, unknown_usd: int) -> None:
        """Count calls that were sent under their own limits, which this purse had set.

        Args:
            unknown_usd: those of them whose cost is not known.
        """
        self.calls += calls
        self.usd += usd
        self.unknown_usd += unknown_usd

    def settle(self, reserved: float, usd: float | None) -> None:
        """Replace what was reserved for a call by what it cost."""
        if usd is None:
            self.unknown_usd += 1
        else:
            self.usd += usd - reserved


class Buyer:
    """Plays a tape, has the rest sent, and appends it. A `callwise.budget.recorder.Recorder`."""

    def __init__(self, tape: ReusableCassette, recorder: RunRecorder, purse: SpendingCap) -> None:
        self._tape = tape
        self._recorder = recorder
        self._purse = purse
        self._stand_ins = StandInAnswers(tape)
        self._taken: dict[tuple[str | None, str | None], set[int]] = {}
        self._reserved: dict[tuple[CallKey, str], list[float]] = {}

    def lookup(self, key: CallKey, call: Call, where: CallOrigin) -> RecordedExchange | None:
        """Return what was recorded for a call, or None once the purse can pay for it.

        Raises:
            PurseEmpty: when it has none.
        """
        taken = self._taken.setdefault((where.conversation, where.turn), set())
        exchange = self._tape.take(key, call, where, taken)
        if exchange is not None:
            return exchange
        like = self._stand_ins.find(call, where, {})
        reserved = self._purse.reserve(None if like is None else like.usd)
        self._reserved.setdefault((key, where.scope), []).append(reserved)
        return None

    def record(
        self, key: CallKey, call: Call, where: CallOrigin, exchange: RecordedExchange
    ) -> None:
        """Settle a call that was sent, and append it."""
        reserved = self._reserved.get((key, where.scope))
        if reserved:
            self._purse.settle(reserved.pop(), exchange.usd if exchange.usage.requests else 0.0)
        self._recorder.record(key, call, where, exchange)

    def keep(self, turn: TurnInput) -> None:
        """Append what is held back of a turn that has ended."""
        self._recorder.keep(turn.conversation_id, str(turn.turn))


@contextmanager
def _learned(recording: Recording, folder: Path) -> Iterator[None]:
    """Let a session in `folder` begin with what the run has learned, and give it back."""
    kept, lent = recording.folder / ENDPOINTS_FILE, folder / ENDPOINTS_FILE
    if kept.exists():
        shutil.copyfile(kept, lent)
    try:
        yield
    finally:
        if lent.exists():
            with open_fresh(kept) as file:  # the run's folder may be anybody's, with links in it
                file.write(lent.read_bytes())


async def _buy_lane(
    lane: Sequence[TurnInput], session: Session, buyer: Buyer, on_turn: BoughtListener | None
) -> None:
    for turn in lane:
        result = await session.run_turn(turn)
        buyer.keep(turn)
        if on_turn is not None:
            on_turn(result)


async def buy_turns(
    recording: Recording,
    tape: ReusableCassette,
    settings: BaseModel,
    turns: Sequence[TurnInput],
    *,
    recorder: RunRecorder,
    purse: SpendingCap,
    past: Past = "recorded",
    shelf: SnapshotBackend | None = None,
    max_concurrency: int = 1,
    on_turn: BoughtListener | None = None,
) -> None:
    """Run turns under a setting, playing what is recorded and buying the rest.

    Args:
        tape: what is recorded by now.
        settings: from `Recording.settings`.
        turns: which; all of a conversation's earlier ones too, where `past` is `own`.
        past: as in `evaluate`.
        shelf: from `record_past`; needed for the recorded past.
        max_concurrency: conversations side by side; at least 1.
        on_turn: told each turn bought whole.

    Raises:
        PurseEmpty: when the next call does not fit the purse. What was bought is recorded.
        CallError: a fatal one: a wrong key, an endpoint that is down.
    """
    lanes: dict[tuple[str, str], list[TurnInput]] = {}
    for turn in turns:
        lanes.setdefault(turn.memory_owner, []).append(turn)
    waiting = iter(lanes.values())
    buyer = Buyer(tape, recorder, purse)
    memory = starting_book(recording, past, shelf)

    async def work(session: Session) -> None:
        for lane in waiting:
            await _buy_lane(lane, session, buyer, on_turn)

    with tempfile.TemporaryDirectory(prefix="callwise-") as name, _learned(recording, Path(name)):
        async with recording.app.open(
            settings, folder=Path(name), recorder=buyer, memory=memory
        ) as session:
            try:
                async with asyncio.TaskGroup() as workers:
                    for _ in range(max(max_concurrency, 1)):
                        workers.create_task(work(session))
            except* Exception as group:  # noqa: BLE001 - unwrapped, not handled
                raise group.exceptions[0] from None
