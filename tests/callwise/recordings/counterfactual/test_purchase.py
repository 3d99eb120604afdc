"""Settings that buy into one recording at the same time."""

import asyncio
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest

from callwise.recordings.app_protocol import TurnInput
from callwise.recordings.cassette import Cassette, CassetteMode, open_cassette
from callwise.recordings.counterfactual.purchase import (
    Buyer,
    Purchase,
    SpendingCap,
    SpendingCapReached,
)
from callwise.recordings.counterfactual.reusable_cassette import ReusableCassette

TURN = TurnInput("a", 0, "Hello.")


@pytest.fixture
def cassette(tmp_path: Path) -> Iterator[Cassette]:
    """Return an empty recording that is added to."""
    with open_cassette(tmp_path / "c.jsonl", CassetteMode.NEW_EPISODES) as cassette:
        yield cassette


@pytest.fixture
def purchase(cassette: Cassette) -> Iterator[Purchase]:
    """Return a purchase of at most three calls."""
    known = ReusableCassette(cassette.path)
    yield Purchase(known, cassette, SpendingCap(max_calls=3))
    known.close()


async def _waits(found: Any) -> "asyncio.Task[Any]":
    """Return a task that waits for what a lookup found, once it has begun to."""
    assert isinstance(found, Awaitable)
    task = asyncio.ensure_future(found)
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_a_call_that_another_setting_is_buying_is_waited_for(
    purchase: Purchase, ask: Any, answer: Any
) -> None:
    """It is bought once, and played to each of the others."""
    payer, second, third = (Buyer(purchase) for _ in range(3))
    asked = ask()
    assert payer.lookup(*asked) is None
    waiting = [await _waits(each.lookup(*asked)) for each in (second, third)]
    payer.record(*asked, answer())
    assert [await each for each in waiting] == [answer(), answer()]
    assert second.lookup(*asked) is None  # it was given that one, and asks once more
    assert (purchase.budget.calls, purchase.cassette.statistics().recorded_count) == (2, 1)
    assert Buyer(purchase).lookup(*asked) == answer()


async def test_a_call_that_brings_nothing_is_bought_by_one_of_those_that_waited(
    purchase: Purchase, ask: Any, answer: Any
) -> None:
    """Its turn ended without an exchange; the next one pays, and the last one waits on."""
    payer, second, third = (Buyer(purchase) for _ in range(3))
    asked = ask()
    assert payer.lookup(*asked) is None
    waiting = [await _waits(each.lookup(*asked)) for each in (second, third)]
    payer.close_turn(TURN)
    assert await waiting[0] is None
    await asyncio.sleep(0)
    assert not waiting[1].done()
    second.record(*asked, answer())
    assert await waiting[1] == answer()
    assert purchase.budget.calls == 2
    assert not purchase.under_way


async def test_one_that_is_cancelled_takes_nothing_from_the_others(
    purchase: Purchase, ask: Any, answer: Any
) -> None:
    """The others are still given the exchange."""
    payer, second, third = (Buyer(purchase) for _ in range(3))
    asked = ask()
    assert payer.lookup(*asked) is None
    gone, waiting = [await _waits(each.lookup(*asked)) for each in (second, third)]
    gone.cancel()
    await asyncio.wait((gone,))
    payer.record(*asked, answer())
    assert await waiting == answer()


async def test_a_setting_is_not_given_what_it_has_bought(
    purchase: Purchase, ask: Any, answer: Any
) -> None:
    """Equal calls of one setting are its budgeter's to share, as in a run of it."""
    buyer = Buyer(purchase)
    asked, later = ask(), ask(scope="run/conv:a/turn:1/node:detection")
    assert buyer.lookup(*asked) is None
    assert buyer.lookup(*asked) is None
    buyer.record(*asked, answer())
    buyer.record(*asked, answer())
    assert buyer.lookup(*later) is None
    assert purchase.budget.calls == 3
    with pytest.raises(SpendingCapReached, match="3 calls were bought"):
        buyer.lookup(*later)


async def test_a_waiting_call_that_no_longer_fits_the_cap_is_refused(
    purchase: Purchase, ask: Any
) -> None:
    """The one that it waited for brought nothing, and the cap is used up."""
    payer, second = Buyer(purchase), Buyer(purchase)
    asked = ask()
    assert payer.lookup(*asked) is None
    waiting = await _waits(second.lookup(*asked))
    purchase.budget.spend(2, 0.0, 0)
    payer.close_turn(TURN)
    with pytest.raises(SpendingCapReached):
        await waiting


def test_a_cap_lasts_for_calls_at_twice_the_dearest() -> None:
    """In calls exactly; in USD only once a cost is known."""
    assert SpendingCap().lasts_for(10**9)
    assert SpendingCap(max_calls=5, calls=2).lasts_for(3)
    assert not SpendingCap(max_calls=5, calls=2).lasts_for(4)
    budget = SpendingCap(max_usd=1.0)
    assert not budget.lasts_for(1)
    budget.settle(budget.reserve(0.125), 0.25)
    assert budget.lasts_for(1)
    assert not budget.lasts_for(2)
