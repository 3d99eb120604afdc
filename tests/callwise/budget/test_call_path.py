"""The call path: which layers there are, in which order, and what every layer keeps to."""

import asyncio
import gc

import pytest

from callwise.budget import LedgerError, Limits, VirtualClock
from callwise.budget.critical_path import CriticalPathTrack
from callwise.budget.in_flight import InFlightCall, ReadReply
from callwise.budget.layers.cache import MemoryCache
from callwise.budget.work import Work
from callwise.calls import Outcome, Reply
from callwise.calls.errors import CallRefused, ServerFailed
from callwise.testing.fakes import ScriptedClient

ORDER = [
    "repair",
    "ledger",
    "replay",
    "admit",
    "cache",
    "share",
    "retry",
    "reserve",
    "route",
    "send",
]
UPPER = ORDER[2:6]
LOWER = ORDER[6:]


class Below:
    """A layer below the one that is tested: returns or raises what it was given."""

    def __init__(self, end):
        self.end = end
        self.carried = []

    async def __call__(self, carried):
        """Answer."""
        self.carried.append(carried)
        await asyncio.sleep(0)
        if isinstance(self.end, BaseException):
            raise self.end
        return self.end


@pytest.fixture
def path(make_budgeter, recorder):
    """Return a call path with every layer, and its budgeter."""
    budgeter = make_budgeter(cache=MemoryCache(), recorder=recorder, clock=VirtualClock())
    return budgeter._call_path, budgeter


def opened(path, budgeter, call):
    """Return a call as `ledger` opens it."""
    carried = InFlightCall(call, budgeter.run, CriticalPathTrack(budgeter.run.position))
    path.layers["ledger"]._open(carried)
    return carried


def test_the_layers_are_in_the_order_that_is_documented(path):
    """From the question to the request."""
    assert list(path[0].layers) == ORDER


def test_a_layer_that_is_not_configured_is_not_in_the_list(make_budgeter):
    """Without cache and recording neither is passed."""
    names = make_budgeter().statistics()
    assert list(names) == [name for name in ORDER if name not in {"replay", "cache"}]


async def test_every_layer_counts(make_budgeter, ask_for, recorder):
    """Statistics are whole numbers by name, and what happened is found in them."""
    client = ScriptedClient([ServerFailed("busy"), "a", "b"])
    budgeter = make_budgeter(
        client,
        cache=MemoryCache(),
        recorder=recorder,
        clock=VirtualClock(),
        limits=Limits(max_calls=4),
    )
    await asyncio.gather(budgeter.ask(ask_for("a")), budgeter.ask(ask_for("a")))
    await budgeter.ask(ask_for("a"))
    await budgeter.ask(ask_for("b", share=False))
    with pytest.raises(CallRefused):
        await budgeter.ask(ask_for("c"))
    assert budgeter.statistics() == {
        "repair": {"repairs": 0},
        "ledger": {"asked": 5, "in_flight": 0},
        "replay": {"replayed": 0, "recorded": 5},
        "admit": {"admitted": 4, "refused": 1},
        "cache": {
            "hits": 1,
            "memory_hits": 1,
            "memory_hits_other": 1,
            "misses": 2,
            "misses_other": 2,
        },
        "share": {"in_flight": 0, "joined": 1, "taken_over": 0},
        "retry": {"retries": 1, "rate_limited": 0},
        "reserve": {"attempts": 3},
        "route": {
            "elsewhere": 0,
            "rerouted": 0,
            "open": 0,
            "half_open": 0,
            "trips": 0,
            "refused": 0,
        },
        "send": {"attempts": 3, "deadlines": 0},
    }


@pytest.mark.parametrize("name", ["replay", "admit", "cache"])
async def test_an_upper_layer_passes_calls_answers_and_errors_on(path, ask_for, name):
    """It returns the very answer of the layer below, and raises the very error."""
    layer = path[0].layers[name]
    answer, error = ReadReply(Reply("x")), ServerFailed("down")
    for end in (answer, error, asyncio.CancelledError()):
        carried = opened(*path, ask_for("new"))
        layer._next = below = Below(end)
        if end is answer:
            carried.finish(Outcome.SERVED)
            assert await layer(carried) is answer
        else:
            with pytest.raises(type(end)) as caught:
                await layer(carried)
            assert caught.value is end
        assert below.carried == [carried]


@pytest.mark.parametrize("name", ["retry", "reserve", "route"])
async def test_a_lower_layer_passes_work_replies_and_errors_on(path, ask_for, name):
    """The reply comes back whole, and what is not to be repeated is raised as it was."""
    layers, budgeter = path[0].layers, path[1]
    for end in (Reply("x"), KeyError("bug"), asyncio.CancelledError()):
        carried = opened(path[0], budgeter, ask_for("new"))
        work = Work(carried, budgeter._estimator, budgeter._clock)
        assert work.reserve() is None
        layers[name]._next = below = Below(end)
        if isinstance(end, Reply):
            assert await layers[name](work) is end
        else:
            with pytest.raises(type(end)) as caught:
                await layers[name](work)
            assert caught.value is end
        assert below.carried == [work]
        work.close()


async def test_the_ledger_has_a_row_however_a_call_ends(path, ask_for):
    """One row per opened call, with the outcome of a layer below or that of the error."""
    call_path, budgeter = path
    ledger = call_path.layers["ledger"]
    for end in (ServerFailed("down"), asyncio.CancelledError(), KeyError("bug")):
        ledger._next = Below(end)
        with pytest.raises(type(end)):
            await budgeter.ask(ask_for("new"))
    outcomes = [row.outcome for row in budgeter.ledger.rows]
    assert outcomes == [Outcome.FAILED, Outcome.CANCELLED, Outcome.FAILED]
    ledger._next = Below(ReadReply(Reply("x")))
    with pytest.raises(LedgerError, match="has not ended"):
        await budgeter.ask(ask_for("new"))


async def test_an_unshared_call_that_a_client_swallows_is_cancelled_all_the_same(
    make_budgeter, ask_for
):
    """A client that answers in spite of a cancellation does not keep its caller waiting."""

    class Stubborn(ScriptedClient):
        async def answer(self, calls, *, model, on_sent=None):
            on_sent(0)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return [Reply("too late")]

    budgeter = make_budgeter(Stubborn([]))
    for share in (False, True):
        task = asyncio.ensure_future(budgeter.ask(ask_for(share=share)))
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        row = budgeter.ledger.rows[-1]
        assert (row.outcome, row.requests, row.unknown_usage) == (Outcome.CANCELLED, 1, 1)
    budgeter.ledger.check()


async def test_an_unshared_call_lets_others_ask_before_it_is_sent(make_budgeter, ask_for):
    """A client in process does not keep the event loop to itself."""
    order = []
    budgeter = make_budgeter(ScriptedClient(lambda call: order.append("sent") or "x"))
    asyncio.get_running_loop().call_soon(order.append, "others")
    await budgeter.ask(ask_for(share=False))
    assert order == ["others", "sent"]


async def test_a_call_that_has_ended_is_freed_without_the_garbage_collector(make_budgeter, ask_for):
    """A call that no other waits for and its work do not keep each other."""
    budgeter = make_budgeter()

    def known() -> set[int]:
        return {id(each) for each in gc.get_objects() if type(each) in {InFlightCall, Work}}

    gc.collect()
    gc.disable()
    try:
        before = known()
        await budgeter.ask(ask_for(share=False))
        left = known() - before
    finally:
        gc.enable()
    assert not left
