"""A private event loop: its errors and its end."""

import asyncio
import gc
import os
import threading

import pytest

from callwise.calls.errors import ConfigError
from callwise.calls.loop_thread import Errand, LoopThread, _stop


@pytest.fixture
def thread():
    """A loop in a thread, closed afterwards."""
    made = LoopThread()
    yield made
    made.close()


def stuck(started, ended):
    """Return work that never ends by itself, and notes that it began and was ended."""

    async def work():
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(threading.current_thread().name)

    return work


def test_closing_cancels_what_runs(thread):
    """Its `finally` runs before the loop ends, its caller is told; closing again does nothing."""
    started, ended = threading.Event(), []
    errand = Errand(thread, stuck(started, ended), None)
    assert started.wait(5)
    assert thread.is_open
    thread.close()
    thread.close()
    assert ended == ["callwise-loop"]
    assert not thread.is_open
    with pytest.raises(ConfigError, match="closed while this call was in flight"):
        errand.waited()


def test_forgetting_it_ends_its_thread():
    """Nothing is left behind."""
    made = LoopThread()
    running = made._thread
    del made
    gc.collect()
    running.join(5)
    assert not running.is_alive()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_an_exit_in_a_call_reaches_its_caller_and_ends_no_other(thread, error):
    """Asyncio lets these end the loop, and with it every call in flight."""
    started, ended = threading.Event(), []
    other = Errand(thread, stuck(started, ended), None)
    assert started.wait(5)

    async def leave():
        raise error

    async def stay():
        return "there"

    with pytest.raises(type(error)):
        Errand(thread, leave, None).waited()
    assert Errand(thread, stay, None).waited() == "there"
    other._give_up()
    with pytest.raises(asyncio.CancelledError):
        other.waited()


async def test_a_caller_that_is_cancelled_goes_on_when_its_work_has_come_to_rest(thread):
    """However often it is cancelled: what the work has spent is counted before."""
    started, resting, rested = threading.Event(), threading.Event(), threading.Event()

    async def work():
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            resting.set()
            assert await asyncio.to_thread(rested.wait, 5)

    task = asyncio.create_task(Errand(thread, work, asyncio.get_running_loop()).awaited())
    await asyncio.to_thread(started.wait, 5)
    task.cancel()
    await asyncio.to_thread(resting.wait, 5)
    for _ in range(10):  # as anyio does in each step
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    rested.set()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_in_a_forked_process_its_end_touches_nothing(thread):
    """The loop's files are shared with the parent, whose loop would be woken and stopped."""
    stopping = threading.Event()
    _stop(thread._loop, thread._thread, stopping, os.getpid() + 1)
    assert not stopping.is_set()
    assert thread._thread.is_alive()
