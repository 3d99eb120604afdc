"""Purchase of the calls that a recording lacks, for the turns of a setting that are not exact.

What is recorded is played; what is not is sent by the app's own budgeter and appended to
the recording immediately, so whatever ends a purchase, nothing is paid for twice. A
spending cap limits all settings together: it is asked before a call is sent, and settled
when the call has ended.

Settings may be bought side by side. A call that another setting has bought since, or is buying,
is not bought again: it waits for that one, and is then played. Which of them pays is the one that
asks first. A turn is not given what its own setting has bought: that is its budgeter's to share.

Invariant: whichever settings are bought side by side, the same calls are bought.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from pydantic import BaseModel

from callwise.budget.recorder import CallOrigin, FoundExchange, RecordedExchange
from callwise.budget.shared_requests import SharedRequests
from callwise.calls.call import Call
from callwise.calls.choice import Choice
from callwise.calls.errors import CassetteMiss
from callwise.calls.key import CallKey
from callwise.memory.snapshot_memory import SnapshotBackend
from callwise.recordings.app_protocol import TurnInput
from callwise.recordings.cassette import Cassette
from callwise.recordings.counterfactual.evaluation import Past, starting_memory
from callwise.recordings.counterfactual.model_prices import ModelPrices, model_prices, repriced
from callwise.recordings.counterfactual.reusable_cassette import ReusableCassette, StandInAnswers
from callwise.recordings.recording import Recording
from callwise.recordings.replay_run import RunRecorder, TurnListener, play_in_lanes

__all__ = ["Around", "Buyer", "Purchase", "SpendingCap", "SpendingCapReached", "buy_turns"]

_Turn = tuple[str | None, str | None]
"""Conversation and turn, as the names of their scopes."""


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
        dearest_usd: largest cost of one call, reserved or known; 0 before the first.
    """

    max_calls: int | None = None
    max_usd: float | None = None
    calls: int = 0
    usd: float = 0.0
    unknown_usd: int = 0
    requests: int = 0
    tokens: int = 0
    on_open: Callable[[object], None] | None = None
    dearest_usd: float = 0.0

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
        self.dearest_usd = max(self.dearest_usd, reserved)
        return reserved

    def lasts_for(self, calls: int) -> bool:
        """Return whether so many further calls fit, each at twice the dearest cost so far."""
        if self.max_calls is not None and self.calls + calls > self.max_calls:
            return False
        if self.max_usd is None:
            return True
        return self.dearest_usd > 0 and self.usd + calls * 2 * self.dearest_usd <= self.max_usd

    @property
    def is_capped(self) -> bool:
        """Whether anything limits what may be spent."""
        return self.max_calls is not None or self.max_usd is not None

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
            self.dearest_usd = max(self.dearest_usd, usd)


class _Bought:
    """A call that is being bought.

    Attributes:
        entry: future of its entry in the cassette; of None where its turn ended without one.
    """

    __slots__ = ("_takers", "buyer", "entry")

    def __init__(self, buyer: "Buyer") -> None:
        self.buyer = buyer
        self.entry: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._takers: list[set[int]] = []

    def is_open_to(self, buyer: "Buyer", taken: set[int]) -> bool:
        """Return whether a turn of another setting may wait for it, and does not yet."""
        return self.buyer is not buyer and all(each is not taken for each in self._takers)

    def wait(self, taken: set[int]) -> asyncio.Future[int | None]:
        """Return its entry, which then counts as taken by that turn."""
        self._takers.append(taken)
        return self.entry

    def end(self, entry: int | None) -> None:
        """Give those that wait its entry."""
        if entry is not None:
            for taken in self._takers:
                taken.add(entry)
        self.entry.set_result(entry)


@dataclass(slots=True)
class Purchase:
    """A recording that several settings buy into, and what they are buying at this moment.

    Args:
        known: what is recorded; grows by what is bought. Not owned.
        cassette: where it is recorded. Not owned.
        budget: of all of them.
    """

    known: ReusableCassette
    cassette: Cassette
    budget: SpendingCap
    under_way: dict[bytes, list[_Bought]] = field(default_factory=dict)

    def begin(self, name: bytes, buyer: "Buyer") -> _Bought:
        """Note that a call is being bought."""
        bought = _Bought(buyer)
        self.under_way.setdefault(name, []).append(bought)
        return bought

    def end(self, name: bytes, bought: _Bought, entry: int | None) -> None:
        """Note that it ended."""
        open_ones = self.under_way[name]
        open_ones.remove(bought)
        if not open_ones:
            del self.under_way[name]
        bought.end(entry)


@dataclass(slots=True)
class _PlayedTurn:
    """A turn that is being played.

    Args:
        taken: entries that it may not be given, or not again.
        paid: what is reserved for calls that are being bought, by key and scope.
    """

    taken: set[int]
    taken_choices: set[int] = field(default_factory=set)
    paid: dict[tuple[bytes, str], list[tuple[float, _Bought]]] = field(default_factory=dict)


class Buyer:
    """Plays a recording, has the rest sent, and appends it. A `Recorder` of the budgeter.

    It is of one setting. Turns of one conversation must be played one after another.
    """

    def __init__(self, purchase: Purchase, prices: ModelPrices = MappingProxyType({})) -> None:
        self._purchase = purchase
        self._prices = prices
        self._known = purchase.known
        self._recorder = RunRecorder(purchase.cassette)
        self._stand_ins = StandInAnswers(purchase.known)
        self._own: set[int] = set()
        self._turns: dict[_Turn, _PlayedTurn] = {}

    def lookup(self, key: CallKey, call: Call, where: CallOrigin) -> FoundExchange:
        """Return what was recorded for a call, or None once the budget can pay for it.

        Raises:
            SpendingCapReached: when it has none.
        """
        turn = self._turn(where)
        exchange = self._known.take(key, call, where, turn.taken)
        if exchange is not None:
            return exchange
        if self._coming(self._known.key_of(key, call, where), turn) is not None:
            return self._awaited(key, call, where, turn)
        self._pay(key, call, where, turn)
        return None

    def asked_key(self, key: CallKey, call: Call, where: CallOrigin) -> CallKey:
        """Return the key under which the recording has a question; see `RecordsChoices`."""
        return self._known.asked_key(key, call, where)

    def recorded_choice(
        self, asked: CallKey, where: CallOrigin, *, table: str, step: int, is_by_budget: bool
    ) -> Choice | None:
        """Take the recorded choice of a question.

        Where what is left of limits may decide too, another setting decides again.
        """
        if is_by_budget:
            return None
        taken = self._turn(where).taken_choices
        return self._known.choice(asked, where, table=table, step=step, taken=taken)

    def _turn(self, where: CallOrigin) -> _PlayedTurn:
        name = where.conversation, where.turn
        if name not in self._turns:
            self._turns[name] = _PlayedTurn(set(self._own))
        return self._turns[name]

    def _coming(self, name: bytes, turn: _PlayedTurn) -> _Bought | None:
        """Return an equal call that another setting is buying; None where none is left."""
        under_way = self._purchase.under_way.get(name, ())
        return next((each for each in under_way if each.is_open_to(self, turn.taken)), None)

    async def _awaited(
        self, key: CallKey, call: Call, where: CallOrigin, turn: _PlayedTurn
    ) -> RecordedExchange | None:
        name = self._known.key_of(key, call, where)
        while (bought := self._coming(name, turn)) is not None:
            entry = await asyncio.shield(bought.wait(turn.taken))  # others wait for it too
            if entry is not None:
                return self._known.exchange(entry)
            exchange = self._known.take(key, call, where, turn.taken)
            if exchange is not None:
                return exchange
        self._pay(key, call, where, turn)
        return None

    def _pay(self, key: CallKey, call: Call, where: CallOrigin, turn: _PlayedTurn) -> None:
        like = self._stand_ins.find(call, where, {})
        usd = None if like is None else repriced(like, call, self._prices).usd
        reserved = self._purchase.budget.reserve(usd)
        name = self._known.key_of(key, call, where)
        bought = self._purchase.begin(name, self)
        turn.paid.setdefault((name, where.scope), []).append((reserved, bought))

    def record(
        self, key: CallKey, call: Call, where: CallOrigin, exchange: RecordedExchange
    ) -> None:
        """Settle a call that was sent, and append it."""
        self._recorder.record(key, call, where, exchange)
        entry = self._known.add(key, call, where, exchange)
        self._own.add(entry)
        for turn in self._turns.values():
            turn.taken.add(entry)
        name = self._known.key_of(key, call, where)
        paid = self._turn(where).paid.get((name, where.scope))
        if paid:
            reserved, bought = paid.pop()
            usage, budget = exchange.usage, self._purchase.budget
            # A call of a batch has a cost and no request where another call has that.
            is_sent = usage.requests or usage.picodollars or usage.unknown_usd
            budget.settle(reserved, exchange.usd if is_sent else 0.0)
            budget.requests += usage.requests
            budget.tokens += usage.tokens
            self._purchase.end(name, bought, entry)

    def keep(self, turn: TurnInput) -> None:
        """Append what is held back of a turn that has ended."""
        self._recorder.keep(turn.conversation_id, str(turn.turn))

    def close_turn(self, turn: TurnInput) -> None:
        """Let no other setting wait for a call of a turn that has ended, whichever way."""
        ended = self._turns.pop((turn.conversation_id, str(turn.turn)), None)
        for (name, _), paid in () if ended is None else ended.paid.items():
            for _, bought in paid:
                self._purchase.end(name, bought, None)


Around = Callable[[TurnInput], AbstractAsyncContextManager[bool]]
"""Encloses each turn; False has it left out."""


@asynccontextmanager
async def _immediately(turn: TurnInput) -> AsyncIterator[bool]:
    del turn
    yield True


async def buy_turns(
    recording: Recording,
    purchase: Purchase,
    settings: BaseModel,
    turns: Sequence[TurnInput],
    *,
    past: Past = "recorded",
    store: SnapshotBackend | None = None,
    shared: SharedRequests | None = None,
    max_concurrency: int = 1,
    around: Around = _immediately,
    on_turn: TurnListener | None = None,
) -> None:
    """Run turns under a setting, playing what is recorded and buying the rest.

    Args:
        turns: which; all of a conversation's earlier ones too, where `past` is `own`.
        shared: requests in common with other settings; see `Recording.session`.
        max_concurrency: conversations side by side; at least 1.

    Raises:
        SpendingCapReached: when the next call does not fit the budget, unless `around` takes it.
            What was bought is recorded.
        CallError: a fatal one: a wrong key, an endpoint that is down.
    """
    buyer = Buyer(purchase, model_prices(recording, settings))
    memory = starting_memory(recording, past, store)
    async with recording.session(
        settings, buyer, memory, is_offline=False, shared=shared
    ) as session:
        purchase.budget.opened(session)

        async def play(turn: TurnInput) -> None:
            async with around(turn) as is_wanted:
                if not is_wanted:
                    return
                try:
                    result = await session.run_turn(turn)
                    buyer.keep(turn)
                finally:
                    buyer.close_turn(turn)
                if on_turn is not None:
                    on_turn(result)

        await play_in_lanes(turns, play, max_concurrency=max_concurrency)
