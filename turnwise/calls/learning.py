"""What is known of each model at an endpoint, and who is finding out more.

Problem: a new endpoint refuses a field of the request. Of eight calls at once, eight
would be refused for the same thing, and each refused request is paid for and counted.

Choice: while a call is under way that uses something the model has not yet been seen to
take, other such calls to that model wait for its end. An answer confirms all that its
request used, and nobody waits for that any more; a refusal that teaches something lets
the next one try; any other end (a timeout, a 429) says nothing, and lets all of them go
on at once, so that a dead endpoint is not asked one call after another.

Rejected: asking a model beforehand what it takes (requests that answer nothing); a lock
for the first call alone (a later call may use more than it did).

Invariant: whoever waits is let go when the one under way ends, however it ends.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from turnwise.calls.capabilities import Capabilities, Lesson

__all__ = ["LearnedFact", "Learner", "ModelKnowledge", "features_of"]


@dataclass(frozen=True, slots=True)
class LearnedFact:
    """One thing that an endpoint has refused, and what is done instead from then on.

    Args:
        endpoint: name of the endpoint.
        model: the model's name there.
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


@runtime_checkable
class Learner(Protocol):
    """A client that learns what its endpoint takes."""

    def capabilities(self, model: str) -> Capabilities:
        """Return what is known of a model."""
        ...

    def start_from(self, model: str, capabilities: Capabilities) -> None:
        """Begin with what was learned of a model before."""
        ...

    def listen(
        self, *, on_learned: Callable[[LearnedFact], None], on_notice: Callable[[str], None]
    ) -> None:
        """Tell each fact that is learned, and what else a person should know, each once."""
        ...


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

    __slots__ = ("ended", "is_telling", "loop")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()
        self.is_telling = False


class ModelKnowledge:
    """What is known of one model at one endpoint.

    Args:
        capabilities: what it is taken to take at first.
        is_confirmed: whether that is known, so that nobody waits to find out.

    Attributes:
        capabilities: what it takes, as far as is known.
    """

    def __init__(self, capabilities: Capabilities, *, is_confirmed: bool = False) -> None:
        self.capabilities = capabilities
        self._is_confirmed = is_confirmed
        self._seen = {capabilities}
        self._confirmed: frozenset[str] = frozenset()
        self._trial: _Trial | None = None

    def takes(self, features: frozenset[str]) -> bool:
        """Return whether a request with these features is known to be taken."""
        return self._is_confirmed or features <= self._confirmed

    @asynccontextmanager
    async def asking(self, features: Callable[[], frozenset[str]]) -> AsyncIterator[None]:
        """Wait, where another call is finding out what this one has to know.

        Args:
            features: returns what the call's request uses, by what is known by then.
        """
        while (trial := self._under_way()) is not None and not self.takes(features()):
            await trial.ended.wait()
            if not trial.is_telling:
                break
        mine: _Trial | None = None
        if self._under_way() is None and not self.takes(features()):
            mine = self._trial = _Trial()
        try:
            yield
        finally:
            if mine is not None:
                if self._trial is mine:
                    self._trial = None
                mine.ended.set()

    def confirm(self, features: frozenset[str]) -> None:
        """Remember that a request with these features was answered."""
        if not self.takes(features):
            self._confirmed |= features
            if self._trial is not None:
                self._trial.is_telling = True

    def learn(self, lesson: Lesson | None) -> bool:
        """Take a lesson in; return whether it is one. No state is ever come back to."""
        if lesson is None or lesson.capabilities in self._seen:
            return False
        self.capabilities = lesson.capabilities
        self._seen.add(lesson.capabilities)
        if self._trial is not None:
            self._trial.is_telling = True
        return True

    def _under_way(self) -> _Trial | None:
        """Return the request that is finding out; one of a loop that is gone never ends."""
        trial = self._trial
        if trial is not None and trial.loop is not asyncio.get_running_loop():
            trial = self._trial = None
        return trial
