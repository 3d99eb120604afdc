"""Purchase of the calls that a recording lacks, for the turns of a setting that are not exact.

What is recorded is played; what is not is sent by the app's own budgeter and appended to
the recording immediately, so whatever ends a purchase, nothing is paid for twice. A
spending cap limits all settings together: it is asked before a call is sent, and settled
when the call has ended.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from callwise.budget.recorder import CallOrigin, RecordedExchange
from callwise.calls.call import Call
from callwise.calls.errors import CassetteMiss
from callwise.calls.key import CallKey
from callwise.memory.snapshot_memory import SnapshotBackend
from callwise.recordings.app_protocol import TurnInput
from callwise.recordings.counterfactual.evaluation import Past, starting_memory
from callwise.recordings.counterfactual.reusable_cassette import ReusableCassette, StandInAnswers
from callwise.recordings.recording import Recording
from callwise.recordings.replay_run import RunRecorder, TurnListener, play_in_lanes

__all__ = ["SpendingCap", "SpendingCapReached", "buy_turns"]


class SpendingCapReached(CassetteMiss):
    """A call that is not recorded no longer fits what may be spent."""


@dataclass(slots=True)
class SpendingCap:
    """Budget of all purchases of a sweep together, a referee's judging among them.

    Calls are exact. USD are reserved at what a like call cost when it was recorded and
    settled at what each did cost, so open calls can exceed them by what they cost more.

    Args:
        max_calls: calls that may be sent; None for any number.
        max_usd: USD that may be spent; None for any amount.
        calls: sent so far.
        usd: spent so far, as far as known, and reserved.
        requests: HTTP requests of those calls; a batch is one.
        tokens: known tokens of those calls.
        on_open: called with each session or budgeter that spends it, before its first call.
    """

    max_calls: int | None = None
    max_usd: float | None = None
    calls: int = 0
    usd: float = 0.0
    unknown_usd: int = 0
    requests: int = 0
    tokens: int = 0
    on_open: Callable[[object], None] | None = None

    def reserve(self, usd: float | None) -> float:
        """Reserve the money of a call, and return what was reserved for it.

        Args:
            usd: what it costs, about; None when that is not known.

        Raises:
            SpendingCapReached: when it does not fit.
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
        """Count calls that were sent under their own limits, which this budget had set."""
        self.calls += calls
        self.usd += usd
        self.unknown_usd += unknown_usd

    def opened(self, spender: object) -> None:
        """Report a session or a budgeter that is about to spend it."""
        if self.on_open is not None:
            self.on_open(spender)

    def settle(self, reserved: float, usd: float | None) -> None:
        """Replace what was reserved for a call by what it cost."""
        if usd is None:
            self.unknown_usd += 1
        else:
            self.usd += usd - reserved


class Buyer:
    """Plays a cassette, has the rest sent, and appends it. A `Recorder` of the budgeter."""

    def __init__(
        self, cassette: ReusableCassette, recorder: RunRecorder, budget: SpendingCap
    ) -> None:
        self._cassette = cassette
        self._recorder = recorder
        self._budget = budget
        self._stand_ins = StandInAnswers(cassette)
        self._taken: dict[tuple[str | None, str | None], set[int]] = {}
        self._reserved: dict[tuple[CallKey, str], list[float]] = {}

    def lookup(self, key: CallKey, call: Call, where: CallOrigin) -> RecordedExchange | None:
        """Return what was recorded for a call, or None once the budget can pay for it.

        Raises:
            SpendingCapReached: when it has none.
        """
        taken = self._taken.setdefault((where.conversation, where.turn), set())
        exchange = self._cassette.take(key, call, where, taken)
        if exchange is not None:
            return exchange
        like = self._stand_ins.find(call, where, {})
        reserved = self._budget.reserve(None if like is None else like.usd)
        self._reserved.setdefault((key, where.scope), []).append(reserved)
        return None

    def record(
        self, key: CallKey, call: Call, where: CallOrigin, exchange: RecordedExchange
    ) -> None:
        """Settle a call that was sent, and append it."""
        reserved = self._reserved.get((key, where.scope))
        if reserved:
            usage = exchange.usage
            # A call of a batch has a cost and no request where another call has that.
            is_sent = usage.requests or usage.picodollars or usage.unknown_usd
            self._budget.settle(reserved.pop(), exchange.usd if is_sent else 0.0)
            self._budget.requests += usage.requests
            self._budget.tokens += usage.tokens
        self._recorder.record(key, call, where, exchange)

    def keep(self, turn: TurnInput) -> None:
        """Append what is held back of a turn that has ended."""
        self._recorder.keep(turn.conversation_id, str(turn.turn))


async def buy_turns(
    recording: Recording,
    cassette: ReusableCassette,
    settings: BaseModel,
    turns: Sequence[TurnInput],
    *,
    recorder: RunRecorder,
    budget: SpendingCap,
    past: Past = "recorded",
    store: SnapshotBackend | None = None,
    max_concurrency: int = 1,
    on_turn: TurnListener | None = None,
) -> None:
    """Run turns under a setting, playing what is recorded and buying the rest.

    Args:
        turns: which; all of a conversation's earlier ones too, where `past` is `own`.
        max_concurrency: conversations side by side; at least 1.

    Raises:
        SpendingCapReached: when the next call does not fit the budget. What was bought is recorded.
        CallError: a fatal one: a wrong key, an endpoint that is down.
    """
    buyer = Buyer(cassette, recorder, budget)
    memory = starting_memory(recording, past, store)
    async with recording.session(settings, buyer, memory, is_offline=False) as session:
        budget.opened(session)

        async def play(turn: TurnInput) -> None:
            result = await session.run_turn(turn)
            buyer.keep(turn)
            if on_turn is not None:
                on_turn(result)

        await play_in_lanes(turns, play, max_concurrency=max_concurrency)
