"""Probes of an endpoint's abilities, with as few calls as possible.

Three calls of a few tokens each: one word, one small form with every parameter that a
turn may send, and one word as a stream. Refusals on the way teach the client, which is part
of the result. Then what the endpoint reports: its models, its context
length, a batch route. Every request, refused ones and those without tokens too, goes
through a budgeter and is counted.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

from pydantic import BaseModel

from callwise.budget.budgeter import Budgeter
from callwise.budget.limits import Limits
from callwise.calls import Call, CallError, Client, Endpoint, Message, Purpose, Reply, Role
from callwise.calls.call import Sampling
from callwise.calls.capabilities import Capabilities, SchemaMode
from callwise.calls.client import Getter, look_up
from callwise.calls.endpoint_settings import EndpointSettings
from callwise.calls.errors import BadRequest, EmptyAnswer, InvalidAnswer
from callwise.calls.hosts import is_this_machine
from callwise.calls.reply import ReportedUsage
from callwise.calls.retry import RetryPolicy
from callwise.cli.endpoint_report import Probed

__all__ = ["ProbeTarget", "probe"]

MODES: tuple[SchemaMode, ...] = ("json_schema", "json_object", "prompt")
"""Ways to ask for the form of an answer, the strongest first."""

ANSWER_TOKENS = 256
"""Tokens for one word, and for the reasoning of a model that reasons first."""

LOOK_UP_SECONDS = 15.0

CONTEXT_FIELDS = (
    "max_model_len",  # vLLM, SGLang
    "context_length",  # OpenRouter, Ollama
    "context_window",  # Groq
    "max_context_length",  # Mistral, LM Studio
)
"""Fields of a model's entry in a list of models that give its context length."""

_RETRY = RetryPolicy(
    rate_limited_attempts=3,
    server_failed_attempts=2,
    connection_failed_attempts=1,
    timeout_attempts=1,
    stream_cut_attempts=1,
    empty_answer_attempts=2,
)

_ONE_WORD = (Message("user", "Answer with the single word OK."),)

_SMALL_FORM = (
    Message("system", "You answer questions about the sky, shortly."),
    # The names of the form's fields are not in it: only an endpoint that keeps to the schema,
    # or one whose prompt has the form, can have them right.
    Message("user", "Which colour has a clear sky at noon, and is it night then?"),
)


class _Sky(BaseModel):
    hue: str
    is_dark: bool


@runtime_checkable
class _Learner(Protocol):
    """A client that keeps what a model takes, and learns it from refusals."""

    def capabilities(self, model: str) -> Capabilities: ...


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """One endpoint and model to probe.

    Args:
        base_url: where it is; None for kinds without one.
        make: returns the endpoint with its own client, by settings.
        secrets: keys that must be in no error.
    """

    roles: tuple[Role, ...]
    settings: EndpointSettings
    base_url: str | None
    make: Callable[[EndpointSettings], Endpoint]
    secrets: tuple[str, ...] = ()


class _LookUps:
    """Look-ups of an endpoint's own reports, as a client, so that its requests are counted.

    Attributes:
        found: status and document by URL.
    """

    is_simulated = False

    def __init__(self, client: Getter, base_url: str) -> None:
        self.client = client
        self.base_url = base_url
        self.found: dict[str, tuple[int, Any]] = {}

    async def answer(
        self,
        calls: Sequence[Call],
        *,
        model: str,  # noqa: ARG002 - it is the endpoint that is asked, not a model
        on_sent: Callable[[int], None] | None = None,
    ) -> Sequence[Reply | CallError]:
        """Get the URL of each call."""
        ends: list[Reply | CallError] = []
        for index, call in enumerate(calls):
            url = call.messages[0].content
            try:
                self.found[url] = await look_up(
                    self.client,
                    url,
                    base_url=self.base_url,
                    timeout_seconds=call.timeout_seconds or LOOK_UP_SECONDS,
                    on_sent=partial(on_sent, index) if on_sent is not None else None,
                )
                ends.append(Reply(text=str(self.found[url][0]), usage=ReportedUsage(0, 0)))
            except CallError as error:
                ends.append(error)
        return ends

    async def aclose(self) -> None:
        """Do nothing: the connections are the other client's."""


async def probe(
    target: ProbeTarget,
    *,
    max_seconds: float,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> Probed:
    """Return what an endpoint can do.

    Args:
        max_seconds: time for all of it; at least 0. Probes not done by then are unknown.
        say: called with what is asked next.
        clock: monotonic seconds.
    """
    endpoint = target.make(target.settings)
    probed = Probed(
        roles=target.roles,
        name=endpoint.name,
        model=endpoint.model,
        is_simulated=endpoint.client.is_simulated,
        is_priced=endpoint.prices is not None,
    )
    if probed.is_simulated:
        await endpoint.client.aclose()
        return probed
    probing = _Probing(target, probed, clock() + max_seconds, say, clock)
    try:
        if target.roles == (Role.EMBED,):
            await probing.embed(endpoint)
        else:
            await probing.chat(endpoint)
    except CallError as error:
        probed.error = error
    return probed


@dataclass(slots=True)
class _Probing:
    """One endpoint's probing, under way."""

    target: ProbeTarget
    probed: Probed
    deadline: float
    say: Callable[[str], None]
    clock: Callable[[], float]

    def _open(self, endpoint: Endpoint) -> tuple[Budgeter, _LookUps | None]:
        """Return a budgeter over an endpoint and its look-ups."""
        patient = replace(endpoint, retry=_RETRY)
        endpoints = {Role.MAIN: patient, Role.EMBED: patient}
        look_ups = None
        if self.target.base_url is not None and isinstance(endpoint.client, Getter):
            look_ups = _LookUps(endpoint.client, self.target.base_url)
            # By another name: one route that fails is no property of the model.
            name = f"{endpoint.name}-itself"
            endpoints[Role.FAST] = replace(patient, name=name, model="", client=look_ups)
        budgeter = Budgeter(
            endpoints,
            limits=Limits(max_seconds=max(self.deadline - self.clock(), 0.0)),
            retry=_RETRY,
            secrets=self.target.secrets,
            sinks=(self.probed.rows.append,),
        )
        return budgeter, look_ups

    def _tell(self, what: str) -> None:
        roles = ", ".join(self.probed.roles)
        self.say(f"{roles} at {self.probed.name} ({self.probed.model}): {what}")

    async def chat(self, endpoint: Endpoint) -> None:
        """Probe a chat model.

        Raises:
            CallError: when it does not answer at all.
        """
        budgeter, look_ups = self._open(endpoint)
        probed = self.probed
        try:
            if look_ups is not None:
                self._tell("its models")
                await self._models(budgeter, look_ups)
            self._tell("one word")
            reply = await budgeter.ask(_chat_call(_ONE_WORD))
            probed.served_model = reply.model or None
            probed.latency_seconds = reply.latency_seconds
            probed.has_usage = reply.usage.total_tokens is not None
            self._tell("a small form, with temperature, seed and log-probabilities")
            last = await self._form(budgeter, endpoint)
            self._tell("one word, as a stream")
            with suppress(CallError):
                streamed = await budgeter.ask(replace(_chat_call(_ONE_WORD), stream=True))
                probed.has_stream_usage = streamed.usage.total_tokens is not None
            probed.capabilities = _capabilities(endpoint) or last
            if look_ups is not None:
                self._tell("its context length and batch route")
                await self._context(budgeter, look_ups)
                await self._batches(budgeter, look_ups)
        finally:
            await budgeter.aclose()

    async def _form(self, budgeter: Budgeter, endpoint: Endpoint) -> Capabilities | None:
        """Find the strongest way to ask for a form in which the answer has it.

        An endpoint may take a way and not keep to it, so that an answer without the form
        is followed by the next weaker way.

        Returns:
            The capabilities that the client has learned.
        """
        probed = self.probed
        call = replace(
            _chat_call(_SMALL_FORM),
            response_model=_Sky,
            sampling=Sampling(temperature=0.2, max_tokens=ANSWER_TOKENS, seed=1, top_logprobs=5),
            max_repairs=0,
        )
        asking, opened = budgeter, endpoint
        mode = self.target.settings.schema_mode or MODES[0]
        problem = ""
        while True:
            try:
                reply = await asking.ask(call)
            except (BadRequest, InvalidAnswer, EmptyAnswer) as error:
                reply, problem = None, f"{type(error).__name__}: {error}"
            finally:
                known = _capabilities(opened)
                if asking is not budgeter:
                    await asking.aclose()
            used = known.schema_mode if known is not None else mode
            if reply is not None:
                probed.schema_mode = used
                probed.has_logprobs = bool(reply.token_logprobs)
                return known
            if used == MODES[-1] or known is None:
                break
            mode = MODES[MODES.index(used) + 1]
            self._tell(f"the same, by {mode}")
            opened = self.target.make(_with_capabilities(self.target.settings, known, mode))
            asking, _ = self._open(opened)
        probed.problem = (
            "no answer had the form that was asked for, neither by schema nor by prompt "
            f"({problem})"
        )
        return known

    async def embed(self, endpoint: Endpoint) -> None:
        """Probe an embedding model.

        Raises:
            CallError: when it does not answer.
        """
        budgeter, look_ups = self._open(endpoint)
        try:
            if look_ups is not None:
                await self._models(budgeter, look_ups)
            self._tell("one embedding")
            reply = await budgeter.ask(Call(Role.EMBED, Purpose.EMBED, inputs=("sky",)))
        finally:
            await budgeter.aclose()
        self.probed.served_model = reply.model or None
        self.probed.latency_seconds = reply.latency_seconds
        self.probed.has_usage = reply.usage.input_tokens is not None
        self.probed.dimension = len(reply.vectors[0])

    async def _look_up(self, budgeter: Budgeter, look_ups: _LookUps, url: str) -> tuple[int, Any]:
        """Return status and document of a URL; (0, None) when no response came."""
        call = Call(
            Role.FAST, Purpose.OTHER, (Message("user", url),), timeout_seconds=LOOK_UP_SECONDS
        )
        with suppress(CallError):
            await budgeter.ask(call)
        return look_ups.found.get(url, (0, None))

    async def _models(self, budgeter: Budgeter, look_ups: _LookUps) -> None:
        _, document = await self._look_up(budgeter, look_ups, "/models")
        entries = [each for each in _listed(document, "data") if isinstance(each.get("id"), str)]
        self.probed.models = tuple(each["id"] for each in entries)
        mine = next((each for each in entries if each["id"] == self.probed.model), {})
        self.probed.context_tokens = _first_count(mine, CONTEXT_FIELDS)

    async def _context(self, budgeter: Budgeter, look_ups: _LookUps) -> None:
        """Ask a local server for its context length in its own way."""
        probed = self.probed
        if probed.capabilities is not None and probed.capabilities.context_tokens is not None:
            probed.context_tokens = probed.capabilities.context_tokens
        parts = urlsplit(self.target.base_url or "")
        if probed.context_tokens is not None or not is_this_machine(parts.hostname or ""):
            return
        root = f"{parts.scheme}://{parts.netloc}"
        _, props = await self._look_up(budgeter, look_ups, f"{root}/props")  # llama.cpp
        settings = props.get("default_generation_settings") if isinstance(props, Mapping) else None
        probed.context_tokens = _first_count(settings, ("n_ctx",))
        if probed.context_tokens is None:  # Ollama, once the model is loaded
            _, running = await self._look_up(budgeter, look_ups, f"{root}/api/ps")
            for each in _listed(running, "models"):
                if probed.model in {each.get("name"), each.get("model")}:
                    probed.context_tokens = _first_count(each, ("context_length",))

    async def _batches(self, budgeter: Budgeter, look_ups: _LookUps) -> None:
        """Find a route for batches. Nothing is submitted: it is only asked for with GET."""
        statuses = []
        for route in ("/batches", "/chat/completions/batch"):
            status, document = await self._look_up(budgeter, look_ups, route)
            # A route that takes POST alone answers 405.
            if status == 405 or (status == 200 and isinstance(document, Mapping)):
                self.probed.batch_route = route
                return
            statuses.append(status)
        if set(statuses) == {404}:
            self.probed.batch_route = ""


def _chat_call(messages: tuple[Message, ...]) -> Call:
    return Call(Role.MAIN, Purpose.OTHER, messages, sampling=Sampling(max_tokens=ANSWER_TOKENS))


def _capabilities(endpoint: Endpoint) -> Capabilities | None:
    client: Client = endpoint.client
    return client.capabilities(endpoint.model) if isinstance(client, _Learner) else None


def _with_capabilities(
    settings: EndpointSettings, known: Capabilities, mode: SchemaMode
) -> EndpointSettings:
    """Return settings that start from what is known, with another way to ask for a form."""
    return settings.model_copy(
        update={
            "schema_mode": mode,
            "token_limit_field": known.token_limit_field,
            "system_role": known.system_role,
            "refused": tuple(sorted(known.refused)),
        }
    )


def _listed(document: object, name: str) -> list[Mapping[str, Any]]:
    """Return the objects of a document's list; empty when there is none. Untrusted."""
    found = document.get(name) if isinstance(document, Mapping) else None
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def _first_count(entry: object, names: Sequence[str]) -> int | None:
    """Return the first positive whole number among an object's fields. Untrusted."""
    values = [entry.get(name) for name in names] if isinstance(entry, Mapping) else []
    return next((value for value in values if type(value) is int and value > 0), None)
