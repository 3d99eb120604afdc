"""A referee's recording: what was answered once is never bought again.

A run's recording repeats its failures, because a replay must show what happened. A
referee's must not: a call that failed, was refused or was cancelled is asked again the
next time. So only answers are kept, and only answers are played. An answer that could not
be read is an answer: it was paid for, and is not bought twice.
"""

from turnwise.budget.recorder import RecordedExchange, Where
from turnwise.calls.call import Call, Outcome
from turnwise.calls.key import CallKey
from turnwise.replay.cassette import Cassette
from turnwise.replay.cassette_file import CassetteFile

__all__ = ["AnswersOnly"]


class AnswersOnly:
    """A cassette that keeps and plays answers. A `turnwise.budget.recorder.Recorder`.

    Args:
        cassette: just opened, to play and record on; owned by whoever opened it.

    Raises:
        FormatError: when its file cannot be read.
    """

    def __init__(self, cassette: Cassette) -> None:
        self._cassette = cassette
        # Opened a second time, since what a cassette holds cannot be asked without taking it.
        file = CassetteFile.open_reading(cassette.path)
        file.close()
        self._index = file.index

    def knows(self, key: CallKey) -> bool:
        """Return whether a call stood in the recording when it was opened."""
        return self._index.knows(bytes.fromhex(key))

    def lookup(self, key: CallKey, call: Call, where: Where) -> RecordedExchange | None:
        """Take the next answer of a key, or None; failures are passed over.

        Raises:
            FormatError: when its line is damaged.
        """
        while True:
            exchange = self._cassette.lookup(key, call, where)
            if exchange is None or exchange.reply is not None:
                return exchange

    def record(self, key: CallKey, call: Call, where: Where, exchange: RecordedExchange) -> None:
        """Append an answer that was paid for; let everything else go."""
        if exchange.reply is not None and exchange.outcome is Outcome.SERVED:
            self._cassette.record(key, call, where, exchange)
