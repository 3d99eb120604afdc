"""Replays of runs that were stopped: what had begun and not ended is read by what had ended."""

import asyncio

import pytest

from callwise.calls import Role
from callwise.calls.errors import CassetteMiss
from callwise.wake.wake_recording import RecordedWakes
from tests.callwise.wake.test_recorded_run import (
    Live,
    Seen,
    content,
    recorded,
    replayed,
    settings_of,
    shuffled,
    talk,
)
from tests.callwise.wake.wake_world import material_of


def slow_bob(call, _model):
    """Return how long an answer takes: the intent call's long, bob's to a message for ever."""
    if call.role is Role.FAST:
        return 3.0
    material = material_of(call)
    return 10_000.0 if (material["name"], material["task"]["event"]) == ("Bob", "message") else 0.2


def timed(seconds_of):
    """Return an answer that comes after its time."""

    async def answered(call, model):
        await asyncio.sleep(seconds_of(call, model))
        return talk(call, model)

    return answered


def asked_early(**changes):
    """Return settings with a message to two agents while the intent call is under way."""
    line = {"author": "Mia", "text": "@alice @bob hi", "after_seconds": 1.0}
    return settings_of(messages=[line], **changes)


@pytest.mark.parametrize("start_credits", [1000, 1])
def test_an_hour_reads_what_a_message_that_was_broken_off_has_left(tmp_path, start_credits):
    """Alice's note of her answer is in her prompt of the hour; her credits are spent."""
    settings, live = asked_early(wake={"start_credits": start_credits}), Seen()
    folder = recorded(
        tmp_path / "run", Live(timed(slow_bob)), settings, hours=None, listener=live, ends_after=60
    )
    read = RecordedWakes.read(folder)
    assert [key[0] for key in read.unended] == ["@"]
    assert read.hours == read.begun_hours == 1
    seen, _ = replayed(folder, settings, out=tmp_path / "again")
    assert content(folder) == content(tmp_path / "again")
    assert (seen.reports, seen.messages) == (live.reports, live.messages)
    outcomes = {each.agent: each.outcome for each in seen.reports[0].replies}
    assert outcomes["alice"] == ("published" if start_credits > 1 else "no credits")
    assert outcomes["dan"] == "published"


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["server_batch", "mixed"])
@pytest.mark.parametrize("start_credits", [1000, 3])
def test_a_run_that_ends_anywhere_is_replayed_with_the_numbers_of_its_chat(
    tmp_path, variant, start_credits
):
    """All reports that it has, and its messages with their numbers, whatever was broken off."""
    settings = settings_of(wake={"variant": variant, "start_credits": start_credits})
    broken = 0
    for number, seconds in enumerate([3600.5, 3604.0, 3612.0, 3619.0, 3631.0, 3641.0]):
        live, folder = Seen(), tmp_path / f"run{number}"
        recorded(
            folder, Live(shuffled(number)), settings, hours=None, listener=live, ends_after=seconds
        )
        broken += bool(RecordedWakes.read(folder).unended)
        seen, _ = replayed(folder, settings)
        assert seen.reports == live.reports
        assert seen.messages[: len(live.messages)] == live.messages
    assert broken > 3


def test_fewer_hours_are_a_beginning_of_reports_and_chat(tmp_path):
    """Messages that are being answered when the next hour begins are a part of it."""
    folder, live = tmp_path / "run", Seen()
    recorded(folder, Live(shuffled(5)), listener=live)
    for hours in (1, 2):
        seen, _ = replayed(folder, hours=hours)
        assert sum(not each.is_message for each in seen.reports) == hours
        assert seen.reports == live.reports[: len(seen.reports)]


def test_other_agents_than_those_of_a_stopped_run_are_a_miss(tmp_path):
    """Of a message that had not ended too: the replay comes to an event, or misses it."""
    folder = recorded(
        tmp_path / "run", Live(timed(slow_bob)), asked_early(), hours=None, ends_after=60
    )
    first, *rest = asked_early().agents
    others = [first.model_copy(update={"persona": "Someone else."}), *rest]
    with pytest.raises(CassetteMiss) as caught:
        replayed(folder, asked_early().model_copy(update={"agents": tuple(others)}))
    assert "new-episodes" not in str(caught.value)
