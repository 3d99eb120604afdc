"""A private event loop: its context, its errors and its end."""

import asyncio
import threading
from contextvars import ContextVar

import pytest

from turnwise.calls.loop_thread import LoopThread, wait_for

PLACE = ContextVar("place", default="nowhere")


@pytest.fixture
def loop_thread():
    """A loop in a thread, closed afterwards."""
    made = LoopThread()
    yield made
    made.close()


def test_a_coroutine_runs_there_in_the_callers_context(loop_thread):
    """In the other thread, with the context variables of this one."""

    async def where():
        return threading.current_thread().name, PLACE.get()

    PLACE.set("here")
    assert wait_for(where(), loop_thread.loop) == ("turnwise-loop", "here")


def test_errors_come_back(loop_thread):
    """As they are."""

    async def fail():
        raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        wait_for(fail(), loop_thread.loop)


def test_closing_cancels_what_runs(loop_thread):
    """Its `finally` runs before the loop ends; closing again does nothing."""
    started, ended = threading.Event(), []

    async def wait():
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    future = asyncio.run_coroutine_threadsafe(wait(), loop_thread.loop)
    assert started.wait(5)
    assert loop_thread.is_open
    loop_thread.close()
    loop_thread.close()
    assert ended == [True]
    assert future.cancelled()
    assert not loop_thread.is_open
    assert loop_thread.loop.is_closed()
