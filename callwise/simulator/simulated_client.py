"""The simulated model in process, behind the client seam. It waits for nobody.

Latency is virtual: it is written on the reply and on the error, and a call whose
latency exceeds its own timeout ends in `CallTimeout`, but no time passes. A sleeper can
be injected where time should pass, on a manual clock or for real.

Like the HTTP server it takes a request's seed as the index of the sample. One departure:
a request without a seed is the first sample here; the server counts how often it has
answered an equal body.
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

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
from callwise.calls.reply import Reply, ReportedUsage
from callwise.calls.wire import chat_body, embedding_body
from callwise.simulator.faults import Fault, FaultPlan
from callwise.simulator.model import (
    SchemaRefused,
    SimulatedModel,
    SimulatedUsage,
    body_digest,
    malformed,
    pieces_of,
    sample_of,
    simulated_name,
)
from callwise.simulator.simulator_settings import SimulatedSettings

__all__ = ["SimulatedClient"]

_MAX_FORMATS = 512
"""How many response models' forms are kept; some applications make models as they go."""


class SimulatedClient:
    """A client that answers from a simulated model, at once.

    Args:
        model: who answers.
        faults: which attempts fail; None draws them from the model's settings.
        sleep: awaited with the virtual latency of each answer, where time should pass;
            None lets no time pass.
    """

    def __init__(
        self,
        model: SimulatedModel,
        *,
        faults: FaultPlan | None = None,
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._model = model
        self._faults = faults or FaultPlan(model.settings)
        self._sleep = sleep
        self._formats: dict[type[BaseModel], Any] = {}

    @classmethod
    def from_settings(
        cls,
        settings: SimulatedSettings | None = None,
        *,
        script: Iterable[Fault | str] = (),
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ) -> "SimulatedClient":
        """Return a client for these settings; `script` says how the first attempts go."""
        chosen = settings or SimulatedSettings()
        model = SimulatedModel(settings=chosen)
        return cls(model, faults=FaultPlan(chosen, script), sleep=sleep)

    @property
    def is_simulated(self) -> bool:
        """Always true: whoever shows its answers says so."""
        return True

    @property
    def model(self) -> SimulatedModel:
        """Who answers; knows the true quality of a reply."""
        return self._model

    async def answer(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        on_sent: Callable[[int], None] | None = None,
    ) -> Sequence[Reply | CallError]:
        """Answer the calls, each with a request of its own, all in flight together."""
        if on_sent is not None:
            for index in range(len(calls)):
                on_sent(index)
        outcomes = [self._one(call, model) for call in calls]
        if self._sleep is not None:
            await self._sleep(max(_latency_of(outcome) for outcome in outcomes))
        return outcomes

    async def aclose(self) -> None:
        """Do nothing: there is nothing to release."""

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
        if (late := _late(call, answer.latency_seconds)) is not None:
            return late
        text, choices = answer.text, answer.choices
        if fault is Fault.MALFORMED_JSON:
            text = malformed(text, int(digest[:4], 16))
            choices = (text, *choices[1:]) if choices else ()
        return Reply(
            text=text,
            choices=choices,
            tool_calls=answer.tool_calls,
            usage=_usage(answer.usage),
            model=simulated_name(model),
            finish_reason=answer.finish_reason,
            latency_seconds=answer.latency_seconds,
            chunks=tuple(pieces_of(text)) if call.stream else (),
            is_simulated=True,
            token_logprobs=answer.odds[0].tokens_of(text) if answer.odds else (),
        )

    def _embedding(self, call: Call, model: str) -> Reply | CallError:
        digest = body_digest(embedding_body(call, model=model))
        fault = self._faults.next((digest, 0), is_stream=False, is_structured=False)
        if fault not in {Fault.OK, Fault.MALFORMED_JSON}:
            return self._failed(fault, call)
        vectors, usage, latency_seconds = self._model.embed(list(call.inputs))
        return _late(call, latency_seconds) or Reply(
            text="",
            vectors=tuple(vectors),
            usage=_usage(usage),
            model=simulated_name(model),
            latency_seconds=latency_seconds,
            is_simulated=True,
        )

    def _body(self, call: Call, model: str) -> dict[str, Any]:
        """Return `chat_body` of the call; the form of a response model is made once."""
        if call.response_model is None:
            return chat_body(call, model=model)
        form = self._formats.get(call.response_model)
        if form is None:
            if len(self._formats) >= _MAX_FORMATS:
                self._formats.clear()
            form = chat_body(call, model=model)["response_format"]
            self._formats[call.response_model] = form
        body = chat_body(replace(call, response_model=None), model=model)
        body["response_format"] = form
        return body

    def _failed(self, fault: Fault, call: Call) -> CallError:
        settings = self._model.settings
        quick = settings.latency_base_seconds * settings.latency_scale
        match fault:
            case Fault.RATE_LIMITED:
                return RateLimited(
                    "simulated: too many requests",
                    retry_after_seconds=settings.retry_after_seconds,
                    latency_seconds=quick,
                )
            case Fault.SERVER_ERROR:
                return ServerFailed(
                    "simulated: internal server error", status=500, latency_seconds=quick
                )
            case Fault.AUTH:
                return AuthFailed(
                    "simulated: the key is refused", status=401, latency_seconds=quick
                )
            case Fault.HTML:
                return BadResponse(
                    "simulated: a web page instead of an answer", latency_seconds=quick
                )
            case Fault.CUT_STREAM if call.stream:
                return StreamCut("simulated: the stream broke off", latency_seconds=quick)
            case Fault.CUT_STREAM:
                return ConnectionFailed(
                    "simulated: the connection broke off", latency_seconds=quick
                )
            case _:
                waited = min(settings.timeout_seconds, call.timeout_seconds or math.inf)
                return CallTimeout("simulated: no answer in time", latency_seconds=waited)


def _usage(usage: SimulatedUsage) -> ReportedUsage:
    return ReportedUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
    )


def _late(call: Call, latency_seconds: float) -> CallTimeout | None:
    """Return the timeout that a call with too little patience meets."""
    limit = call.timeout_seconds
    if limit is None or latency_seconds <= limit:
        return None
    return CallTimeout(
        f"simulated: no answer within {limit:g} s (it would have taken {latency_seconds:.2f} s)",
        latency_seconds=limit,
    )


def _latency_of(outcome: Reply | CallError) -> float:
    return float(getattr(outcome, "latency_seconds", 0.0))
