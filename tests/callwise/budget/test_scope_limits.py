"""Remaining quota of the current scope: the tightest of all scopes around it."""

import pytest

from callwise.budget import Limits, RoleLimits, ScopeKind
from callwise.calls import CallRefused, Remaining, Role, Sampling


def test_nothing_limits_nothing(make_budgeter):
    """Without limits, every field of the remaining quota is None."""
    assert make_budgeter().advisory() == Remaining()


async def test_the_tightest_limit_on_the_way_up_is_returned(make_budgeter, ask_for):
    """Each thing is as short as in the scope where it is shortest."""
    budgeter = make_budgeter(limits=Limits(max_calls=10, max_tokens=5000, max_usd=1))
    judge = {Role.JUDGE: RoleLimits(max_calls=3, max_requests=2)}
    with (
        budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_calls=20, roles=judge)),
        budgeter.scope(ScopeKind.NODE, "n", limits=Limits(max_requests=4)),
    ):
        await budgeter.ask(ask_for("a", Role.JUDGE))
        remaining = budgeter.advisory()
    assert remaining.calls_left == 9
    assert remaining.requests_left == 3
    assert remaining.tokens_left == 5000 - 15
    assert remaining.usd_left == pytest.approx(1 - 20e-6)
    assert remaining.calls_left_by_role == ((Role.JUDGE, 1),)


async def test_a_refusal_by_an_estimate_explains_it(make_budgeter, ask_for):
    """A first call may be too long for its limit before anything is used: a shorter one is not."""
    budgeter = make_budgeter(limits=Limits(max_usd=0.0015))
    with pytest.raises(
        CallRefused, match=r"0 used .* up to 1,024 tokens; set a lower `max_tokens`"
    ):
        await budgeter.ask(ask_for())
    assert (await budgeter.ask(ask_for(sampling=Sampling(max_tokens=50)))).text
