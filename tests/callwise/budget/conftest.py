"""Fixtures of the budgeter's tests: calls, a budgeter on fakes, a recorder in memory."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from callwise.budget import Budgeter, CallOrigin, RecordedExchange
from callwise.calls import Call, CallKey, Endpoint, Message, Prices, Purpose, Role
from callwise.calls.errors import CassetteMiss
from callwise.testing.fakes import ScriptedClient

PRICES = Prices(input_usd_per_million=1.0, output_usd_per_million=2.0)


class FixedCounter:
    """A token counter with one count for every call."""

    def __init__(self, input_tokens: int = 10) -> None:
        self._input_tokens = input_tokens

    def call_tokens(self, call: Call) -> int:
        """Return the fixed number."""
        return self._input_tokens


class MemoryRecorder:
    """A recording in memory: by key, in the order of asking as in a cassette; strict or not."""

    def __init__(self, *, is_strict: bool = False) -> None:
        self.is_strict = is_strict
        self.lanes: dict[CallKey, deque[RecordedExchange]] = {}
        self.recorded: list[tuple[CallKey, CallOrigin, RecordedExchange]] = []

    def lookup(self, key: CallKey, call: Call, where: CallOrigin) -> RecordedExchange | None:
        """Take the next exchange of a key."""
        lane = self.lanes.get(key)
        if lane:
            return lane.popleft()
        if self.is_strict:
            raise CassetteMiss(f"{where.scope} is not recorded")
        return None

    def record(
        self, key: CallKey, call: Call, where: CallOrigin, exchange: RecordedExchange
    ) -> None:
        """Remember an exchange."""
        self.recorded.append((key, where, exchange))

    def played(self, *, is_strict: bool = True) -> "MemoryRecorder":
        """Return a recorder that plays what this one has recorded."""
        player = MemoryRecorder(is_strict=is_strict)
        for key, _, exchange in sorted(self.recorded, key=lambda each: each[2].sequence):
            player.lanes.setdefault(key, deque()).append(exchange)
        return player


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Return a function that lets others run until something is so."""

    async def wait(is_so: Callable[[], Any]) -> None:
        for _ in range(1000):
            if is_so():
                return
            await asyncio.sleep(0)
        raise AssertionError("it never came to be so")

    return wait


@pytest.fixture
def recorder() -> MemoryRecorder:
    """Return an empty recording that may be written."""
    return MemoryRecorder()


@pytest.fixture
def ask_for() -> Callable[..., Call]:
    """Return a function that makes a call with a prompt; equal ones share, as a node's do."""

    def make(prompt: str = "hi", role: Role = Role.MAIN, **changes: Any) -> Call:
        purpose = changes.pop("purpose", Purpose.OTHER)
        changes.setdefault("share", True)
        return Call(role, purpose, (Message("user", prompt),), **changes)

    return make


@pytest.fixture
def make_budgeter() -> Callable[..., Budgeter]:
    """Return a function that makes a budgeter whose every role is served by one client."""

    def make(client: Any = None, *, prices: Prices | None = PRICES, **changes: Any) -> Budgeter:
        if client is None:
            client = ScriptedClient(lambda call: f"echo {call.messages[-1].content}")
        endpoint = Endpoint("fake", "model-1", client, prices)
        changes.setdefault("estimator", FixedCounter())
        return Budgeter(dict.fromkeys(Role, endpoint), **changes)

    return make
