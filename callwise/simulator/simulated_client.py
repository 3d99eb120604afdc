"""The simulated model in process, behind the client protocol.

Latency is virtual: the reply or the error has it, and a call whose latency exceeds its own
timeout ends in `CallTimeout`, but no time passes unless a `sleep` is given.

Like the HTTP server it takes a request's seed as the index of the sample. One departure:
a request without a seed is the first sample here; the server counts how often it has
answered an equal body.
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from callwise.calls.call import Call
from callwise.calls.errors import (
    AuthFailed,
    BadRequest,
    BadResponse,
    CallError,
    CallTimeout,
    ConnectionFailed,
    RateLimited,
    ServerFailed,
    StreamCut,
)
from callwise.calls.reply import Reply
from callwise.calls.schema import schema_format
from callwise.calls.wire import chat_body, embedding_body
from callwise.simulator.faults import Fault, FaultPlan
from callwise.simulator.model import (
    SchemaRefused,
    SimulatedModel,
    body_digest,
    pieces_of,
    sample_of,
    simulated_name,
)
from callwise.simulator.service_limits import ServiceGate
from callwise.simulator.simulator_settings import SimulatedSettings

__all__ = ["SimulatedClient"]


class SimulatedClient:
    """A client that answers from a simulated model.

    Args:
        settings: of the model and its faults.
        script: faults of the first attempts, as `Fault` values; later ones are drawn.
        sleep: awaited with the virtual latency of each answer; None lets no time pass.
        now: seconds on the clock of `sleep`, by which the limits of the settings are kept;
            None keeps none.

    Attributes:
        gate: keeps the limits; None without any.
    """

    def __init__(
        self,
        settings: SimulatedSettings | None = None,
        *,
        script: Iterable[Fault | str] = (),
        sleep: Callable[[float], Awaitable[None]] | None = None,
        now: Callable[[], float] | None = None,
    ) -> None:
        self._model = SimulatedModel(settings=settings)
        self._faults = FaultPlan(self._model.settings, script)
        self._sleep = sleep
        self._now = now
        limits = self._model.settings.limits
        self.gate = ServiceGate(limits) if limits is not None and now is not None else None
        self._form = lru_cache(maxsize=128)(schema_format)

    @property
    def is_simulated(self) -> bool:
        """Always true."""
        return True

    @property
    def model(self) -> SimulatedModel:
        """The model, which has the true quality of a reply."""
        return self._model

    async def answer(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        on_sent: Callable[[int], None] | None = None,
    ) -> Sequence[Reply | CallError]:
        """Answer each call with one request, all concurrently."""
        if on_sent is not None:
            for index in range(len(calls)):
                on_sent(index)
        return await self._answered([[self._one(call, model)] for call in calls])

    async def answer_conversations(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        path: str,  # noqa: ARG002 - there is one model, whatever the route
        on_sent: Callable[[], None] | None = None,
    ) -> Sequence[Reply | CallError]:
        """Answer chat calls with one request, each as if it were asked alone.

        Faults, usage and latency are those of each; the request lasts as long as the slowest.
        """
        if on_sent is not None:
            on_sent()
        return await self._answered([[self._one(call, model) for call in calls]])

    async def aclose(self) -> None:
        """Do nothing: there is nothing to release."""

    async def _answered(
        self, requests: Sequence[Sequence[Reply | CallError]]
    ) -> list[Reply | CallError]:
        """Return the ends of the calls of concurrent requests, once their latency has passed."""
        admitted = 0
        if self.gate is not None:
            requests = [self._limited(each, self.gate) for each in requests]
            admitted = sum(any(isinstance(end, Reply) for end in each) for each in requests)
        outcomes = [end for each in requests for end in each]
        try:
            if self._sleep is not None:
                await self._sleep(max(getattr(each, "latency_seconds", 0.0) for each in outcomes))
        finally:
            for _ in range(admitted):
                self.gate.release()  # type: ignore[union-attr] # it has admitted them
        return outcomes

    def _one(self, call: Call, model: str) -> Reply | CallError:
        if call.is_embedding:
            return self._embedding(call, model)
        body = self._body(call, model)
        digest = body_digest(body)
        sample = sample_of(body) or 0
        fault = self._faults.next(
            (digest, sample),
            is_stream=call.stream,
            is_structured=call.response_model is not None,
        )
        if fault not in {Fault.OK, Fault.MALFORMED_JSON}:
            return self._failed(fault, call)
        try:
            answer = self._model.answer(body, sample, digest=digest)
        except SchemaRefused as error:
            return BadRequest(f"simulated: {error}", status=400)
        if fault is Fault.MALFORMED_JSON:
            answer = answer.spoilt(digest)
        return _late(call, answer.latency_seconds) or Reply(
            text=answer.text,
            choices=answer.choices,
            tool_calls=answer.tool_calls,
            usage=answer.usage,
            model=simulated_name(model),
            finish_reason=answer.finish_reason,
            latency_seconds=answer.latency_seconds,
            chunks=tuple(pieces_of(answer.text)) if call.stream else (),
            is_simulated=True,
            token_logprobs=answer.odds[0].tokens_of(answer.text) if answer.odds else (),
        )

    def _limited(
        self, outcomes: Sequence[Reply | CallError], gate: ServiceGate
    ) -> list[Reply | CallError]:
        """Return the ends of one request's calls, or the refusal of a limit for each reply."""
        usages = [each.usage for each in outcomes if isinstance(each, Reply)]
        if not usages or self._now is None:
            return list(outcomes)
        refused = gate.admit(
            self._now(),
            input_tokens=sum(each.input_tokens or 0 for each in usages),
            output_tokens=sum(each.output_tokens or 0 for each in usages),
        )
        if refused is None:
            return list(outcomes)
        name, wait = refused.dimension.replace("_", " "), refused.wait_seconds
        seconds = wait if 0.0 < wait < math.inf else None
        return [
            RateLimited(f"simulated: the limit on {name} is reached", retry_after_seconds=seconds)
            if isinstance(each, Reply)
            else each
            for each in outcomes
        ]

    def _embedding(self, call: Call, model: str) -> Reply | CallError:
        digest = body_digest(embedding_body(call, model=model))
        fault = self._faults.next((digest, 0), is_stream=False, is_structured=False)
        if fault not in {Fault.OK, Fault.MALFORMED_JSON}:
            return self._failed(fault, call)
        vectors, usage, latency_seconds = self._model.embed(list(call.inputs))
        return _late(call, latency_seconds) or Reply(
            text="",
            vectors=tuple(vectors),
            usage=usage,
            model=simulated_name(model),
            latency_seconds=latency_seconds,
            is_simulated=True,
        )

    def _body(self, call: Call, model: str) -> dict[str, Any]:
        """Return `chat_body` of the call; the form of a response model is made once."""
        body = chat_body(replace(call, response_model=None), model=model)
        if call.response_model is not None:
            body["response_format"] = self._form(call.response_model)
        return body

    def _failed(self, fault: Fault, call: Call) -> CallError:
        settings = self._model.settings
        error: CallError
        match fault:
            case Fault.RATE_LIMITED:
                wait = settings.retry_after_seconds
                error = RateLimited("simulated: too many requests", retry_after_seconds=wait)
            case Fault.SERVER_ERROR:
                error = ServerFailed("simulated: internal server error", status=500)
            case Fault.AUTH:
                error = AuthFailed("simulated: the key is refused", status=401)
            case Fault.HTML:
                error = BadResponse("simulated: a web page instead of an answer")
            case Fault.CUT_STREAM if call.stream:
                error = StreamCut("simulated: the stream broke off")
            case Fault.CUT_STREAM:
                error = ConnectionFailed("simulated: the connection broke off")
            case _:
                limit = min(settings.timeout_seconds, call.timeout_seconds or math.inf)
                return CallTimeout("simulated: no answer in time", latency_seconds=limit)
        error.latency_seconds = settings.latency_base_seconds * settings.latency_scale
        return error


def _late(call: Call, latency_seconds: float) -> CallTimeout | None:
    """Return the timeout of a call whose answer takes longer than the call allows."""
    limit = call.timeout_seconds
    if limit is None or latency_seconds <= limit:
        return None
    return CallTimeout(
        f"simulated: no answer within {limit:g} s (it would have taken {latency_seconds:.2f} s)",
        latency_seconds=limit,
    )
