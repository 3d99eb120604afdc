"""Knowledge of each model at an endpoint, and the calls that find out more.

Problem: a new endpoint refuses a field of the request. Of eight simultaneous
calls, eight would be refused for the same reason, and each refused request is paid for and
counted.

Choice: while a call is under way that uses something the model has not yet been seen to
take, other such calls to that model wait for its end. An answer confirms all that its
request used, and no call waits for that any more; a refusal that teaches something lets
the next one try; any other end (a timeout, a 429) teaches nothing, and lets all of them go
on together, so that a dead endpoint is not asked one call after another.

Rejected: asking a model beforehand what it takes (requests that answer nothing); a lock
for the first call alone (a later call may use more than it did).

Invariant: each waiting call goes on when the one under way ends, however it ends.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from callwise.calls import errors
from callwise.calls.capabilities import (
    Capabilities,
    Lesson,
    learn_from_length,
    learn_from_refusal,
)
from callwise.calls.hosts import endpoint_name, known_batch_limits, known_capabilities
from callwise.calls.load.batch_knobs import BatchLimits
from callwise.calls.provider_errors import Refusal, failure_of

__all__ = ["LearnedFact", "Learner", "ModelKnowledge", "features_of"]

_MAY_TEACH = (errors.BadRequest, errors.ServerFailed, errors.BadResponse)
"""Errors that may mean a refused field; exactly these, no subclass of them."""


@dataclass(frozen=True, slots=True)
class LearnedFact:
    """One thing that an endpoint has refused, and what is done instead from then on.

    Args:
        capabilities: all that is known of the model now.
        change: what requests do otherwise, in one clause: "sends no temperature".
        message: the endpoint's words, without secrets.
    """

    endpoint: str
    model: str
    capabilities: Capabilities
    change: str
    message: str

    def __str__(self) -> str:
        """Return it as one line for a person."""
        return f"{self.model} at {self.endpoint}: {self.change} from now on ({self.message})"


def features_of(body: Mapping[str, Any]) -> frozenset[str]:
    """Return what of a request body an endpoint may refuse, by name."""
    features = set(body) - {"model", "messages", "input"}
    form = body.get("response_format")
    if isinstance(form, Mapping):
        features.add(f"response_format.{form.get('type')}")
    if any(message.get("role") == "system" for message in body.get("messages", ())):
        features.add("role.system")
    return frozenset(features)


class _Trial:
    """One request under way that uses what is not confirmed."""

    __slots__ = ("ended", "has_result", "loop")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()
        self.has_result = False


class ModelKnowledge:
    """Knowledge of one model at one endpoint.

    Args:
        capabilities: what it is taken to take at first.
        is_confirmed: whether that is known, so that no call waits to find out.
    """

    def __init__(self, capabilities: Capabilities, *, is_confirmed: bool = False) -> None:
        self.capabilities = capabilities
        self._is_confirmed = is_confirmed
        self._seen = {capabilities}
        self._confirmed: frozenset[str] = frozenset()
        self._trial: _Trial | None = None

    def takes(self, body: Mapping[str, Any]) -> bool:
        """Return whether a request with this body is known to be taken."""
        return self._is_confirmed or features_of(body) <= self._confirmed

    @asynccontextmanager
    async def asking(self, body: Callable[[], Mapping[str, Any]]) -> AsyncIterator[None]:
        """Wait, where another call is finding out what this one has to know.

        Args:
            body: returns the call's request, by what is known by then.
        """
        while (trial := self._under_way()) is not None and not self.takes(body()):
            await trial.ended.wait()
            if not trial.has_result:
                break
        mine: _Trial | None = None
        if self._under_way() is None and not self.takes(body()):
            mine = self._trial = _Trial()
        try:
            yield
        finally:
            if mine is not None:
                if self._trial is mine:
                    self._trial = None
                mine.ended.set()

    def confirm(self, body: Mapping[str, Any]) -> None:
        """Remember that a request with this body was answered."""
        if not self.takes(body):
            self._confirmed |= features_of(body)
            if self._trial is not None:
                self._trial.has_result = True

    def learn(self, lesson: Lesson | None) -> bool:
        """Take a lesson in; return whether it is one. No state is ever come back to."""
        if lesson is None or lesson.capabilities in self._seen:
            return False
        self.capabilities = lesson.capabilities
        self._seen.add(lesson.capabilities)
        if self._trial is not None:
            self._trial.has_result = True
        return True

    def _under_way(self) -> _Trial | None:
        """Return the request that is finding out; one of a loop that is gone never ends."""
        trial = self._trial
        if trial is not None and trial.loop is not asyncio.get_running_loop():
            trial = self._trial = None
        return trial


class Learner:
    """Base of a client that learns what the models of its endpoint take.

    Args:
        capabilities: what every model there is taken to take at first; None begins by
            the table of known endpoints.
        is_confirmed: whether that is known to be right.
    """

    def __init__(
        self, base_url: str, *, capabilities: Capabilities | None, is_confirmed: bool
    ) -> None:
        self._base_url = base_url
        self._capabilities = capabilities
        self._is_confirmed = is_confirmed
        self._models: dict[str, ModelKnowledge] = {}
        self._on_learned: Callable[[LearnedFact], None] | None = None
        self._on_notice: Callable[[str], None] | None = None
        self._noticed: set[str] = set()

    def capabilities(self, model: str) -> Capabilities:
        """Return what a model there takes, as far as is known by now."""
        return self._known(model).capabilities

    @property
    def batch_limits(self) -> BatchLimits:
        """Limits of the endpoint on a request with several texts to embed, as far as known."""
        return known_batch_limits(self._base_url)

    def _known(self, model: str) -> ModelKnowledge:
        known = self._models.get(model)
        if known is None:
            start, is_confirmed = self._capabilities, self._is_confirmed
            if start is None:
                start, is_confirmed = known_capabilities(self._base_url, model)
            known = self._models[model] = ModelKnowledge(start, is_confirmed=is_confirmed)
        return known

    def start_from(self, model: str, capabilities: Capabilities) -> None:
        """Begin with what was learned of a model before; its calls do not wait to find out."""
        self._models[model] = ModelKnowledge(capabilities, is_confirmed=True)

    def listen(
        self, *, on_learned: Callable[[LearnedFact], None], on_notice: Callable[[str], None]
    ) -> None:
        """Set callbacks for each fact that is learned and for notices to the user, each once."""
        self._on_learned, self._on_notice = on_learned, on_notice

    def _notice(self, subject: str, text: str) -> None:
        if self._on_notice is not None and subject not in self._noticed:
            self._noticed.add(subject)
            self._on_notice(text)

    def _error_of(
        self,
        refusal: Refusal,
        body: Mapping[str, Any],
        remake: Callable[[Capabilities], Mapping[str, Any]],
        *,
        latency_seconds: float,
    ) -> errors.CallError:
        """Return the error that a refusal means, having learned what it teaches.

        Args:
            remake: makes the same call's request by what is known now.
        """
        failure = failure_of(refusal, latency_seconds=latency_seconds)
        if not isinstance(failure, errors.ContextTooLong) and type(failure) not in _MAY_TEACH:
            return failure
        known = self._known(body["model"])
        change = "sends what was learned meanwhile"
        if remake(known.capabilities) == body:
            if isinstance(failure, errors.ContextTooLong):
                lesson = learn_from_length(known.capabilities, body, failure)
            else:
                lesson = learn_from_refusal(known.capabilities, body, refusal)
            if lesson is None or not known.learn(lesson):
                return failure
            change = lesson.change
            if self._on_learned is not None:
                name, known_now = endpoint_name(self._base_url), lesson.capabilities
                self._on_learned(
                    LearnedFact(name, body["model"], known_now, change, refusal.message)
                )
        if isinstance(failure, errors.ContextTooLong) and (failure.prompt_tokens or 0) > (
            known.capabilities.max_output_tokens or 0
        ):
            return failure  # shorter answers alone do not make it fit
        return errors.ParameterRefused(
            refusal.message, change=change, status=refusal.status, latency_seconds=latency_seconds
        )
