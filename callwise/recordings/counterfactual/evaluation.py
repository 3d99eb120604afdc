"""One setting, turn by turn, on a recording, and where a turn diverges from it.

A turn starts from one of two pasts:

- `recorded`: what the recorded run remembered before that turn. Every setting is asked the
  same question in the same place, so settings compare turn by turn, and a turn that
  diverges spoils no other.
- `own`: what this setting itself said before. That is a whole run of it; once a reply
  differs from the recorded one, nothing after it can be recorded.

A turn whose calls are all in the recording is exact: under the same past, a real run of
the setting asks the same calls, is given the same answers and gives the same reply.

Answers to similar calls depend on all that was asked before. So under other settings than the
recorded ones none of them is played, and a call that the setting would let a similar call's answer
answer makes its turn inexact, though its own answer is recorded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel

from callwise.budget.limits import Limits
from callwise.budget.recorder import CallOrigin, RecordedExchange
from callwise.calls.answer_cache import answers_kept
from callwise.calls.call import Call
from callwise.calls.choice import Choice
from callwise.calls.errors import CallError, CassetteMiss, ConfigError
from callwise.calls.key import CallKey
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.snapshot_memory import SnapshotBackend, SnapshotMemory
from callwise.recordings.app_protocol import Session, TurnInput
from callwise.recordings.counterfactual.model_prices import ModelPrices, model_prices, repriced
from callwise.recordings.counterfactual.reusable_cassette import (
    Kind,
    MissingCall,
    ReusableCassette,
    StandInAnswers,
)
from callwise.recordings.recording import Recording

__all__ = [
    "CounterfactualRecorder",
    "CounterfactualTurn",
    "Past",
    "TurnTrace",
    "evaluate",
    "record_past",
    "starting_memory",
]


@dataclass(slots=True)
class TurnTrace:
    """Calls of one turn of an evaluation so far.

    Args:
        diverged_at: the first call that is not recorded, counted from 1; None so far.
        is_reply_exact: whether the reply came out before anything diverged.
        missing: calls that are not recorded, in the order asked.
        used: stand-ins used, by kind.
        taken: exchanges of the cassette that it was handed, each once.
    """

    asked_count: int = 0
    diverged_at: int | None = None
    is_reply_out: bool = False
    is_reply_exact: bool = False
    missing: list[MissingCall] = field(default_factory=list)
    used: dict[Kind, int] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)
    taken_choices: set[int] = field(default_factory=set)

    def reply_is_out(self) -> None:
        """Note that the reply cannot change any more."""
        self.is_reply_out = True
        self.is_reply_exact = self.diverged_at is None


class CounterfactualRecorder:
    """Plays a cassette under one setting. A `callwise.budget.recorder.Recorder`; writes nothing.

    Turns of one conversation must be played one after another.

    Args:
        stand_ins: answers of other calls; None has a call that is not recorded end its
            turn, as in a strict replay.
        similar: purposes whose calls may be answered by similar ones under other settings than
            the recorded ones; None where they are the recorded ones, or no call may.
        prices: of the models that may answer in another's place; see `model_prices`.
    """

    def __init__(
        self,
        cassette: ReusableCassette,
        stand_ins: StandInAnswers | None = None,
        *,
        similar: frozenset[str] | None = None,
        prices: ModelPrices = MappingProxyType({}),
    ) -> None:
        self._cassette = cassette
        self._stand_ins = stand_ins
        self._similar = similar
        self._prices = prices
        self._traces: dict[tuple[str | None, str | None], TurnTrace] = {}

    def open_turn(self, conversation: str, turn: int) -> TurnTrace:
        """Return a fresh trace of a turn that is about to be played."""
        trace = self._traces[conversation, str(turn)] = TurnTrace()
        return trace

    def lookup(self, key: CallKey, call: Call, where: CallOrigin) -> RecordedExchange:
        """Return the recorded exchange of a call, or its stand-in.

        Raises:
            CassetteMiss: when it is not recorded, and there is no stand-in.
            FormatError: when the exchange's line is damaged.
        """
        trace = self._traces.setdefault((where.conversation, where.turn), TurnTrace())
        trace.asked_count += 1
        exchange = self._cassette.take(
            key, call, where, trace.taken, plays_similar=self._similar is None
        )
        if self._similar and where.purpose in self._similar and trace.diverged_at is None:
            trace.diverged_at = trace.asked_count
        if exchange is not None:
            return exchange
        if trace.diverged_at is None:
            trace.diverged_at = trace.asked_count
        if self._stand_ins is None:
            raise CassetteMiss(self._cassette.explain(key, call, where))
        stand_in = self._stand_ins.find(call, where, trace.used)
        if stand_in is None:
            raise CassetteMiss(
                f"{self._cassette.path} has no recording of call {trace.asked_count} of turn "
                f"{where.turn} of {where.conversation}: node {where.node}, purpose "
                f"{where.purpose.value}"
            )
        stand_in = repriced(stand_in, call, self._prices)
        trace.missing.append(
            MissingCall(
                where.node,
                where.role,
                where.purpose,
                stand_in.usage.input_tokens,
                stand_in.usage.output_tokens,
                stand_in.usd,
            )
        )
        return stand_in

    def asked_key(self, key: CallKey, call: Call, where: CallOrigin) -> CallKey:
        """Return the key under which the recording has a question; see `RecordsChoices`."""
        return self._cassette.asked_key(key, call, where)

    def recorded_choice(
        self, asked: CallKey, where: CallOrigin, *, table: str, step: int, is_by_budget: bool
    ) -> Choice | None:
        """Take the recorded choice of a question.

        Where what is left of limits may decide too, another setting decides again.
        """
        if is_by_budget and self._stand_ins is not None:
            return None
        trace = self._traces.setdefault((where.conversation, where.turn), TurnTrace())
        return self._cassette.choice(
            asked, where, table=table, step=step, taken=trace.taken_choices
        )

    def record(
        self, key: CallKey, call: Call, where: CallOrigin, exchange: RecordedExchange
    ) -> None:
        """Do nothing: an evaluation adds nothing to its recording."""


Past = Literal["recorded", "own"]


@dataclass(frozen=True, slots=True)
class CounterfactualTurn:
    """One turn under another setting, as far as it is recorded.

    Args:
        record: the turn's record; None where it could not be played to its end.
        rows: its ledger rows; those of stand-ins included.
        diverged_at: the first call that is not recorded, counted from 1; None when all are.
        missing: the calls that are not recorded; where the turn could not be played to
            its end, only those before the one that nothing could stand in for.
    """

    turn: TurnInput
    record: Mapping[str, Any] | None
    rows: Sequence[Mapping[str, Any]]
    diverged_at: int | None
    missing: tuple[MissingCall, ...]
    is_reply_exact: bool


async def record_past(recording: Recording, cassette: ReusableCassette) -> SnapshotBackend:
    """Return what the recorded run remembered, by replaying it strictly.

    Raises:
        ConfigError: when it cannot be replayed: its prompts or its app have changed.
        CallError: what ended the recorded run.
    """
    store = SnapshotBackend()
    memory = ConversationMemory(store, max_users=len(recording.inputs))
    player = CounterfactualRecorder(cassette)
    async with recording.session(recording.settings(None), player, memory) as session:
        for turn in recording.inputs:
            try:
                result = await session.run_turn(turn)
            except CassetteMiss as miss:
                raise _cannot_replay(recording, str(miss)) from miss
            if result.record["reply"] != recording.replies[turn.conversation_id, turn.turn or 0]:
                raise _cannot_replay(
                    recording,
                    f"turn {turn.turn} of {turn.conversation_id} now ends in another reply",
                )
    return store


def _cannot_replay(recording: Recording, problem: str) -> ConfigError:
    return ConfigError(
        f"{recording.folder} does not replay under its own settings: {problem}\n"
        "Either its endpoint is not set as it was recorded (CALLWISE_BASE_URL, CALLWISE_MODEL; no "
        "key is needed), or its prompts, its app or this Callwise changed since: then record it "
        "again with callwise replay ... --out DIR"
    )


def starting_memory(
    recording: Recording, past: Past, store: SnapshotBackend | None
) -> ConversationMemory:
    """Return the memory that the turns of a setting start from.

    Raises:
        ValueError: when it is needed and not there.
    """
    if past == "own":
        return ConversationMemory(SnapshotBackend(), max_users=len(recording.inputs))
    if store is None:
        raise ValueError("the recorded past needs the store of `record_past`")
    return SnapshotMemory(store)


async def evaluate(
    recording: Recording,
    cassette: ReusableCassette,
    settings: BaseModel,
    *,
    past: Past = "recorded",
    store: SnapshotBackend | None = None,
    turns: Sequence[TurnInput] | None = None,
) -> list[CounterfactualTurn]:
    """Return every turn of a recording under other settings. Nothing is sent.

    Args:
        past: where each turn starts from; see above.
        turns: which of the recording's turns, in its order; None is all of them.

    Raises:
        ConfigError: when the settings cannot work.
        CallError: a fatal one other than a call that is not recorded.
    """
    memory = starting_memory(recording, past, store)
    player = CounterfactualRecorder(
        cassette,
        StandInAnswers(cassette),
        similar=_similar_purposes(recording, settings),
        prices=model_prices(recording, settings),
    )
    chosen = recording.inputs if turns is None else turns
    with answers_kept(cassette.read_answers):
        async with recording.session(settings, player, memory) as session:
            evaluation = _Evaluation(session, player, past, counts_across=_limits_span(settings))
            return [await evaluation.play(turn) for turn in chosen]


def _similar_purposes(recording: Recording, settings: BaseModel) -> frozenset[str] | None:
    """Return the purposes that `CounterfactualRecorder` is given for a setting."""
    recorded = recording.settings(None)
    if settings == recorded:
        return None
    similar = getattr(getattr(settings, "cache", None), "similar", None) or {}
    return frozenset(str(purpose) for purpose, knobs in similar.items() if knobs.mode == "serve")


def _limits_span(settings: BaseModel) -> bool:
    """Return whether a limit of a conversation or a run is set: then turns share what is left."""
    budget = getattr(settings, "budget", None)
    wide = (getattr(budget, scope, None) for scope in ("run", "conversation"))
    return any(isinstance(limits, Limits) and limits != Limits() for limits in wide)


@dataclass(slots=True)
class _Evaluation:
    """One setting on one recording, turn after turn.

    Args:
        counts_across: whether what one turn spends is missing to a later one.
        inexact_users: whose own past is an estimate by now.
        lost_users: whose own past is not known by now.
        is_inexact: whether any turn was not exact so far.
    """

    session: Session
    player: CounterfactualRecorder
    past: Past
    counts_across: bool
    inexact_users: set[tuple[str, str]] = field(default_factory=set)
    lost_users: set[tuple[str, str]] = field(default_factory=set)
    is_inexact: bool = False

    async def play(self, turn: TurnInput) -> CounterfactualTurn:
        """Return the next turn, as far as it is recorded."""
        trace = self.player.open_turn(turn.conversation_id, turn.turn or 0)
        is_past_estimated = self.past == "own" and turn.memory_owner in self.inexact_users
        if is_past_estimated or (self.counts_across and self.is_inexact):
            trace.diverged_at = 1
        if turn.memory_owner in self.lost_users:
            return _lost(turn, trace)
        played = await self._played(turn, trace)
        if played.diverged_at is not None:
            self.is_inexact = True
            self.inexact_users.add(turn.memory_owner)
            # On the recorded past the next turn does not need this one; on the setting's own
            # past it would have to know what this one said.
            if played.record is None and self.past == "own":
                self.lost_users.add(turn.memory_owner)
        return played

    async def _played(self, turn: TurnInput, trace: TurnTrace) -> CounterfactualTurn:
        async def reply_is_out(*_: object) -> None:
            trace.reply_is_out()

        try:
            result = await self.session.run_turn(turn, on_reply=reply_is_out)
        except CassetteMiss:
            return _lost(turn, trace)
        except CallError as error:
            raise ConfigError(
                f"turn {turn.turn} of {turn.conversation_id} ends in {type(error).__name__} "
                f"under this setting, as it was recorded: {error}"
            ) from error
        return CounterfactualTurn(
            turn=turn,
            record=result.record,
            rows=result.rows,
            diverged_at=trace.diverged_at,
            missing=tuple(trace.missing),
            is_reply_exact=trace.is_reply_exact or trace.diverged_at is None,
        )


def _lost(turn: TurnInput, trace: TurnTrace) -> CounterfactualTurn:
    return CounterfactualTurn(
        turn=turn,
        record=None,
        rows=(),
        diverged_at=trace.diverged_at or max(trace.asked_count, 1),
        missing=tuple(trace.missing),
        is_reply_exact=trace.is_reply_exact,
    )
