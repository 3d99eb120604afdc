"""Circuit breakers: endpoints that fail are not asked for a while, then tried again.

A breaker is closed while its endpoint serves. It opens, and nothing is sent, when

- one call has used up its attempts on failed connections or timeouts, or two in a row on 5xx
  (one may be the request's own fault): a whole turn then costs no more than those; or
- where `load.breaker` is given, the rate of failed attempts within its window is too high.

When its time is over it is half-open: a few attempts are let through as trials. One that
succeeds closes it, one that fails opens it again; so does a refusal count as a success, which
shows that the endpoint is there. A trial that was cancelled lets another one through.

A host that cannot be connected to is open for all its models; a model that does not answer, or
fails, is open alone. On a virtual clock nothing ever opens: no time passes there in which an
endpoint could come back.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from callwise.budget.clock import Clock
from callwise.calls.client import Endpoint
from callwise.calls.errors import (
    BadResponse,
    CallError,
    CallRefused,
    CallTimeout,
    ConnectionFailed,
    EndpointDown,
    ModelLoading,
    ServerFailed,
    StreamCut,
)
from callwise.calls.load.breaker_knobs import BreakerKnobs

__all__ = ["Breaker", "BreakerState", "BreakerStatistics", "Breakers", "is_outage", "shows_nothing"]

NOTICE_SECONDS = 10.0
"""Shortest time between two notices that an endpoint is still loading its model."""

MAX_FAILED_CALLS = 2
"""Calls in a row that may end in 5xx before the model's breaker opens, or go elsewhere."""

MAX_WINDOW = 1000
"""Most attempts that a window keeps; the oldest are left out."""


def is_outage(error: CallError) -> bool:
    """Return whether an error may mean that the endpoint, not the call, is at fault."""
    return isinstance(error, ConnectionFailed | CallTimeout | ServerFailed)


def shows_nothing(error: CallError) -> bool:
    """Return whether an attempt ended here, in a queue or for lack of quota, and was not sent."""
    if isinstance(error, ConnectionFailed | CallTimeout) and not isinstance(error, EndpointDown):
        return False
    return isinstance(error, CallRefused) or not getattr(error, "was_sent", True)


def _is_failure(error: CallError) -> bool:
    """Return whether an attempt counts as failed in the rate of its endpoint."""
    if isinstance(error, ModelLoading | EndpointDown):
        return False
    return is_outage(error) or isinstance(error, StreamCut | BadResponse)


def _reason(error: CallError | None) -> str:
    return f"{type(error).__name__}: {error}"


class BreakerState(StrEnum):
    """State of a breaker."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class BreakerStatistics(NamedTuple):
    """One breaker.

    Args:
        model: the model that it is for; empty where it is for all of the endpoint.
        trips: how often it has opened.
        reason: the failure that opened it last; empty while it is closed.
    """

    endpoint: str
    model: str
    state: BreakerState
    trips: int
    reason: str


class Breaker:
    """The breaker of one endpoint, or of one model there.

    Attributes:
        failed_calls: calls in a row that have used up their attempts.
        open_until_seconds: when trials begin; None while it is closed.
        down_since_seconds: when it opened first since it was closed last.
        reason: the failure that opened it.
        trips: how often it has opened.
    """

    __slots__ = (
        "_failures",
        "_trials",
        "_window",
        "by_rate",
        "down_since_seconds",
        "failed_calls",
        "open_seconds",
        "open_until_seconds",
        "reason",
        "trips",
    )

    def __init__(self) -> None:
        self.failed_calls = 0
        self.open_until_seconds: float | None = None
        self.open_seconds = 0.0
        self.down_since_seconds = 0.0
        self.by_rate = False
        self.reason = ""
        self.trips = 0
        self._trials = 0
        self._window: deque[tuple[float, bool]] = deque()
        self._failures = 0

    def state(self, now_seconds: float) -> BreakerState:
        """Return its state at a time."""
        if self.open_until_seconds is None:
            return BreakerState.CLOSED
        is_over = now_seconds >= self.open_until_seconds
        return BreakerState.HALF_OPEN if is_over else BreakerState.OPEN

    def refuses(self, now_seconds: float, max_trials: int) -> bool:
        """Return whether nothing may be sent: it is open, or all its trials are under way."""
        until = self.open_until_seconds
        return until is not None and (now_seconds < until or self._trials >= max_trials)

    def begin_trial(self) -> None:
        """Count a trial under way."""
        self._trials += 1

    def end_trial(self) -> None:
        """Count a trial that has ended."""
        self._trials -= 1

    def open(self, now_seconds: float, seconds: float, reason: str, *, by_rate: bool) -> None:
        """Send nothing for so long, then try."""
        if self.open_until_seconds is None:
            self.down_since_seconds = now_seconds
        self.open_until_seconds = now_seconds + seconds
        self.open_seconds, self.reason, self.by_rate = seconds, reason, by_rate
        self.trips += 1

    def close(self) -> None:
        """Send again, and forget what failed."""
        self.open_until_seconds = None
        self.failed_calls = self._failures = 0
        self.reason = ""
        self._window.clear()

    def note(self, now_seconds: float, *, has_failed: bool, window_seconds: float) -> None:
        """Count an attempt within the window."""
        window, since_seconds = self._window, now_seconds - window_seconds
        window.append((now_seconds, has_failed))
        if has_failed:
            self._failures += 1
        while window[0][0] < since_seconds or len(window) > MAX_WINDOW:
            self._failures -= window.popleft()[1]

    def is_over(self, knobs: BreakerKnobs) -> bool:
        """Return whether the attempts within the window have failed too often."""
        count = len(self._window)
        return count >= knobs.min_attempts and self._failures >= knobs.failure_rate * count


class Breakers:
    """The breakers of one budgeter.

    Args:
        notify: called with what a person should know.
        knobs_of: returns the knobs of an endpoint; None where it has no rate of failures.

    Attributes:
        are_all_closed: whether every endpoint may be asked.
    """

    def __init__(
        self,
        clock: Clock,
        notify: Callable[[str], None] | None = None,
        knobs_of: Callable[[Endpoint], BreakerKnobs | None] = lambda _endpoint: None,
    ) -> None:
        self._clock = clock
        self.notify = notify
        self._knobs_of = knobs_of
        self._known_knobs: dict[int, tuple[Endpoint, BreakerKnobs | None]] = {}
        self._breakers: dict[Hashable, Breaker] = {}
        self.are_all_closed = True
        self._has_failed_calls = False
        self._noticed_at_seconds: dict[str, float] = {}
        self._refused = 0
        self.on_open: Callable[[], None] | None = None
        """Called when one has opened."""
        self.on_trip: Callable[[str, str, float, str], None] | None = None
        """Called when one has opened by what this process has seen, with its endpoint, its model
        or an empty text, the seconds and the reason."""

    def is_quiet(self, endpoint: Endpoint) -> bool:
        """Return whether nothing has failed, and no rate of failures is kept."""
        return not self._breakers and self._knobs(endpoint) is None

    def admit(self, endpoint: Endpoint) -> Breaker | None:
        """Let an attempt through; return the breaker where it is a trial.

        Raises:
            EndpointDown: when nothing may be sent.
        """
        if self.are_all_closed:
            return None
        for breaker in self._of(endpoint):
            if breaker.open_until_seconds is None:
                continue
            if breaker.refuses(self._clock.now(), self._max_trials(endpoint)):
                self._refused += 1
                raise EndpointDown(
                    f"{endpoint.name}: not asked, it has just failed ({breaker.reason})",
                    was_sent=False,
                )
            breaker.begin_trial()
            return breaker
        return None

    def refuses(self, endpoint: Endpoint) -> bool:
        """Return whether nothing may be sent to an endpoint now."""
        if self.are_all_closed:
            return False
        now, most = self._clock.now(), self._max_trials(endpoint)
        return any(breaker.refuses(now, most) for breaker in self._of(endpoint))

    def accepting(self, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
        """Return those of some endpoints that something may be sent to now, in their order."""
        if self.are_all_closed:
            return endpoints
        return [each for each in endpoints if not self.refuses(each)]

    def reason(self, endpoint: Endpoint) -> str:
        """Return the failure that an endpoint is down for; empty while it serves."""
        return next((each.reason for each in self._of(endpoint) if each.reason), "")

    def down_seconds(self, endpoint: Endpoint) -> float:
        """Return how long an endpoint has been down; 0 while it serves."""
        since = [
            breaker.down_since_seconds
            for breaker in self._of(endpoint)
            if breaker.open_until_seconds is not None
        ]
        return max(self._clock.now() - min(since), 0.0) if since else 0.0

    def attempt_ended(
        self, endpoint: Endpoint, error: CallError | None, trial: Breaker | None
    ) -> None:
        """Count how an attempt ended; `trial` is what `admit` returned for it.

        An attempt that its own deadline has cut shows nothing, and is not passed here.
        """
        has_failed = error is not None and _is_failure(error)
        if trial is not None:
            if has_failed:
                self._open(trial, trial.open_seconds, _reason(error), by_rate=trial.by_rate)
            else:
                self._close(endpoint)
            return
        known = self._known_knobs.get(id(endpoint))
        knobs = self._knobs(endpoint) if known is None else known[1]
        if knobs is None or self._clock.is_virtual:
            return
        identity = endpoint.identity
        breaker = self._breakers.get(identity) or self._breaker(identity)
        if breaker.open_until_seconds is not None:
            return  # it was sent before
        breaker.note(self._clock.now(), has_failed=has_failed, window_seconds=knobs.window_seconds)
        if has_failed and breaker.is_over(knobs):
            self._open(breaker, knobs.open_seconds, _reason(error), by_rate=True)

    def attempt_overtaken(self, endpoint: Endpoint, seconds: float) -> None:
        """Count an attempt as failed that had no answer before a second one next to it had."""
        error = CallTimeout(f"slower than another attempt, after {seconds:.1f} s")
        breaker = self._breakers.get(endpoint.identity)
        if breaker is None or breaker.open_until_seconds is None:
            self.attempt_ended(endpoint, error, None)
        elif breaker.state(self._clock.now()) is BreakerState.HALF_OPEN:
            self._open(breaker, breaker.open_seconds, _reason(error), by_rate=breaker.by_rate)

    def call_failed(
        self, endpoint: Endpoint, error: CallError, *, down_seconds: float, went_elsewhere: bool
    ) -> None:
        """Count a call that has used up its attempts on an outage, or went to another endpoint.

        Once the breaker opens, nothing is sent for `down_seconds`, or for as long as the knobs
        of the endpoint's breaker have it. 0 opens none.
        """
        if self._clock.is_virtual or down_seconds <= 0:
            return
        is_host = isinstance(error, ConnectionFailed)
        if not is_host:
            host = self._breakers.get(endpoint.name)
            if host is not None:  # it could be reached
                host.close()
        key: Hashable = endpoint.name if is_host else endpoint.identity
        breaker = self._breaker(key)
        breaker.failed_calls += 1
        self._has_failed_calls = True
        is_doubtful = went_elsewhere or isinstance(error, ServerFailed)
        if is_doubtful and breaker.failed_calls < MAX_FAILED_CALLS:
            return
        if breaker.state(self._clock.now()) is not BreakerState.OPEN:
            knobs = self._knobs(endpoint)
            seconds = down_seconds if knobs is None else knobs.open_seconds
            self._open(breaker, seconds, _reason(error), by_rate=False)

    def call_answered(self, endpoint: Endpoint) -> None:
        """Note that an endpoint has served a call, or refused it: it is there."""
        if self.are_all_closed and not self._has_failed_calls:
            return
        for breaker in self._of(endpoint):
            if breaker.open_until_seconds is None:
                breaker.failed_calls = 0
            elif not breaker.by_rate:
                self._close(endpoint)
        self._has_failed_calls = any(each.failed_calls for each in self._breakers.values())

    def trip(self, endpoint: Endpoint, reason: str, *, seconds: float) -> None:
        """Open a breaker for what is known in another way, such as a key that is refused."""
        if not self._clock.is_virtual:
            key = endpoint.identity
            breaker = self._breaker(key)
            self._open(breaker, seconds, reason, by_rate=True)

    def open_as_elsewhere(self, endpoint: str, model: str, seconds: float, reason: str) -> bool:
        """Open a breaker that another process has opened; return whether it was closed.

        Args:
            model: empty for all models of the endpoint.
        """
        breaker = self._breaker((endpoint, model) if model else endpoint)
        if self._clock.is_virtual or breaker.open_until_seconds is not None:
            return False
        self._set_open(breaker, seconds, f"in another process: {reason}", by_rate=True)
        return True

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

    def statistics(self) -> Mapping[str, int]:
        """Return how many are open and half-open, how often any opened, and what they refused."""
        states = [each.state for each in self.states()]
        return {
            "open": states.count(BreakerState.OPEN),
            "half_open": states.count(BreakerState.HALF_OPEN),
            "trips": sum(breaker.trips for breaker in self._breakers.values()),
            "refused": self._refused,
        }

    def states(self) -> tuple[BreakerStatistics, ...]:
        """Return the breakers of all endpoints that have failed or have a rate, by name."""
        now = self._clock.now()
        named = []
        for key, breaker in self._breakers.items():
            name, model = key if isinstance(key, tuple) else (str(key), "")
            state = breaker.state(now)
            named.append(BreakerStatistics(name, model, state, breaker.trips, breaker.reason))
        return tuple(sorted(named))

    def _breaker(self, key: Hashable) -> Breaker:
        found = self._breakers.get(key)
        if found is None:
            found = self._breakers[key] = Breaker()
        return found

    def _of(self, endpoint: Endpoint) -> Iterator[Breaker]:
        if not self._breakers:
            return
        for key in (endpoint.name, endpoint.identity):
            breaker = self._breakers.get(key)
            if breaker is not None:
                yield breaker

    def _knobs(self, endpoint: Endpoint) -> BreakerKnobs | None:
        known = self._known_knobs.get(id(endpoint))
        if known is None:  # the endpoint is kept, so that its id stays its
            known = self._known_knobs[id(endpoint)] = endpoint, self._knobs_of(endpoint)
        return known[1]

    def _max_trials(self, endpoint: Endpoint) -> int:
        knobs = self._knobs(endpoint)
        return 1 if knobs is None else knobs.trials

    def _open(self, breaker: Breaker, seconds: float, reason: str, *, by_rate: bool) -> None:
        self._set_open(breaker, seconds, reason, by_rate=by_rate)
        if self.on_trip is not None:
            key = next(key for key, each in self._breakers.items() if each is breaker)
            name, model = key if isinstance(key, tuple) else (str(key), "")
            self.on_trip(name, model, seconds, reason)

    def _set_open(self, breaker: Breaker, seconds: float, reason: str, *, by_rate: bool) -> None:
        breaker.open(self._clock.now(), seconds, reason, by_rate=by_rate)
        self.are_all_closed = False
        if self.on_open is not None:
            self.on_open()

    def _close(self, endpoint: Endpoint) -> None:
        for breaker in self._of(endpoint):
            breaker.close()
        self.are_all_closed = all(
            each.open_until_seconds is None for each in self._breakers.values()
        )
