"""A process that wakes five agents for the present hour and kills itself at a step; run by a test.

Arguments: the store's file, and the number of the step. A step is each moment before and after a
change of the store, and each answer.
"""

import os
import signal
import sys

from callwise.budget.virtual_time import run_in_virtual_time
from callwise.wake import WakeStore
from tests.callwise.wake.wake_world import World, everyone, five_agents

__all__ = []


def main():
    """Wake, and die."""
    store = WakeStore(sys.argv[1])
    left = int(sys.argv[2])

    def step():
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def stepping(change):
        def changed(*args, **words):
            step()
            result = change(*args, **words)
            step()
            return result

        return changed

    def answer(call, model):
        step()
        return everyone(call, model)

    store.publish = stepping(store.publish)
    changes = [("credits", "grant"), ("credits", "hold")]
    changes += [("claims", "claim_slot"), ("claims", "settle")]
    for part, name in changes:
        owner = getattr(store, part)
        setattr(owner, name, stepping(getattr(owner, name)))

    async def wake():
        await World(five_agents(), answer=answer, store=store).run(is_first_now=True)

    run_in_virtual_time(wake())
    print("ended with", left, "steps left")  # noqa: T201 - the test reads it


main()
