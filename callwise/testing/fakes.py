"""Fakes of a client and of an LLM, which pass the contract tests of the real ones.

They answer from a script, keep the calls, and count the requests they would have sent, so that
a test can compare a ledger with them.
"""

import asyncio
import inspect
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
from pydantic import BaseModel

from callwise.calls.call import Call, Purpose
from callwise.calls.client import Remaining
from callwise.calls.errors import CallError, CallRefused, CallwiseError, EndpointError
from callwise.calls.reply import Reply, ReportedUsage
from callwise.calls.structured import parse_answer

__all__ = [
    "Answer",
    "FailingClient",
    "ScriptExhausted",
    "ScriptedClient",
    "ScriptedLLM",
]


Answer = str | BaseModel | Mapping[str, Any] | Reply | CallError
"""One scripted answer: a text, a model or a mapping sent as JSON, a whole reply, or an error."""


Script = Iterable[Answer] | Callable[[Call], Answer | Awaitable[Answer]]


DEFAULT_USAGE = ReportedUsage(input_tokens=10, output_tokens=5)


class ScriptExhausted(CallwiseError):
    """A test asked more calls than its script has answers."""


class ScriptedClient:
    """A client that answers from a list, in order, or from a function of the call.

    The function may be async, so that a test can hold an answer back with an event.

    Args:
        script: the answers. A call beyond the last one raises `ScriptExhausted`.
        is_simulated: whether it and its text answers are marked as simulated.

    Attributes:
        calls: every call asked, in the order of arrival, answered or not.
        models: the model named for each of `calls`.
        sent_requests: requests that would have left the machine.
        cancelled_calls: calls that were cancelled while their answer was held back.
    """

    def __init__(
        self,
        script: Script = (),
        *,
        usage: ReportedUsage = DEFAULT_USAGE,
        is_simulated: bool = False,
    ) -> None:
        self.calls: list[Call] = []
        self.models: list[str] = []
        self.sent_requests = 0
        self.cancelled_calls = 0
        self.is_closed = False
        self._function = script if callable(script) else None
        self._answers: Iterator[Answer] = iter(()) if callable(script) else iter(script)
        self._usage = usage
        self._is_simulated = is_simulated

    @property
    def is_simulated(self) -> bool:
        """Whether its answers are shown as simulated."""
        return self._is_simulated

    async def answer(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        on_sent: Callable[[int], None] | None = None,
    ) -> Sequence[Reply | CallError]:
        """Answer from the script, calls of one sequence side by side.

        Raises:
            ScriptExhausted: when the script is a list and has no answer left.
        """
        if len(calls) == 1:
            return [await self._one(0, calls[0], model, on_sent)]
        return await asyncio.gather(
            *(self._one(index, call, model, on_sent) for index, call in enumerate(calls))
        )

    async def aclose(self) -> None:
        """Set `is_closed`. Safe to call twice."""
        self.is_closed = True

    async def _one(
        self, index: int, call: Call, model: str, on_sent: Callable[[int], None] | None
    ) -> Reply | CallError:
        self.calls.append(call)
        self.models.append(model)
        if self._function is None:
            answer = self._next_answer()
            self._send(index, answer, on_sent)
            return self._reply(answer, call, model)
        # A function that waits is like a server that computes: its request was sent.
        pending = self._function(call)
        if not inspect.isawaitable(pending):
            self._send(index, pending, on_sent)
            return self._reply(pending, call, model)
        self._send(index, None, on_sent)
        try:
            return self._reply(await pending, call, model)
        except asyncio.CancelledError:
            self.cancelled_calls += 1
            raise

    def _next_answer(self) -> Answer:
        try:
            return next(self._answers)
        except StopIteration:
            raise ScriptExhausted(
                f"the script has {len(self.calls) - 1} answers, and call {len(self.calls)} came: "
                f"{self.calls[-1].role} / {self.calls[-1].purpose}"
            ) from None

    def _send(
        self, index: int, answer: Answer | None, on_sent: Callable[[int], None] | None
    ) -> None:
        if isinstance(answer, EndpointError) and not answer.was_sent:
            return
        self.sent_requests += 1
        if on_sent is not None:
            on_sent(index)

    def _reply(self, answer: Answer, call: Call, model: str) -> Reply | CallError:
        if isinstance(answer, Reply | CallError):
            return answer
        text = _text(answer)
        vectors = tuple((float(len(item)), 1.0) for item in call.inputs)
        return Reply(
            text="" if call.is_embedding else text,
            vectors=vectors,
            usage=self._usage,
            model=model,
            finish_reason=None if call.is_embedding else "stop",
            chunks=(text,) if call.stream and not call.is_embedding else (),
            is_simulated=self._is_simulated,
        )


class FailingClient(ScriptedClient):
    """A client that fails, the first few times or always.

    Args:
        error: makes one error; a new one each time, as a real client does.
        failures: how many calls fail before the first answer; None fails always.
    """

    def __init__(
        self,
        error: Callable[[], CallError],
        *,
        failures: int | None = None,
        then: Answer = "ok",
    ) -> None:
        super().__init__(self._fail_or_answer)
        self._error = error
        self._failures = failures
        self._then = then

    def _fail_or_answer(self, call: Call) -> Answer:
        del call
        if self._failures is None or len(self.calls) <= self._failures:
            return self._error()
        return self._then


PurposeScript = Answer | Sequence[Answer] | Callable[[Call], Answer]
"""One answer for all calls of a purpose, or a list of answers used in order, or a function."""


class ScriptedLLM:
    """An LLM that answers each purpose from a script.

    Args:
        max_calls: calls accepted; later ones end in `CallRefused`. None refuses none.
        advisory: what `advisory` returns; by default what `max_calls` leaves.

    Attributes:
        calls: every call asked, refused ones too, in the order of arrival.
        max_in_flight: most calls that waited for an answer at one time.
    """

    def __init__(
        self,
        answers: Mapping[Purpose, PurposeScript] | None = None,
        *,
        max_calls: int | None = None,
        advisory: Remaining | None = None,
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
            await asyncio.sleep(0)  # so that calls of one round wait together
        finally:
            self._in_flight -= 1
        if isinstance(answer, CallError):
            raise answer
        if isinstance(answer, Reply):
            return answer
        text, model = _text(answer), call.response_model
        parsed = None if model is None else parse_answer(text, model)
        return Reply(text, parsed=parsed, model="scripted")

    async def ask_all(
        self, calls: Sequence[Call], *, max_concurrency: int | None = None
    ) -> list[Reply | CallError]:
        """Ask several calls, at most `max_concurrency` concurrently; errors in their place."""
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

    def advisory(self) -> Remaining:
        """Return what remains: as scripted, else by `max_calls`."""
        if self._advisory is not None:
            return self._advisory
        if self._max_calls is None:
            return Remaining()
        return Remaining(calls_left=max(self._max_calls - len(self.calls), 0))

    def _next(self, call: Call) -> Answer:
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


def _text(answer: str | BaseModel | Mapping[str, Any]) -> str:
    if isinstance(answer, BaseModel):
        return answer.model_dump_json()
    return answer if isinstance(answer, str) else orjson.dumps(dict(answer)).decode()
