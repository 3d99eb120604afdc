"""Lines of people in the settings: their ids are theirs alone, and one that fails ends no run."""

import asyncio

import pytest

from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls.errors import ConfigError
from callwise.memory.memory_errors import StoreLocked
from callwise.wake.scripted_lines import ids_of_lines
from callwise.wake.wake_settings import SaidLine
from tests.callwise.wake.wake_world import START, World, everyone, five_agents

LINES = [SaidLine(author="Mia", text="@alice one"), SaidLine(author="Jo", text="two")]


def texts_after(*runs):
    """Return what people have said in a store after runs that all begin at the same second.

    Args:
        runs: lines and knobs of each.
    """

    async def steps():
        store = None
        for lines, knobs in runs:
            world = World(five_agents(), answer=everyone, store=store, **knobs)
            loop = asyncio.get_running_loop()
            began = loop.time()
            await world.run(messages=lines, wall=lambda: START + loop.time() - began)  # noqa: B023
            store = world.store
        rooms = {knobs.get("room", "main") for _, knobs in runs}
        said = [each for room in sorted(rooms) for each in store.rooms.messages(room)]
        return [(each.room, each.text) for each in said if each.author in {"Mia", "Jo", "Zoe"}]

    return run_in_virtual_time(steps())


def test_the_same_lines_again_add_nothing():
    """Where the run begins at the same second on the same store."""
    once = [("main", "@alice one"), ("main", "two")]
    assert texts_after((LINES, {})) == once
    assert texts_after((LINES, {}), (LINES, {})) == once


@pytest.mark.parametrize("change", [{"author": "Zoe"}, {"text": "@alice more"}])
def test_other_lines_on_one_store_are_other_messages(change):
    """They have the second of the start and the number in common."""
    other = [LINES[0].model_copy(update=change), LINES[1]]
    said = texts_after((LINES, {}), (other, {}))
    assert said == [("main", "@alice one"), ("main", "two"), ("main", other[0].text)]


def test_the_same_lines_in_another_room_are_said_there():
    """One file of a store has many rooms."""
    said = texts_after((LINES, {}), (LINES, {"room": "other"}))
    assert said == [
        ("main", "@alice one"),
        ("main", "two"),
        ("other", "@alice one"),
        ("other", "two"),
    ]


def test_no_client_can_take_the_id_of_a_line():
    """Its sign is refused, also where the whole id is known."""
    (taken, _) = ids_of_lines(LINES, room="main", start=START)

    async def steps():
        world = World(five_agents(), answer=everyone)
        for message_id in (taken, ""):
            with pytest.raises(ConfigError, match="letters, digits"):
                await world.service.say("Zoe", "x", id=message_id)
        await world.service.say("Zoe", "x", id=f"{START:.0f}.0")
        return await world.run(messages=LINES)

    said = [each.text for each in run_in_virtual_time(steps()).messages]
    assert [text for text in said if not text.startswith("I am")] == ["@alice one", "two"]


def test_a_line_that_fails_ends_no_run(monkeypatch, caplog):
    """The others are said, the hours come, and the log has what and how many."""

    async def steps():
        world = World(five_agents(), answer=everyone)
        say = world.store.rooms.say

        def locked(room, author, text, **given):
            if author == "Jo":
                raise StoreLocked("the store is locked")
            return say(room, author, text, **given)

        monkeypatch.setattr(world.store.rooms, "say", locked)
        return await world.run(messages=LINES, count=2)

    listener = run_in_virtual_time(steps())
    assert [each.is_message for each in listener.reports] == [True, False, False]
    assert "StoreLocked: the store is locked" in caplog.text
    assert "1 of the settings' 2 messages failed" in caplog.text
