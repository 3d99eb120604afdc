"""Calls of a recording as routing sees them: purpose, role, complexity, tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

from callwise.budget.policies.complexity import complexity_of
from callwise.budget.recorder import CallOrigin, RecordedExchange
from callwise.calls.call import Call, Outcome, Purpose
from callwise.calls.key import CallKey
from callwise.calls.policies import ComplexityKnobs
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.snapshot_memory import SnapshotMemory
from callwise.recordings.counterfactual.evaluation import CounterfactualRecorder
from callwise.recordings.counterfactual.reusable_cassette import ReusableCassette
from callwise.tuning.replay_evaluator import OpenRecording

__all__ = ["RecordedCall", "recorded_calls"]


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One chat call of the recorded run that was sent.

    Args:
        complexity: in [0, 1], as `route` computes it.
        input_tokens: as recorded.
        output_tokens: as recorded.
    """

    purpose: str
    role: str
    complexity: float
    input_tokens: int
    output_tokens: int


class _Listener(CounterfactualRecorder):
    """Plays a recording strictly, and notes each call."""

    def __init__(self, cassette: ReusableCassette, knobs: ComplexityKnobs) -> None:
        super().__init__(cassette)
        self.calls: list[RecordedCall] = []
        self._knobs = knobs

    def lookup(self, key: CallKey, call: Call, where: CallOrigin) -> RecordedExchange:
        """Return the recorded exchange of a call."""
        exchange = super().lookup(key, call, where)
        is_chosen = not call.is_embedding and not call.model and exchange.choice is None
        if (
            is_chosen
            and exchange.outcome is Outcome.SERVED
            and where.purpose is not Purpose.REFEREE
        ):
            usage = exchange.usage
            self.calls.append(
                RecordedCall(
                    where.purpose.value,
                    where.role.value,
                    complexity_of(call, self._knobs, full_tokens=1).value,
                    usage.input_tokens,
                    usage.output_tokens,
                )
            )
        return exchange


async def recorded_calls(
    known: OpenRecording, knobs: ComplexityKnobs, max_turns: int | None = None
) -> Sequence[RecordedCall]:
    """Return the calls that a routing table could give to another model, in the order asked.

    Those whose model is named by the call or was chosen by a policy are left out.

    Args:
        knobs: with `full_tokens`.
    """
    recording = known.recording
    player = _Listener(known.cassette, knobs)
    memory: ConversationMemory = SnapshotMemory(known.store)
    async with recording.session(recording.settings(None), player, memory) as session:
        for turn in recording.inputs[:max_turns]:
            player.open_turn(turn.conversation_id, turn.turn or 0)
            await session.run_turn(turn)
    return player.calls
