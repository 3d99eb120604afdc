"""Runs of awake agents: what a process leaves unfinished, the next one finishes."""

import asyncio
from collections import Counter

from callwise.budget.clock import LoopClock
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Role
from callwise.wake import WakeSettings, run_wakes
from tests.callwise.wake.wake_world import HOUR, START, World, everyone, five_agents


class Listener:
    """Keeps what it receives."""

    def __init__(self):
        self.messages, self.reports = [], []

    def on_message(self, message):
        """Keep a message."""
        self.messages.append(message)

    def on_wake(self, report):
        """Keep a report."""
        self.reports.append(report)


def test_an_hour_that_was_cut_off_is_finished_by_the_next_process():
    """Agents whose messages are there are not asked again; a finished hour is left alone."""
    answered = []

    async def two_then_none(call, model):
        if call.role is not Role.FAST:
            answered.append(model)
            if len(answered) > 2:
                await asyncio.Event().wait()
        return everyone(call, model)

    async def steps():
        world = World(five_agents(), answer=two_then_none, variant="mixed")
        cut_off = asyncio.ensure_future(world.wake())
        await asyncio.sleep(60)
        assert len(answered) == 5
        cut_off.cancel()
        await asyncio.gather(cut_off, return_exceptions=True)
        settings = WakeSettings(
            models={agent.model: {} for agent in five_agents()},
            agents=five_agents(),
            wake={"variant": "mixed"},
        )
        found = []
        for _ in range(2):
            listener = Listener()
            next_one = World(five_agents(), answer=everyone, variant="mixed", store=world.store)
            await run_wakes(
                settings,
                world.store,
                next_one.budgeter,
                listener,
                clock=LoopClock(),
                wall=next_one.wall,
                count=1,
            )
            found.append((listener, next_one))
        return world, found

    world, [(first, asked), (second, _)] = run_in_virtual_time(steps())
    repeated, following = first.reports
    assert Counter(each.outcome for each in repeated.replies) == Counter(
        {"published before": 2, "published": 3}
    )
    assert repeated.calls == 3
    assert (repeated.at, following.at) == (START, START + HOUR)
    assert len(second.reports) == 1
    assert len(asked.client.requests) == 3 + 6
    ids = [message.id for message in world.store.rooms.messages("main")]
    assert len(ids) == len(set(ids)) == 15
    assert world.store.credits.open_holds() == []
