"""Wakes whose process is killed at any step, and woken again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from callwise.budget.virtual_time import run_in_virtual_time
from callwise.wake import WakeStore
from tests.callwise.wake.wake_world import World, everyone, five_agents

ROOT = Path(__file__).parents[3]
STEPS = 38
"""Steps of a whole wake: two for each of 16 changes of the store, and six answers."""


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
@pytest.mark.parametrize("step", [0, 1, 2, 3, 5, 13, 20, 24, *range(26, STEPS, 3), STEPS - 1])
def test_a_wake_that_is_killed_and_woken_again_has_each_message_and_credit_once(tmp_path, step):
    """Wherever it is killed; a model is asked again only for an answer that was not published."""
    path = tmp_path / "wake.sqlite"
    assert killed_at(path, step).returncode == -signal.SIGKILL

    async def again():
        with WakeStore(path) as store:
            there = {a.id for a in five_agents() if store.rooms.has_message(f"main:500000:{a.id}")}
            world = World(five_agents(), answer=everyone, store=store)
            report = await world.wake()
            asked = sum(len(bodies) for _, _, model, bodies in world.client.requests)
            is_decided = "fast" not in {model for _, _, model, _ in world.client.requests}
            assert asked == 5 - len(there) + (not is_decided)
            assert {reply.outcome for reply in report.replies} <= {"published", "published before"}
            assert sorted(report.woken) == sorted(agent.id for agent in five_agents())
            assert [world.balance(agent.id) for agent in five_agents()] == [999] * 5
            authors = [author for author, _ in world.delivered()]
            assert sorted(authors) == sorted(report.woken)
            return len(there), is_decided

    there, is_decided = run_in_virtual_time(again())
    # The intent's answer, and then the choice is settled.
    assert is_decided == (step >= 2)
    assert there <= 5


@pytest.mark.slow
def test_the_steps_are_all_there_are(tmp_path):
    """One step later the process ends by itself."""
    ended = killed_at(tmp_path / "wake.sqlite", STEPS)
    assert (ended.returncode, ended.stdout) == (0, "ended with 0 steps left\n"), ended.stderr
