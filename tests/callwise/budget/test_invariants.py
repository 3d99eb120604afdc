"""Invariants of any calls, under any limits, however they end."""

import asyncio
import math
from collections import Counter
from dataclasses import dataclass
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from callwise.budget import Budgeter, Limits, RetryPolicy, RoleLimits, Scope, ScopeKind
from callwise.budget.layers.cache import MemoryCache
from callwise.calls import (
    Call,
    CallError,
    Endpoint,
    Message,
    Outcome,
    Prices,
    Purpose,
    Reply,
    ReportedUsage,
    Role,
    Sampling,
)
from callwise.calls.errors import AuthFailed, ConnectionFailed, ServerFailed

PRICES = Prices(1.0, 2.0)
INPUT_TOKENS, MAX_OUTPUT_TOKENS = 12, 100
FEW = st.none() | st.integers(0, 8)


class FixedCounter:
    """Says 10 tokens of every call, 12 with the margin."""

    def call_tokens(self, call: Call) -> int:
        """Return 10."""
        return 10


class ErraticClient:
    """Answers, fails, hangs a while or breaks, as the prompt of the call asks."""

    is_simulated = True

    def __init__(self) -> None:
        self.sent = 0
        self.spent_tokens = 0

    async def answer(self, calls, *, model, on_sent=None):
        """Do what the prompt asks."""
        (call,) = calls
        draw = Random(f"{call.messages[0].content}:{self.sent}")
        for _ in range(draw.randrange(3)):
            await asyncio.sleep(0)
        kind = draw.choice(["ok", "ok", "ok", "busy", "unsent", "unknown", "denied", "bug"])
        if kind == "unsent":
            return [ConnectionFailed("no route", was_sent=False)]
        self.sent += 1
        on_sent(0)
        for _ in range(draw.randrange(4)):
            await asyncio.sleep(0)
        if kind == "bug":
            raise ZeroDivisionError
        if kind == "busy":
            return [ServerFailed("busy", status=500)]
        if kind == "denied":
            return [AuthFailed("no", status=401)]
        if kind == "unknown":
            return [Reply("ok")]
        output = draw.randint(1, MAX_OUTPUT_TOKENS)
        self.spent_tokens += INPUT_TOKENS + output
        return [Reply("ok", usage=ReportedUsage(INPUT_TOKENS, output))]

    async def aclose(self):
        """Do nothing."""


@dataclass(frozen=True)
class Ask:
    """One caller: scope, prompt, and after how many turns of the loop it is cancelled."""

    scope: int
    prompt: int
    role: Role
    cancel_after: int | None
    lease: bool


limits = st.builds(
    Limits,
    max_calls=FEW,
    max_requests=FEW,
    max_tokens=st.none() | st.integers(0, 600),
    max_usd=st.none() | st.sampled_from([0.0, 212e-6, 0.0005, 0.001]),
    roles=st.dictionaries(
        st.sampled_from([Role.MAIN, Role.JUDGE]), st.builds(RoleLimits, max_calls=FEW), max_size=2
    ),
)
asks = st.builds(
    Ask,
    scope=st.integers(0, 4),
    prompt=st.integers(0, 5),
    role=st.sampled_from([Role.MAIN, Role.JUDGE]),
    cancel_after=st.none() | st.integers(1, 8),
    lease=st.booleans(),
)


def tree(budgeter: Budgeter, all_limits: list[Limits]) -> list[Scope]:
    """Return a run with two turns, the first with two nodes, each with its limits."""
    first = budgeter.run.open(ScopeKind.TURN, "1", limits=all_limits[1])
    return [
        budgeter.run,
        first,
        budgeter.run.open(ScopeKind.TURN, "2", limits=all_limits[2]),
        first.open(ScopeKind.NODE, "a", limits=all_limits[3]),
        first.open(ScopeKind.NODE, "b", limits=all_limits[4]),
    ]


async def run_callers(budgeter: Budgeter, scopes: list[Scope], plan: list[Ask]) -> None:
    """Let everyone ask at once, and cancel those who are to be cancelled."""

    async def one(ask: Ask) -> None:
        call = Call(
            ask.role,
            Purpose.OTHER,
            (Message("user", f"{ask.prompt}"),),
            sampling=Sampling(max_tokens=MAX_OUTPUT_TOKENS),
            lease="reply" if ask.lease else None,
        )
        with scopes[ask.scope].entered():
            task = asyncio.ensure_future(budgeter.ask(call))
        if ask.cancel_after is not None:
            for _ in range(ask.cancel_after):
                await asyncio.sleep(0)
            task.cancel()
        try:
            await task
        except (CallError, ZeroDivisionError, asyncio.CancelledError):
            return

    await asyncio.gather(*(one(ask) for ask in plan))


def check_limits(scope: Scope, rows: list) -> None:
    """No limit of a scope is passed by what its calls used."""
    below = [row for row in rows if (row.scope + "/").startswith(scope.path + "/")]
    counted = [row for row in below if row.outcome is not Outcome.REFUSED]
    scope_limits = scope.limits
    assert len(counted) <= (math.inf if scope_limits.max_calls is None else scope_limits.max_calls)
    used = sum(row.requests for row in below)
    assert used <= (math.inf if scope_limits.max_requests is None else scope_limits.max_requests)
    tokens = sum(
        row.input_tokens
        + row.output_tokens
        + row.unknown_usage * (INPUT_TOKENS + MAX_OUTPUT_TOKENS)
        for row in below
    )
    assert tokens <= (math.inf if scope_limits.max_tokens is None else scope_limits.max_tokens)
    usd = sum(row.picodollars for row in below) / 1e12
    assert usd <= (math.inf if scope_limits.max_usd is None else scope_limits.max_usd)
    for role, role_limits in scope_limits.roles.items():
        if role_limits.max_calls is not None:
            assert sum(row.role is role for row in counted) <= role_limits.max_calls


def check_quotas(scope: Scope, rows: list) -> None:
    """The used part of a quota is what its calls used: every refund was exact."""
    for quota in scope.scope_limits.common_quotas():
        below = [row for row in rows if (row.scope + "/").startswith(quota.scope + "/")]
        assert quota.used.calls == sum(row.outcome is not Outcome.REFUSED for row in below)
        assert quota.used.requests == sum(row.requests for row in below)
        assert quota.used.tokens == sum(
            row.input_tokens
            + row.output_tokens
            + row.unknown_usage * (INPUT_TOKENS + MAX_OUTPUT_TOKENS)
            for row in below
        )


@given(
    st.lists(limits, min_size=5, max_size=5),
    st.lists(asks, max_size=14),
    st.booleans(),
    st.integers(0, 2),
)
def test_the_counters_add_up_and_no_limit_is_passed(all_limits, plan, is_caching, held):
    """Over random trees, callers, failures and cancellations: identity, limits, refunds."""

    async def check() -> None:
        client = ErraticClient()
        endpoint = Endpoint("fake", "m", client, PRICES)
        budgeter = Budgeter(
            dict.fromkeys(Role, endpoint),
            estimator=FixedCounter(),
            cache=MemoryCache() if is_caching else None,
            limits=all_limits[0],
            retry=RetryPolicy(first_wait_seconds=0.0),
        )
        scopes = tree(budgeter, all_limits)
        if held:
            scopes[1].hold("reply", calls=held, tokens=112 * held, role=Role.MAIN)
        await run_callers(budgeter, scopes, plan)
        rows = list(budgeter.ledger.rows)
        assert len(rows) == len(plan)
        assert sorted(row.sequence for row in rows) == list(range(1, len(plan) + 1))
        assert client.sent == sum(row.requests for row in rows)
        assert client.spent_tokens <= sum(
            row.input_tokens
            + row.output_tokens
            + row.unknown_usage * (INPUT_TOKENS + MAX_OUTPUT_TOKENS)
            for row in rows
        )
        for scope in scopes:
            check_limits(scope, rows)
            check_quotas(scope, rows)
        for scope in reversed(scopes[1:]):
            scope.close()
        for scope in scopes:
            assert all(not any(quota.held) for quota in scope.scope_limits.common_quotas())
            counts = scope.statistics().counts
            assert counts.in_flight == 0
            assert counts.asked == sum(counts.outcomes.values())
        budgeter.ledger.check()
        assert budgeter.in_flight == 0
        totals = Counter(row.outcome for row in rows)
        assert {k: n for k, n in budgeter.ledger.counts().outcomes.items() if n} == totals

    asyncio.run(check())
