"""Endpoints that have just failed, so that not every call waits for them to fail again.

An endpoint that cannot be reached, or does not answer, is down after one call has used
up its attempts on it: a whole turn then costs no more than those. One that answers 5xx
is down after two such calls in a row, because one may be the request's own fault. While
it is down nothing is sent; after that time one call makes one attempt, and its end
decides. Any other end of a call, a refusal included, shows that the endpoint is there.

A host that cannot be connected to is down for all its models; a model that does not
answer, or fails, is down alone. On a virtual clock nothing is ever down: no time passes
there in which it could come back.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from callwise.budget.clock import Clock
from callwise.calls.client import Endpoint
from callwise.calls.errors import (
    CallError,
    CallTimeout,
    ConnectionFailed,
    EndpointDown,
    ServerFailed,
)

__all__ = ["EndpointHealth", "EndpointState", "is_outage"]

NOTICE_SECONDS = 10.0
"""Shortest time between two notices that an endpoint is still loading its model."""

MAX_FAILED_CALLS = 2
"""Calls in a row that may end in 5xx before the model is down."""


def is_outage(error: CallError) -> bool:
    """Return whether an error may mean that the endpoint, not the call, is at fault."""
    return isinstance(error, ConnectionFailed | CallTimeout | ServerFailed)


@dataclass(slots=True)
class EndpointState:
    """Failures in a row, and until when nothing is sent."""

    failed_calls: int = 0
    down_until_seconds: float | None = None
    reason: str = ""
    is_probed: bool = False
    """Whether one call makes the one attempt that finds out whether the endpoint is back."""


class EndpointHealth:
    """The endpoints of one budgeter. `notify` is called with what a person should know."""

    def __init__(self, clock: Clock, notify: Callable[[str], None] | None = None) -> None:
        self._clock = clock
        self.notify = notify
        self._states: dict[Hashable, EndpointState] = {}
        self._noticed_at_seconds: dict[str, float] = {}

    def admit(self, endpoint: Endpoint) -> EndpointState | None:
        """Let a call through; return the state where it is the one that finds out.

        Raises:
            EndpointDown: when the endpoint is down.
        """
        if not self._states:
            return None
        for key in (endpoint.name, (endpoint.name, endpoint.model)):
            state = self._states.get(key)
            if state is None or state.down_until_seconds is None:
                continue
            if state.is_probed or self._clock.now() < state.down_until_seconds:
                raise EndpointDown(
                    f"{endpoint.name}: not asked, it has just failed ({state.reason})",
                    was_sent=False,
                )
            state.is_probed = True
            return state
        return None

    def failed(self, endpoint: Endpoint, error: CallError, *, down_seconds: float) -> None:
        """Remember that a call has used up its attempts on an outage.

        Once the endpoint is down, nothing is sent to it for `down_seconds`.
        """
        if self._clock.is_virtual or down_seconds <= 0:
            return
        is_host = isinstance(error, ConnectionFailed)
        if not is_host:
            self._states.pop(endpoint.name, None)  # the host could be reached
        key: Hashable = endpoint.name if is_host else (endpoint.name, endpoint.model)
        state = self._states.setdefault(key, EndpointState())
        state.failed_calls += 1
        if isinstance(error, ServerFailed) and state.failed_calls < MAX_FAILED_CALLS:
            return
        state.down_until_seconds = self._clock.now() + down_seconds
        state.reason = f"{type(error).__name__}: {error}"

    def answered(self, endpoint: Endpoint) -> None:
        """Remember that the endpoint is there."""
        if self._states:
            self._states.pop(endpoint.name, None)
            self._states.pop((endpoint.name, endpoint.model), None)

    def loading(self, endpoint: Endpoint, *, max_seconds: float) -> None:
        """Show a person, now and then, that an endpoint is loading its model."""
        now = self._clock.now()
        last = self._noticed_at_seconds.get(endpoint.name)
        if self.notify is None or (last is not None and now - last < NOTICE_SECONDS):
            return
        self._noticed_at_seconds[endpoint.name] = now
        self.notify(
            f"{endpoint.name} is still loading the model {endpoint.model}; "
            f"each call waits up to {max_seconds:g} s (retry.model_loading_seconds)"
        )
