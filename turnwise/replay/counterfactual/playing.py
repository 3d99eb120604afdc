"""The recorder of an evaluation: plays what is recorded, and notes where a turn diverges."""

from dataclasses import dataclass, field

from turnwise.budget.recorder import RecordedExchange, Where
from turnwise.calls.call import Call
from turnwise.calls.errors import CassetteMiss
from turnwise.calls.key import CallKey
from turnwise.replay.counterfactual.missing import MissingCall, StandIns
from turnwise.replay.counterfactual.tape import Kind, Tape

__all__ = ["Player", "TurnTrace"]


@dataclass(slots=True)
class TurnTrace:
    """What one turn of an evaluation has asked so far.

    Args:
        asked_count: calls asked, in any way.
        diverged_at: the first call that is not recorded, counted from 1; None so far.
        is_reply_out: whether the reply is out.
        is_reply_exact: whether the reply came out before anything diverged.
        missing: calls that are not recorded, in the order asked.
        used: stand-ins used, by kind.
        taken: exchanges of the tape that it was handed, each once.
    """

    asked_count: int = 0
    diverged_at: int | None = None
    is_reply_out: bool = False
    is_reply_exact: bool = False
    missing: list[MissingCall] = field(default_factory=list)
    used: dict[Kind, int] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)

    def reply_is_out(self) -> None:
        """Note that the reply cannot change any more."""
        self.is_reply_out = True
        self.is_reply_exact = self.diverged_at is None


class Player:
    """Plays a tape under one setting. A `turnwise.budget.recorder.Recorder`; writes nothing.

    Turns of one conversation must be played one after another.

    Args:
        tape: the recording.
        stand_ins: answers of other calls; None has a call that is not recorded end its
            turn, as in a strict replay.
    """

    def __init__(self, tape: Tape, stand_ins: StandIns | None = None) -> None:
        self._tape = tape
        self._stand_ins = stand_ins
        self._traces: dict[tuple[str | None, str | None], TurnTrace] = {}

    def open_turn(self, conversation: str, turn: int) -> TurnTrace:
        """Return a fresh trace of a turn that is about to be played."""
        trace = self._traces[conversation, str(turn)] = TurnTrace()
        return trace

    def lookup(self, key: CallKey, call: Call, where: Where) -> RecordedExchange:
        """Return what was recorded for a call, or what stands in for it.

        Raises:
            CassetteMiss: when it is not recorded, and nothing stands in.
            FormatError: when the exchange's line is damaged.
        """
        trace = self._traces.setdefault((where.conversation, where.turn), TurnTrace())
        trace.asked_count += 1
        exchange = self._tape.take(key, call, where, trace.taken)
        if exchange is not None:
            return exchange
        if trace.diverged_at is None:
            trace.diverged_at = trace.asked_count
        if self._stand_ins is None:
            raise CassetteMiss(self._tape.explain(key, call, where))
        stand_in = self._stand_ins.find(call, where, trace.used)
        if stand_in is None:
            raise CassetteMiss(
                f"{self._tape.path} has no recording of call {trace.asked_count} of turn "
                f"{where.turn} of {where.conversation}: node {where.node}, purpose "
                f"{where.purpose.value}"
            )
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

    def record(self, key: CallKey, call: Call, where: Where, exchange: RecordedExchange) -> None:
        """Do nothing: an evaluation adds nothing to its recording."""
