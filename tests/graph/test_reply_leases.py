"""Leases of a turn: the reply's call, then the bookkeeping's."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from callwise.budget.limits import Amounts, Reservation
from callwise.budget.scope import Scope
from callwise.calls import Role
from callwise.memory import Identity
from graph.app import app
from graph.engine import Engine
from graph.fusing import Fusion
from graph.reply_leases import calls_left, held_reply_calls, hold_again, hold_leases
from graph.state import TurnState
from nodes.question import BOOKKEEPING_LEASE
from nodes.search.action_calls import REPLY_LEASE

APART, FUSED = Fusion(), Fusion(thinking=True, bookkeeping=True)
INSTANT = Fusion(thinking=True, bookkeeping=True, reply=True)
STATE = TurnState(user_text="Is it far?")

OpenTurn = Callable[..., AbstractAsyncContextManager[tuple[Engine, Scope]]]


@pytest.fixture
def open_turn(tmp_path: Path) -> OpenTurn:
    """Return a function that opens a turn under overrides, with its engine."""

    @asynccontextmanager
    async def opened(*overrides: str) -> AsyncIterator[tuple[Engine, Scope]]:
        settings = app.settings("classic", overrides)
        async with app.open(settings, folder=tmp_path) as session:
            yield session.engine, session.engine.open_turn(Identity("agent", None, "talk"), 0)

    return opened


def _held(scope: Scope) -> dict[str, int]:
    return {lease.name: lease.calls for lease in scope.scope_limits.leases() if lease.calls}


@pytest.mark.parametrize(
    ("overrides", "left"),
    [
        ((), None),
        (("budget.turn.max_tokens=1000",), None),
        (("budget.turn.max_calls=7",), 7),
        (("budget.turn.max_calls=7", "budget.run.max_requests=5"), 5),
    ],
)
async def test_calls_left_is_the_tightest_of_calls_and_requests(
    open_turn: OpenTurn, overrides: tuple[str, ...], left: int | None
) -> None:
    """Of all scopes around; None where neither is limited."""
    async with open_turn(*overrides) as (_, scope):
        assert calls_left(scope) == left


@pytest.mark.parametrize(
    ("fusing", "max_calls", "held"),
    [
        (APART, 6, {REPLY_LEASE: 1}),
        (APART, 7, {REPLY_LEASE: 1, BOOKKEEPING_LEASE: 2}),
        (FUSED, 3, {REPLY_LEASE: 1}),
        (FUSED, 4, {REPLY_LEASE: 1, BOOKKEEPING_LEASE: 1}),
        (INSTANT, 1, {REPLY_LEASE: 1}),
        (INSTANT, 2, {REPLY_LEASE: 1, BOOKKEEPING_LEASE: 1}),
        (INSTANT, 0, {}),
    ],
)
async def test_a_turn_holds_back_the_calls_of_its_form(
    open_turn: OpenTurn, fusing: Fusion, max_calls: int, held: dict[str, int]
) -> None:
    """The reply first; the bookkeeping's calls where the notes and a judge still fit."""
    async with open_turn(f"budget.turn.max_calls={max_calls}") as (engine, scope):
        hold_leases(engine, scope, STATE, fusing)
        assert _held(scope) == held
        assert held_reply_calls(scope) == held.get(REPLY_LEASE, 0)
        assert calls_left(scope) == max_calls - sum(held.values())


async def test_nothing_is_held_where_nothing_is_limited(open_turn: OpenTurn) -> None:
    """No other call could take it."""
    async with open_turn() as (engine, scope):
        hold_leases(engine, scope, STATE, INSTANT)
        assert scope.scope_limits.leases() == ()


async def test_the_call_that_replies_holds_back_its_size(open_turn: OpenTurn) -> None:
    """A thought and a reply are shorter than a search's first candidates."""
    held = []
    for fusing in (APART, INSTANT):
        knobs = ("budget.turn.max_tokens=50000", "search.policy=listwise")
        async with open_turn(*knobs) as (engine, scope):
            hold_leases(engine, scope, STATE, fusing)
            (lease,) = scope.scope_limits.leases()
            held.append(lease.tokens)
    assert held[0] > held[1]


async def test_the_search_gets_its_call_before_the_bookkeeping(open_turn: OpenTurn) -> None:
    """After a fused call without a reply: what is left goes to the first draft."""
    state = STATE.model_copy(update={"fusing": INSTANT})
    async with open_turn("budget.turn.max_calls=2") as (engine, scope):
        hold_leases(engine, scope, state, INSTANT)
        fused_call = Reservation(scope.scope_limits.quotas(Role.MAIN))
        scope.scope_limits.draw(REPLY_LEASE, fused_call)
        fused_call.take(Amounts(calls=1, requests=1))
        fused_call.close()
        hold_again(engine, scope, state)
        assert _held(scope) == {REPLY_LEASE: 1}
        assert calls_left(scope) == 0
