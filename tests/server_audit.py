"""Comparison of the ledger with a server's log of received requests.

The simulated model runs behind a real socket and fails on purpose: 429 with Retry-After,
500, requests that are never answered, streams cut half-way, answers of broken JSON. Many
calls are asked through the real client, with few connections, so that requests have to wait
for one; some are equal and concurrent; and some are cancelled: before their request could
be sent, in the very step in which it is, while it is under way, or while they wait to try
again. Then every request in the ledger must be in the server's log, and the other way
round, call by call.
"""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from pydantic import BaseModel

from callwise.budget import Budgeter, LedgerRow, Limits
from callwise.calls import Call, CallError, Endpoint, Message, Outcome, Purpose, Role
from callwise.calls.key import call_key
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.wire import chat_body
from callwise.simulator.model import body_digest
from callwise.simulator.server import SimServer
from callwise.simulator.simulator_settings import SimulatedSettings
from tests.leaving import HurriedClock, Leaving, WatchedClient, mean_to_leave

__all__ = ["Audit", "run_audit"]

ENDPOINT, MODEL = "local", "local-model"

MAX_CONNECTIONS = 12
MAX_CALLERS = 32
ATTEMPT_SECONDS = 0.25


class Mood(BaseModel):
    """The form of a structured answer."""

    mood: str
    warmth: float


@dataclass(frozen=True, slots=True)
class Audit:
    """Ledger and log of one run of many calls, compared.

    Args:
        rows: the ledger.
        ledger_requests: requests by the ledger.
        server_requests: requests by the server's log.
        compared_calls: distinct calls whose requests were compared one by one.
        differing_calls: number of those that differ.
        faults: of the received requests, by the server's log.
        is_identity_whole: whether asked is the sum of the outcomes, in rows and scopes.
    """

    rows: tuple[LedgerRow, ...]
    ledger_requests: int
    server_requests: int
    compared_calls: int
    differing_calls: int
    faults: Counter[str]
    is_identity_whole: bool

    @property
    def outcomes(self) -> Counter[Outcome]:
        """Outcomes of the asked calls."""
        return Counter(row.outcome for row in self.rows)

    @property
    def left_unsent(self) -> int:
        """Cancelled calls that had sent nothing."""
        return sum(row.outcome is Outcome.CANCELLED and not row.requests for row in self.rows)

    @property
    def left_in_flight(self) -> int:
        """Cancelled calls whose only attempt was under way."""
        return sum(
            row.outcome is Outcome.CANCELLED and row.requests == 1 and not row.retry_seconds
            for row in self.rows
        )

    @property
    def left_at_retry(self) -> int:
        """Cancelled calls that waited to try again, or had tried again."""
        return sum(row.outcome is Outcome.CANCELLED and row.retry_seconds > 0 for row in self.rows)

    @property
    def is_exact(self) -> bool:
        """Whether ledger and log agree."""
        same_total = self.ledger_requests == self.server_requests
        return same_total and not self.differing_calls and self.is_identity_whole


def _settings(seed: int) -> SimulatedSettings:
    return SimulatedSettings(
        seed=seed,
        latency_scale=0.02,
        real_time_scale=1.0,
        error_rate_429=0.10,
        error_rate_500=0.10,
        timeout_rate=0.05,
        cut_stream_rate=0.30,
        malformed_json_rate=0.25,
        retry_after_seconds=1.0,
    )


def _question(number: int) -> Call:
    """Return a call; every third is streamed, and every fourth is structured."""
    return Call(
        role=Role.MAIN,
        purpose=Purpose.OTHER,
        messages=(Message("user", f"How was your day? I am number {number}."),),
        response_model=Mood if number % 4 == 0 else None,
        share=True,
        timeout_seconds=ATTEMPT_SECONDS,
        stream=number % 3 == 0,
    )


def _leaving(draw: random.Random) -> Leaving:
    return draw.choices(list(Leaving), weights=(65, 5, 12, 8, 10))[0]


class _Crowd:
    """Concurrent calls, some of them equal, and some of which are cancelled."""

    def __init__(self, budgeter: Budgeter, seed: int) -> None:
        self._budgeter = budgeter
        self._draw = random.Random(seed)
        self._places = asyncio.Semaphore(MAX_CALLERS)

    async def run(self, questions: int) -> None:
        """Return when every question was answered or cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(questions):
                call = _question(number)
                group.create_task(self._visit(call, _leaving(self._draw)))
                if number % 10 == 0:  # an equal call at the same time
                    group.create_task(self._visit(call, _leaving(self._draw)))

    async def _visit(self, call: Call, leaving: Leaving) -> None:
        stay_seconds = self._draw.uniform(0, 0.06)
        async with self._places:
            task = asyncio.create_task(self._ask(call, leaving))
            if leaving is Leaving.AT_ONCE:
                await asyncio.sleep(0)  # it has asked, and has no connection yet
                task.cancel()
            elif leaving is Leaving.SOON:
                await asyncio.sleep(stay_seconds)
                task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.result()

    async def _ask(self, call: Call, leaving: Leaving) -> None:
        mean_to_leave(leaving)
        with suppress(CallError):  # it is in the ledger, which is compared
            await self._budgeter.ask(call)


def _differing(rows: tuple[LedgerRow, ...], server: SimServer, questions: int) -> tuple[int, int]:
    """Return the number of calls that were compared one by one, and of those that differ.

    Structured ones are left out: their repairs are calls with other bodies.
    """
    sent: Counter[str] = Counter()
    for row in rows:
        sent[row.key] += row.requests
    received = Counter(entry.body_digest for entry in server.log)
    calls = [call for call in map(_question, range(questions)) if call.response_model is None]
    differing = sum(
        sent[call_key(call, endpoint=ENDPOINT, model=MODEL)]
        != received[body_digest(chat_body(call, model=MODEL))]
        for call in calls
    )
    return len(calls), differing


async def run_audit(questions: int, seed: int) -> Audit:
    """Ask so many distinct questions, and return the comparison.

    Args:
        questions: distinct calls; some are asked twice, and some repaired.
        seed: of the faults and the cancellations.
    """
    async with SimServer(_settings(seed)) as server:
        client = OpenAIClient(server.base_url, api_key="none", max_connections=MAX_CONNECTIONS)
        budgeter = Budgeter(
            {Role.MAIN: Endpoint(ENDPOINT, MODEL, WatchedClient(client))},
            clock=HurriedClock(),
            limits=Limits(max_calls=10**6),
            seed=seed,
        )
        await _Crowd(budgeter, seed).run(questions)
        # A request of a moment ago may still be on its way to the server's handler.
        await asyncio.sleep(ATTEMPT_SECONDS)
        await budgeter.aclose()
    rows = budgeter.ledger.rows
    counts = budgeter.run.statistics().counts
    compared, differing = _differing(rows, server, questions)
    budgeter.ledger.check()
    return Audit(
        rows=rows,
        ledger_requests=counts.requests,
        server_requests=len(server.log),
        compared_calls=compared,
        differing_calls=differing,
        faults=Counter(entry.fault for entry in server.log),
        is_identity_whole=counts.asked == len(rows) == sum(counts.outcomes.values())
        and counts.in_flight == 0,
    )
