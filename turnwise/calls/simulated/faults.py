"""Injected failures: which attempt fails, and how. Drawn from the seed, or scripted."""

from collections import OrderedDict
from collections.abc import Iterable
from enum import StrEnum

from turnwise.calls.simulated.draws import hashed_unit
from turnwise.calls.simulated.settings import SimulatedSettings

__all__ = ["Counter", "Fault", "FaultPlan"]

MAX_COUNTED = 200_000


class Fault(StrEnum):
    """How one attempt goes."""

    OK = "ok"
    RATE_LIMITED = "429"
    SERVER_ERROR = "500"
    TIMEOUT = "timeout"
    """No answer until the asker leaves, or `timeout_seconds` are over."""
    CUT_STREAM = "cut_stream"
    """A stream breaks off half-way; without a stream, the connection does."""
    MALFORMED_JSON = "malformed_json"
    """A whole answer whose text is broken JSON, or none."""
    HTML = "html"
    """A web page instead of the protocol. Scripted only."""
    AUTH = "401"
    """The key is refused. Scripted only."""


class Counter:
    """How often each of many keys was seen; forgets the oldest beyond 200,000 keys."""

    def __init__(self) -> None:
        self._seen: OrderedDict[object, int] = OrderedDict()

    def count(self, key: object) -> int:
        """Return how often the key was counted before."""
        return self._seen.get(key, 0)

    def add(self, key: object) -> int:
        """Count the key, and return how often it was counted before."""
        before = self._seen.get(key, 0)
        self._seen[key] = before + 1
        if len(self._seen) > MAX_COUNTED:
            self._seen.popitem(last=False)
        return before

    def take_back(self, key: object) -> None:
        """Undo one `add`."""
        before = self._seen.get(key, 0)
        if before > 0:
            self._seen[key] = before - 1


class FaultPlan:
    """Decides how each attempt goes.

    The script is used up first, one entry an attempt in the order of arrival; after
    that, faults are drawn from the seed, the request and the number of its attempt,
    so that equal runs fail alike and a retry is a new draw.

    Args:
        settings: the rates and the seed.
        script: the first attempts, exactly, as `Fault` values.

    Raises:
        ValueError: when the script holds something that is no `Fault`.
    """

    def __init__(self, settings: SimulatedSettings, script: Iterable[Fault | str] = ()) -> None:
        self._settings = settings
        self._script = [Fault(entry) for entry in script]
        self._used = 0
        self._attempts = Counter()
        self._has_rates = any(
            (
                settings.error_rate_429,
                settings.error_rate_500,
                settings.timeout_rate,
                settings.cut_stream_rate,
                settings.malformed_json_rate,
            )
        )

    def next(self, request: object, *, is_stream: bool, is_structured: bool) -> Fault:
        """Return how the next attempt at a request goes.

        Args:
            request: what identifies the request, such as a digest.
            is_stream: whether the answer is streamed.
            is_structured: whether the answer must fit a schema.
        """
        if self._used < len(self._script):
            self._used += 1
            return self._script[self._used - 1]
        if not self._has_rates:
            return Fault.OK
        attempt = self._attempts.add(request)
        return self._drawn(request, attempt, is_stream=is_stream, is_structured=is_structured)

    def _drawn(
        self, request: object, attempt: int, *, is_stream: bool, is_structured: bool
    ) -> Fault:
        settings = self._settings
        place = hashed_unit("fault", settings.seed, request, attempt)
        for rate, fault in (
            (settings.error_rate_429, Fault.RATE_LIMITED),
            (settings.error_rate_500, Fault.SERVER_ERROR),
            (settings.timeout_rate, Fault.TIMEOUT),
        ):
            if place < rate:
                return fault
            place -= rate
        own = hashed_unit("fault of the answer", settings.seed, request, attempt)
        if is_stream and own < settings.cut_stream_rate:
            return Fault.CUT_STREAM
        own = hashed_unit("fault of the text", settings.seed, request, attempt)
        if is_structured and own < settings.malformed_json_rate:
            return Fault.MALFORMED_JSON
        return Fault.OK
