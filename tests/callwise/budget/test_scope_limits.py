"""How much room the current scope has: the tightest of all around it."""

import pytest

from callwise.budget import Limits, RoleLimits, ScopeKind
from callwise.calls import Remaining, Role


def test_nothing_limits_nothing(make_budgeter):
    """Without limits, every part of the advice is None."""
    assert make_budgeter().advisory() == Remaining()


async def test_the_tightest_limit_on_the_way_up_is_told(make_budgeter, ask_for):
    """Each thing is as short as in the scope where it is shortest."""
    budgeter = make_budgeter(limits=Limits(max_calls=10, max_tokens=5000, max_usd=1))
    judge = {Role.JUDGE: RoleLimits(max_calls=3, max_requests=2)}
    with (
        budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_calls=20, roles=judge)),
        budgeter.scope(ScopeKind.NODE, "n", limits=Limits(max_requests=4)),
    ):
        await budgeter.ask(ask_for("a", Role.JUDGE))
        advice = budgeter.advisory()
    assert advice.calls_left == 9
    assert advice.requests_left == 3
    assert advice.tokens_left == 5000 - 15
    assert advice.usd_left == pytest.approx(1 - 20e-6)
    assert advice.calls_left_by_role == ((Role.JUDGE, 1),)
