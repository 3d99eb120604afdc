"""Reading what a loop owns from another thread."""

import asyncio
import threading

import pytest

from callwise.calls.owner_loop import OwnerLoop


async def test_a_lent_loop_runs_it_between_two_steps():
    """In the loop's thread, while calls are in flight there."""
    owner = OwnerLoop()

    async def call():
        return await asyncio.to_thread(owner.read, threading.get_ident)

    assert await owner.run(call) == threading.get_ident()


async def test_in_the_loop_itself_it_runs_immediately():
    """It would wait for itself."""
    owner = OwnerLoop()

    async def call():
        return owner.read(lambda: "now")

    assert await owner.run(call) == "now"


def test_where_no_loop_runs_it_runs_here():
    """Before the first call, and after the loop has ended."""
    owner = OwnerLoop()
    assert owner.read(threading.get_ident) == threading.get_ident()

    async def call():
        return 1

    asyncio.run(owner.run(call))
    assert owner.read(threading.get_ident) == threading.get_ident()


async def test_a_loop_that_is_busy_is_not_waited_for_for_ever():
    """The error names the time."""
    owner = OwnerLoop()

    async def call():
        thread_error = []

        def read():
            try:
                owner.read(lambda: "late", seconds=0.01)
            except TimeoutError as error:
                thread_error.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        thread.join()  # the loop does nothing else meanwhile
        return thread_error

    (error,) = await owner.run(call)
    assert "did nothing else for 0.01 s" in str(error)


def test_a_private_loop_runs_it_in_its_thread():
    """And hands on what it raises."""
    owner = OwnerLoop(is_private=True)

    async def call():
        return threading.get_ident()

    ident = owner.wait(call)
    assert owner.read(threading.get_ident) == ident
    with pytest.raises(ZeroDivisionError):
        owner.read(lambda: 1 // 0)
    owner.close()
