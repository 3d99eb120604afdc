"""The answers of a referee: each question is asked once, and recorded.

A semaphore limits open calls and admits them in order. A recorded run repeats its failures, because
a replay shows what happened; a referee's recording keeps and plays answers only, so a call that
failed, was refused or was cancelled is asked again by the next run. An unreadable answer is an
answer: it was paid for, and is repaired once where the budget allows it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pydantic import BaseModel

from callwise.budget.budgeter import Budgeter
from callwise.budget.recorder import CallOrigin, RecordedExchange
from callwise.calls.call import Call, Outcome
from callwise.calls.client import Endpoint
from callwise.calls.errors import CallError, InvalidAnswer
from callwise.calls.key import CallKey, call_key
from callwise.calls.repair import repair_call
from callwise.recordings.cassette import Cassette
from callwise.recordings.cassette_file import CassetteFile

__all__ = ["AnswersOnlyRecorder", "RefereeAnswer", "RefereeAnswers"]


class AnswersOnlyRecorder:
    """A recorder that keeps and plays answers only.

    Args:
        cassette: just opened, to play and record; the caller closes it.

    Raises:
        FormatError: when its file cannot be read.
    """

    def __init__(self, cassette: Cassette) -> None:
        self._cassette = cassette
        # Opened a second time, since a cassette has no lookup that does not consume.
        file = CassetteFile.open_reading(cassette.path)
        file.close()
        self._index = file.index

    def contains(self, key: CallKey) -> bool:
        """Return whether the recording contained a call when it was opened."""
        return self._index.contains(bytes.fromhex(key))

    def lookup(self, key: CallKey, call: Call, where: CallOrigin) -> RecordedExchange | None:
        """Take the next answer of a key, or None; failures are passed over.

        Raises:
            FormatError: when its line is damaged.
        """
        while True:
            exchange = self._cassette.lookup(key, call, where)
            if exchange is None or exchange.reply is not None:
                return exchange

    def record(
        self, key: CallKey, call: Call, where: CallOrigin, exchange: RecordedExchange
    ) -> None:
        """Append an answer that was paid for; drop everything else."""
        if exchange.reply is not None and exchange.outcome is Outcome.SERVED:
            self._cassette.record(key, call, where, exchange)


@dataclass(frozen=True, slots=True)
class RefereeAnswer:
    """The answer to one question.

    Args:
        parsed: None when it could not be read; then `unreadable` is the reason.
    """

    parsed: BaseModel | None = None
    unreadable: InvalidAnswer | None = None
    is_repaired: bool = False
    is_simulated: bool = False


@dataclass(slots=True)
class RefereeAnswers:
    """The questions that were asked, and their answers."""

    _budgeter: Budgeter
    _endpoint: Endpoint
    _recording: AnswersOnlyRecorder
    _max_concurrency: int
    stopped_by: CallError | None = None
    _answers: dict[CallKey, RefereeAnswer] = field(default_factory=dict)

    def key_of(self, call: Call) -> CallKey:
        """Return a call's key at this endpoint."""
        return call_key(call, endpoint=self._endpoint.name, model=self._endpoint.model)

    def is_answered(self, key: CallKey) -> bool:
        """Return whether a call was answered before, here or in the recording."""
        return key in self._answers or self._recording.contains(key)

    def get(self, key: CallKey) -> RefereeAnswer | None:
        """Return an answer, or None when there is none (yet)."""
        return self._answers.get(key)

    async def ask(self, calls: Mapping[CallKey, Call]) -> dict[CallKey, CallError]:
        """Ask the questions that have no answer yet; return those that failed.

        After a fatal error the rest is not asked: it has neither answer nor error.

        Raises:
            Exception: a bug in a client or a damaged recording, once all have ended.
        """
        fresh = {key: call for key, call in calls.items() if key not in self._answers}
        answers, errors = await self._ask_all(fresh)
        self._answers.update(answers)
        return errors

    async def repair(
        self, calls: Mapping[CallKey, Call], *, max_bought: int | None
    ) -> tuple[int, dict[CallKey, CallError]]:
        """Ask unreadable answers again, with what was wrong, in order.

        Args:
            calls: questions; those with a readable answer, or repaired before, are ignored.
            max_bought: most repairs to buy; None for all. Recorded ones are free.

        Returns:
            How many were bought, and the errors of those that failed.
        """
        repairs: dict[CallKey, Call] = {}
        origin: dict[CallKey, CallKey] = {}
        bought = 0
        for key, call in calls.items():
            answer = self._answers.get(key)
            if answer is None or answer.unreadable is None or answer.is_repaired:
                continue
            repair = repair_call(call, answer.unreadable)
            repair_key = self.key_of(repair)
            if not self._recording.contains(repair_key):
                if max_bought is not None and bought >= max_bought:
                    continue
                bought += 1
            repairs[repair_key], origin[repair_key] = repair, key
        answers, errors = await self._ask_all(repairs)
        for key, answer in answers.items():
            self._answers[origin[key]] = replace(answer, is_repaired=True)
        return bought, {origin[key]: error for key, error in errors.items()}

    async def _ask_all(
        self, calls: Mapping[CallKey, Call]
    ) -> tuple[dict[CallKey, RefereeAnswer], dict[CallKey, CallError]]:
        gate = asyncio.Semaphore(self._max_concurrency)
        answers: dict[CallKey, RefereeAnswer] = {}
        errors: dict[CallKey, CallError] = {}

        async def one(key: CallKey, call: Call) -> None:
            async with gate:
                if self.stopped_by is not None:
                    return
                try:
                    reply = await self._budgeter.ask(call)
                except InvalidAnswer as error:
                    answers[key] = RefereeAnswer(unreadable=error)
                except CallError as error:
                    errors[key] = error
                    if error.is_fatal and self.stopped_by is None:
                        self.stopped_by = error
                else:
                    answers[key] = RefereeAnswer(reply.parsed, is_simulated=reply.is_simulated)

        waits = (one(key, call) for key, call in calls.items())
        for end in await asyncio.gather(*waits, return_exceptions=True):
            if isinstance(end, BaseException):
                raise end
        return answers, errors
