"""Wakes whose process is killed at any step, and woken again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from callwise.budget.virtual_time import run_in_virtual_time
from callwise.wake import WakeStore
from callwise.wake.wake_run import LEASE_SECONDS
from tests.callwise.wake.wake_world import HOUR, START, World, everyone, five_agents

ROOT = Path(__file__).parents[3]
STEPS = 40
"""Steps of a whole wake: two for each of 17 changes of the store, and six answers."""


def killed_at(path, step):
    """Return the end of a process that was to kill itself at a step."""
    return subprocess.run(  # noqa: S603 - this Python, and a file of the project
        [sys.executable, Path(__file__).with_name("killed_wake.py"), path, str(step)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.slow
@pytest.mark.parametrize("step", [*range(6), 7, 15, 22, 26, *range(28, STEPS, 3), STEPS - 1])
def test_a_wake_that_is_killed_and_woken_again_has_each_message_and_credit_once(tmp_path, step):
    """Wherever it is killed; a model is asked again only for an answer that was not published.

    Before the hour was claimed the next process claims it, and afterwards that wakes it again once
    its lease has ended, whether agents were chosen for it or not.
    """
    path = tmp_path / "wake.sqlite"
    assert killed_at(path, step).returncode == -signal.SIGKILL

    async def again():
        with WakeStore(path) as store:
            there = {a.id for a in five_agents() if store.rooms.has_message(f"main:500000:{a.id}")}
            world = World(five_agents(), answer=everyone, store=store)
            listener = await world.run(is_first_now=True)
            report, *others = listener.reports
            assert (report.at, len(others)) == (START, int(step >= 1))
            began = [time for time, *_ in world.client.requests][:1]
            assert all((time >= LEASE_SECONDS) == (step >= 1) for time in began if time < HOUR)
            mine = [each for each in world.client.requests if each[0] < HOUR]
            asked = sum(len(bodies) for _, _, model, bodies in mine)
            is_decided = "fast" not in {model for _, _, model, _ in mine}
            assert asked == 5 - len(there) + (not is_decided)
            assert {reply.outcome for reply in report.replies} <= {"published", "published before"}
            assert sorted(report.woken) == sorted(agent.id for agent in five_agents())
            hours = 1 + len(others)
            assert [world.balance(agent.id) for agent in five_agents()] == [1000 - hours] * 5
            authors = [author for author, _ in world.delivered()]
            assert sorted(authors) == sorted([*report.woken] * hours)
            return len(there), is_decided

    there, is_decided = run_in_virtual_time(again())
    # The credits of the fallback's agent, the intent's answer, and then the choice is settled.
    assert is_decided == (step >= 6)
    assert there <= 5


@pytest.mark.slow
def test_the_steps_are_all_there_are(tmp_path):
    """One step later the process ends by itself."""
    ended = killed_at(tmp_path / "wake.sqlite", STEPS)
    assert (ended.returncode, ended.stdout) == (0, "ended with 0 steps left\n"), ended.stderr
