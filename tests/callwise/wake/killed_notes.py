"""A process that wakes five agents and kills itself around the puts of their notes; run by a test.

Arguments: the store's file, the file of LangGraph's SQLite store that has the notes, and the number
of the step. A step is each moment before and after a put, and after its note has left the store.
"""

import os
import signal
import sqlite3
import sys

from langgraph.store.sqlite import SqliteStore

from callwise.budget.virtual_time import run_in_virtual_time
from callwise.wake import WakeStore
from callwise.wake.langgraph_memory import LangGraphMemory
from tests.callwise.wake.wake_world import START, World, everyone, five_agents

__all__ = []


def main():
    """Wake, and die."""
    left = int(sys.argv[3])

    def step():
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    class Stepping(LangGraphMemory):
        async def add(self, *args, **words):
            step()
            await super().add(*args, **words)
            step()

    store = WakeStore(sys.argv[1])
    remove = store.waiting.remove

    def removing(*args):
        remove(*args)
        step()

    store.waiting.remove = removing
    with sqlite3.connect(sys.argv[2], isolation_level=None, check_same_thread=False) as connection:
        notes = SqliteStore(connection)
        notes.setup()
        memory = Stepping(notes, blocks_loop=True)

        async def wake():
            world = World(five_agents(), answer=everyone, store=store, brought=memory)
            await world.service.wake(START)

        run_in_virtual_time(wake())
    print("ended with", left, "steps left")  # noqa: T201 - the test reads it


main()
