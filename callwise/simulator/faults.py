"""Seeded numbers, and the failures that are drawn from them or scripted.

Hashes give fixed properties, a stream gives the numbers of one answer. Only
`random.Random.random` is used, whose sequence for a seed is the same in every Python
version; `gauss`, `choice` and `shuffle` have no such guarantee.
"""

import hashlib
import math
import random
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from enum import StrEnum
from statistics import NormalDist
from typing import TypeVar

from callwise.simulator.simulator_settings import SimulatedSettings

__all__ = [
    "Fault",
    "FaultPlan",
    "RequestCounter",
    "SeededStream",
    "hashed_int",
    "hashed_normal",
    "hashed_unit",
]

MAX_COUNTED = 200_000


class Fault(StrEnum):
    """The outcome of one attempt."""

    OK = "ok"
    RATE_LIMITED = "429"
    SERVER_ERROR = "500"
    TIMEOUT = "timeout"
    """No answer until the client leaves, or `timeout_seconds` are over."""
    CUT_STREAM = "cut_stream"
    """A stream breaks off half-way; without a stream, the connection does."""
    MALFORMED_JSON = "malformed_json"
    """A whole answer whose text is broken JSON, or none."""
    HTML = "html"
    """A web page instead of the protocol. Scripted only."""
    AUTH = "401"
    """The key is refused. Scripted only."""


class RequestCounter:
    """Number of times that each key was seen; the oldest beyond 200,000 keys are forgotten."""

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
        if before := self._seen.get(key, 0):
            self._seen[key] = before - 1


class FaultPlan:
    """The faults of attempts: scripted ones first, in the order of arrival, then drawn ones.

    A fault is drawn from the seed, the request and the number of its attempt, so that equal
    runs fail alike and a retry is a new draw.

    Raises:
        ValueError: when the script contains something that is no `Fault`.
    """

    def __init__(self, settings: SimulatedSettings, script: Iterable[Fault | str] = ()) -> None:
        self._settings = settings
        self._script = iter([Fault(entry) for entry in script])
        self._attempts = RequestCounter()
        self._has_rates = settings.has_faults

    def next(self, request: object, *, is_stream: bool, is_structured: bool) -> Fault:
        """Return the fault of the next attempt at a request, which is identified by a digest.

        By rate, only streams are cut, and only answers that must fit a schema are malformed.
        """
        scripted = next(self._script, None)
        if scripted is not None or not self._has_rates:
            return scripted or Fault.OK
        settings = self._settings
        drawn = (settings.seed, request, self._attempts.add(request))
        place = hashed_unit("fault", *drawn)
        for rate, fault in (
            (settings.error_rate_429, Fault.RATE_LIMITED),
            (settings.error_rate_500, Fault.SERVER_ERROR),
            (settings.timeout_rate, Fault.TIMEOUT),
        ):
            if place < rate:
                return fault
            place -= rate
        if is_stream and hashed_unit("fault of the answer", *drawn) < settings.cut_stream_rate:
            return Fault.CUT_STREAM
        if is_structured and hashed_unit("fault of the text", *drawn) < (
            settings.malformed_json_rate
        ):
            return Fault.MALFORMED_JSON
        return Fault.OK


ItemT = TypeVar("ItemT")

_NORMAL = NormalDist()
_TWO_52 = float(2**52)


def hashed_int(*parts: object) -> int:
    """Return 64 bits that depend on the parts and on nothing else."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def hashed_unit(*parts: object) -> float:
    """Return a number strictly between 0 and 1 that depends on the parts alone."""
    # 52 bits and a half still fit a float; the largest of more bits would round to 1.0.
    return ((hashed_int(*parts) >> 12) + 0.5) / _TWO_52


def hashed_normal(*parts: object) -> float:
    """Return a standard normal number that depends on the parts alone."""
    return _NORMAL.inv_cdf(hashed_unit(*parts))


class SeededStream:
    """The random numbers of one answer."""

    __slots__ = ("_next",)

    def __init__(self, seed: int) -> None:
        self._next = random.Random(seed).random

    def unit(self) -> float:
        """Return a number in [0, 1)."""
        return self._next()

    def chance(self, probability: float) -> bool:
        """Return true with this probability."""
        return self._next() < probability

    def index(self, count: int) -> int:
        """Return an index in [0, count). `count` is at least 1."""
        return int(self._next() * count)  # never `count`: the product rounds down

    def pick(self, items: Sequence[ItemT]) -> ItemT:
        """Return one of the items."""
        return items[self.index(len(items))]

    def normal(self) -> float:
        """Return a standard normal number (Box-Muller, one branch)."""
        return math.sqrt(-2.0 * math.log(1.0 - self._next())) * math.cos(math.tau * self._next())
