"""A fake at the asker seam: what a node sees, without a budgeter behind it.

It parses its scripted answers as the budgeter does, so an answer that does not fit
fails here too. It repairs nothing, caches nothing and merges nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from pydantic import BaseModel

from turnwise.calls.call import Call, Purpose
from turnwise.calls.client import Advisory
from turnwise.calls.errors import CallError, CallRefused
from turnwise.calls.reply import Reply
from turnwise.calls.structured import parse_answer
from turnwise.testing.clients import ScriptExhausted

__all__ = ["AskerAnswer", "ScriptedAsker"]

AskerAnswer = str | BaseModel | Mapping[str, Any] | Reply | CallError
"""One scripted answer: a text, a model or a mapping sent as JSON, a reply, or an error."""

AskerScript = AskerAnswer | Sequence[AskerAnswer] | Callable[[Call], AskerAnswer]


class ScriptedAsker:
    """An asker that answers each purpose from a script.

    Args:
        answers: for each purpose one answer that it always gets, or a list of answers
            used in order, or a function of the call.
        max_calls: calls accepted; later ones end in `CallRefused`. None refuses none.
        advisory: what `advisory` returns; by default what `max_calls` leaves.

    Attributes:
        calls: every call asked, refused ones too, in the order of arrival.
        max_in_flight: most calls that waited for an answer at one time.
    """

    def __init__(
        self,
        answers: Mapping[Purpose, AskerScript] | None = None,
        *,
        max_calls: int | None = None,
        advisory: Advisory | None = None,
    ) -> None:
        self.calls: list[Call] = []
        self.max_in_flight = 0
        self._answers = dict(answers or {})
        self._max_calls = max_calls
        self._advisory = advisory
        self._in_flight = 0
        self._given: defaultdict[Purpose, int] = defaultdict(int)

    def calls_for(self, purpose: Purpose) -> list[Call]:
        """Return the calls asked for a purpose, in the order of arrival."""
        return [call for call in self.calls if call.purpose is purpose]

    async def ask(self, call: Call) -> Reply:
        """Return the scripted answer, parsed when the call has a response model.

        Raises:
            CallError: a scripted one, `CallRefused` beyond `max_calls`, or
                `InvalidAnswer` when the answer does not fit.
            ScriptExhausted: when the script has no answer for the call.
        """
        self.calls.append(call)
        if self._max_calls is not None and len(self.calls) > self._max_calls:
            raise CallRefused("scripted", "max_calls", self._max_calls, self._max_calls, 1)
        answer = self._next(call)
        self._in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self._in_flight)
        try:
            await asyncio.sleep(0)  # so that calls of one round are in flight together
        finally:
            self._in_flight -= 1
        if isinstance(answer, CallError):
            raise answer
        return _reply(answer, call)

    async def ask_all(
        self, calls: Sequence[Call], *, max_concurrency: int | None = None
    ) -> list[Reply | CallError]:
        """Ask several calls, at most `max_concurrency` at once; errors in their place."""
        gate = asyncio.Semaphore(max_concurrency or max(len(calls), 1))

        async def one(call: Call) -> Reply | CallError:
            async with gate:
                try:
                    return await self.ask(call)
                except CallError as error:
                    return error

        outcomes = await asyncio.gather(*(one(call) for call in calls))
        for outcome in outcomes:
            if isinstance(outcome, CallError) and outcome.is_fatal:
                raise outcome
        return list(outcomes)

    def advisory(self) -> Advisory:
        """Return the room left: as scripted, else by `max_calls`."""
        if self._advisory is not None:
            return self._advisory
        if self._max_calls is None:
            return Advisory()
        return Advisory(calls_left=max(self._max_calls - len(self.calls), 0))

    def _next(self, call: Call) -> AskerAnswer:
        script = self._answers.get(call.purpose)
        if script is None:
            raise ScriptExhausted(f"the script has no answer for purpose {call.purpose.value!r}")
        if isinstance(script, str | BaseModel | Mapping | Reply | CallError):
            return script
        if callable(script):
            return script(call)
        place = self._given[call.purpose]
        self._given[call.purpose] += 1
        if place >= len(script):
            raise ScriptExhausted(
                f"the script has {len(script)} answers for purpose {call.purpose.value!r}, "
                f"and this is call {place + 1}"
            )
        return script[place]


def _reply(answer: str | BaseModel | Mapping[str, Any] | Reply, call: Call) -> Reply:
    if isinstance(answer, Reply):
        return answer
    if isinstance(answer, BaseModel):
        text = answer.model_dump_json()
    elif isinstance(answer, str):
        text = answer
    else:
        text = orjson.dumps(dict(answer)).decode()
    parsed = None if call.response_model is None else parse_answer(text, call.response_model)
    return Reply(text, parsed=parsed, model="scripted")
