"""A recording that does not keep how a turn broke off.

A wrong key, a web page instead of an answer or an endpoint that is down ends a run, and
the run goes on later. Were the failure in its recording, it would be played then, and
the run would break off at the same call for ever. So a failure is held back until its
turn goes on after it or ends, which makes it part of what happened; what broke off with
its turn is never written. The order within a turn stays.
"""

from collections.abc import Mapping

from turnwise.budget.recorder import RecordedExchange, Recorder, Where
from turnwise.calls.call import Call, Outcome, Role
from turnwise.calls.key import CallKey
from turnwise.replay.cassette import Cassette

__all__ = ["RunRecorder"]

_Turn = tuple[str | None, str | None]
"""Conversation and turn, as the names of their scopes."""

_BROKEN_OFF = frozenset({Outcome.FAILED, Outcome.CANCELLED})


class RunRecorder:
    """A recorder for one run.

    Args:
        recorder: where exchanges are looked up and kept. Not owned.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._held: dict[_Turn, list[tuple[CallKey, Call, Where, RecordedExchange]]] = {}

    def lookup(self, key: CallKey, call: Call, where: Where) -> RecordedExchange | None:
        """Take the next exchange of a key; see `Recorder.lookup`."""
        return self._recorder.lookup(key, call, where)

    def record(self, key: CallKey, call: Call, where: Where, exchange: RecordedExchange) -> None:
        """Remember how a call ended, as soon as its turn goes on."""
        if exchange.outcome in _BROKEN_OFF:
            turn = (where.conversation, where.turn)
            self._held.setdefault(turn, []).append((key, call, where, exchange))
            return
        self.keep(where.conversation, where.turn)
        self._recorder.record(key, call, where, exchange)

    def keep(self, conversation: str | None, turn: str | None) -> None:
        """Write what is held back of a turn: it went on, or has ended."""
        for held in self._held.pop((conversation, turn), ()):
            self._recorder.record(*held)

    def answered_by(self) -> Mapping[Role, tuple[str, str]]:
        """Return the endpoint and the model that answered each role; none where it is not said."""
        return self._recorder.answered_by() if isinstance(self._recorder, Cassette) else {}

    def keep_all(self) -> None:
        """Write what is held back of every turn."""
        for conversation, turn in list(self._held):
            self.keep(conversation, turn)
