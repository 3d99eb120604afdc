"""Recorded runs: a replay gives the same bytes, sends nothing, and misses loudly."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import orjson
import pytest

from callwise.budget.clock import LoopClock
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Endpoint, Prices, Reply, ReportedUsage, Role
from callwise.calls.errors import AuthFailed, CassetteMiss, ConfigError, FormatError
from callwise.recordings.cassette_file import RecordingStopped
from callwise.wake import WakeStore
from callwise.wake.recorded_run import replay_wakes, run_settings
from callwise.wake.wake_recording import LinesFile, RecordedWakes
from callwise.wake.wake_settings import WakeSettings
from tests.callwise.wake.wake_world import (
    HOUR,
    START,
    LoggedClient,
    everyone,
    five_agents,
    material_of,
)

FILES = ("wakes.jsonl", "messages.jsonl")


class Seen:
    """A listener that keeps all it sees."""

    def __init__(self):
        self.reports, self.messages = [], []

    def on_wake(self, report):
        """Keep a report."""
        self.reports.append(report)

    def on_message(self, message):
        """Keep a message."""
        self.messages.append(message)


class Live(LoggedClient):
    """A client as of a real model: its answers come in a shuffled order."""

    is_simulated = False


def talk(call, model):
    """Return a reply that depends on all of the prompt."""
    if call.role is Role.FAST:
        return everyone(call, model)
    material = material_of(call)
    said = material.get("chat", [])
    return f"{material['name']} has read {len(said)} lines and has {len(material.get('notes', []))}"


def shuffled(seed, answer=talk):
    """Return an answer that comes after a random time."""
    generator = random.Random(seed)

    async def answered(call, model):
        await asyncio.sleep(generator.uniform(0.0, 9.0))
        return answer(call, model)

    return answered


def settings_of(**changes):
    """Return settings of five agents, and people who write while they are asked."""
    texts = ("hello", "@alice are you up?", "@bob and @dan: who has the keys?", "good night")
    messages = [
        {"author": "Mia", "text": f"{text} ({number})", "after_seconds": 3596.0 + 1.7 * number}
        for number, text in enumerate(texts * 5)
    ]
    return WakeSettings.model_validate(
        {
            "models": {"dsv3": {}, "qwen32b": {}},
            "agents": [agent.model_dump() for agent in five_agents()],
            "messages": messages,
            **changes,
        }
    )


def endpoints_of(client):
    """Return endpoints of a client by role and by name."""
    prices = Prices(1.0, 2.0)
    names = ("fast", "main", "embed")
    named = {name: Endpoint(f"at-{name}", f"{name}-1", client, prices) for name in names}
    models = {name: Endpoint("provider", f"{name}-2", client) for name in ("dsv3", "qwen32b")}
    return {**{Role(name): each for name, each in named.items()}, **models}


def recorded(
    folder,
    client,
    settings=None,
    *,
    hours=3,
    store=None,
    listener=None,
    ends_after=None,
    memory=None,
):
    """Record a run in virtual time, whose wall clock goes on between any two readings."""

    async def run():
        clock, readings = LoopClock(), iter(range(10**9))

        def wall():
            return START + clock.now() + next(readings) * 1e-5

        running = run_settings(
            settings or settings_of(),
            store or WakeStore(":memory:"),
            endpoints_of(client),
            listener or Seen(),
            clock=clock,
            wall=wall,
            count=hours,
            is_first_now=True,
            out=folder,
            keeps_store=store is not None,
            secrets=["sk-planted"],
            memory=memory,
        )
        if ends_after is None:
            await running
            return
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(running, ends_after)

    run_in_virtual_time(run())
    return folder


def replayed(folder, settings=None, *, out=None, **options):
    """Replay a run."""
    settings, seen = settings or settings_of(), Seen()
    found = replay_wakes(settings, RecordedWakes.read(folder), seen, out=out, **options)
    return seen, found


def content(folder):
    """Return the bytes of reports and chat."""
    return [(folder / name).read_bytes() for name in FILES]


@pytest.mark.parametrize("concurrency", [1, 8, 64])
@pytest.mark.parametrize("variant", ["server_batch", "mixed", "agents_alone"])
def test_a_replay_gives_the_same_bytes_and_sends_nothing(tmp_path, concurrency, variant):
    """Whatever order the answers came in, and however many were asked concurrently."""
    load = {"schedule": {"max_concurrency": concurrency}}
    settings = settings_of(wake={"variant": variant}, load=load)
    answer = talk if variant != "agents_alone" else _alone
    client, live = Live(shuffled(concurrency, answer)), Seen()
    recorded(tmp_path / "run", client, settings, listener=live)
    sent = len(client.requests)
    again = settings_of(wake={"variant": variant}, load={"schedule": {"max_concurrency": 5}})
    seen, found = replayed(tmp_path / "run", again, out=tmp_path / "again")
    assert content(tmp_path / "run") == content(tmp_path / "again")
    assert (seen.reports, seen.messages) == (live.reports, live.messages)
    assert len(client.requests) == sent
    assert found.played_count == sum(each.calls for each in seen.reports) > 15
    assert found.left_count == 0
    assert {each.is_message for each in seen.reports} == {True, False}


def test_runs_with_notes_by_vectors_are_replayed(tmp_path):
    """Embeddings are calls as others are; they take their time, and people write meanwhile."""
    settings = settings_of(wake={"retrieval": "both"})
    live = Live(shuffled(7, _embedding))
    recorded(tmp_path / "run", live, settings)
    assert sum(call.is_embedding for call in live.calls) > 5
    replayed(tmp_path / "run", settings, out=tmp_path / "again")
    assert content(tmp_path / "run") == content(tmp_path / "again")


def _embedding(call, model):
    if not call.is_embedding:
        return talk(call, model)
    vectors = tuple((float(len(text) % 7), float(len(text) % 5), 1.0) for text in call.inputs)
    return Reply("", vectors=vectors, usage=ReportedUsage(3, 0), model=model)


def _alone(call, model):
    if call.role is Role.MAIN and call.response_model is not None:
        return orjson.dumps({"speaks": True, "reply": talk(call, model)}).decode()
    return talk(call, model)


def test_people_and_agents_that_write_during_a_wake_come_in_the_recorded_order(tmp_path):
    """The recorded chat has lines of people between answers, so that order matters here."""
    live = Seen()
    recorded(tmp_path / "run", Live(shuffled(3)), listener=live)
    authors = "".join("p" if each.author == "Mia" else "a" for each in live.messages)
    assert "apa" in authors
    assert replayed(tmp_path / "run")[0].messages == live.messages


def test_reports_are_written_as_each_wake_ends(tmp_path):
    """A run that is killed has every report until then."""
    lines = []

    class Counts(Seen):
        def on_wake(self, report):
            super().on_wake(report)
            lines.append((tmp_path / "run" / "wakes.jsonl").read_bytes().count(b"\n"))

    recorded(tmp_path / "run", Live(shuffled(1)), listener=Counts())
    assert lines == list(range(1, len(lines) + 1))


@pytest.mark.parametrize("seconds", [1800.0, 3610.0, 3625.0, 7210.0])
def test_a_run_that_was_stopped_is_replayed_as_far_as_its_hours_had_ended(tmp_path, seconds):
    """As one without `--hours` always is. It ends before a message whose answer was broken off."""
    live = Seen()
    recorded(tmp_path / "run", Live(shuffled(2)), hours=None, listener=live, ends_after=seconds)
    seen, _ = replayed(tmp_path / "run")
    hours = [each for each in live.reports if not each.is_message]
    assert [each for each in seen.reports if not each.is_message][: len(hours)] == hours
    replayed_ids = {each.id for each in seen.messages}
    unanswered = (
        place
        for place, each in enumerate(live.messages)
        if each.author == "Mia" and each.id not in replayed_ids
    )
    whole = next(unanswered, len(live.messages))
    assert seen.messages[:whole] == live.messages[:whole]


def test_a_store_with_messages_is_kept_for_the_replay(tmp_path):
    """The prompts have what was said before the run, and credits what was spent."""
    with WakeStore(tmp_path / "wake.sqlite") as store:
        store.rooms.say("main", "Ada", "before it all", id="0", at=START - 60.0)
        store.notes.add("alice", "Ada owes me a boat.", at=START - 60.0)
        recorded(tmp_path / "run", Live(shuffled(1)), store=store)
        after = store.rooms.messages("main")
    replayed(tmp_path / "run", out=tmp_path / "again")
    assert content(tmp_path / "run") == content(tmp_path / "again")
    assert b"before it all" in (tmp_path / "run" / "cassette.jsonl").read_bytes()
    assert len(after) > 10


@pytest.mark.parametrize("lease", [-30.0, 40.0])
def test_an_hour_that_was_taken_over_is_replayed(tmp_path, lease):
    """Of a process that had died before its agents were chosen; its lease may be still there."""
    seen = Seen()
    with WakeStore(tmp_path / "wake.sqlite") as store:
        store.claims.claim_slot("main", int(START), until=START + lease)
        recorded(tmp_path / "run", Live(shuffled(2)), store=store, listener=seen, hours=2)
    hours = [each.at for each in seen.reports if not each.is_message]
    assert hours == [START, START + HOUR, START + 2 * HOUR]
    replayed(tmp_path / "run", out=tmp_path / "again")
    assert content(tmp_path / "again") == content(tmp_path / "run")


def test_failed_answers_and_silent_agents_are_replayed(tmp_path):
    """An agent's failure is part of the recording."""

    def sometimes(call, model):
        if model == "qwen32b-2":
            return AuthFailed("the key sk-planted is wrong", status=401)
        return talk(call, model)

    live = Seen()
    recorded(tmp_path / "run", Live(shuffled(1, sometimes)), listener=live)
    assert {each.outcome for report in live.reports for each in report.replies} == {
        "published",
        "failed",
    }
    replayed(tmp_path / "run", out=tmp_path / "again")
    assert content(tmp_path / "run") == content(tmp_path / "again")
    for path in (tmp_path / "run").iterdir():
        assert b"sk-planted" not in path.read_bytes()


def test_hours_of_fallbacks_are_replayed(tmp_path):
    """People write, and agents spend their credits, while the intent call that fails is asked."""

    def failing(call, model):
        is_intent = call.role is Role.FAST
        return AuthFailed("no", status=401) if is_intent else talk(call, model)

    settings, live = settings_of(wake={"start_credits": 4}), Seen()
    recorded(tmp_path / "run", Live(shuffled(1, failing)), settings, hours=6, listener=live)
    hours = [each for each in live.reports if not each.is_message]
    assert {each.intent for each in hours} == {"fallback: AuthFailed: no"}
    replayed(tmp_path / "run", settings, out=tmp_path / "again")
    assert content(tmp_path / "run") == content(tmp_path / "again")


@pytest.mark.parametrize(
    "changes",
    [
        {"persona": "Someone else."},
        {"id": "alicia"},
        {"memory": ["One more fact."]},
    ],
)
def test_a_call_that_is_not_recorded_ends_the_replay(tmp_path, changes):
    """It is no failure of one agent, and nothing is sent for it."""
    folder = recorded(tmp_path / "run", Live(shuffled(1)))
    first, *rest = (agent.model_dump() for agent in five_agents())
    with pytest.raises(CassetteMiss):
        replayed(folder, settings_of(agents=[{**first, **changes}, *rest]))


def test_other_messages_of_people_are_refused(tmp_path):
    """They would be missing, or too many."""
    folder = recorded(tmp_path / "run", Live(shuffled(1)))
    with pytest.raises(ConfigError, match="other messages"):
        replayed(folder, settings_of(messages=[{"author": "Mia", "text": "something else"}]))


def test_more_hours_than_were_recorded_are_refused_and_fewer_are_a_beginning(tmp_path):
    """The recording has three."""
    folder = recorded(tmp_path / "run", Live(shuffled(1)))
    with pytest.raises(ConfigError, match="3 finished hours, not 4"):
        replayed(folder, hours=4)
    seen, _ = replayed(folder, hours=2)
    assert sum(not each.is_message for each in seen.reports) == 2


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    """Neither a recording nor a replay writes into it."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        recorded(tmp_path, Live(shuffled(1)))
    folder = recorded(tmp_path / "run", Live(shuffled(1)))
    before = content(folder)
    with pytest.raises(ConfigError, match="has something in it"):
        replayed(folder, out=folder)
    assert content(folder) == before


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("manifest.json", b"{}", "manifest of a run"),
        ("manifest.json", b"\xff\x00", "manifest of a run"),
        ("manifest.json", None, "cannot be read"),
        ("times.jsonl", b"", "no event `start`"),
        ("times.jsonl", b'["start"]\n', "an event's name and its time"),
        ("times.jsonl", b'["start",NaN]\n', "an event's name and its time"),
        ("times.jsonl", b'["start","1e999"]\n', "an event's name and its time"),
        ("times.jsonl", b'["start",1' + b"0" * 300 + b"]\n", "times.jsonl:1: expected"),
        ("times.jsonl", b'["start",-5e9]\n', "times.jsonl:1: expected a time in the years"),
        ("times.jsonl", b'["start",1e17]\n', "times.jsonl:1: expected a time in the years"),
        ("times.jsonl", b'["start",true]\n', "times.jsonl:1: expected"),
        ("times.jsonl", b'["start",1e9]\n["wake:1",2e11]\n', "times.jsonl:2: .* near"),
        ("times.jsonl", b'["start",1e9]\n["wake:1",9e8]\n', "times.jsonl:2: .* near"),
        ("times.jsonl", None, "cannot be read"),
        ("cassette.jsonl", None, "--out DIR"),
        ("cassette.jsonl", b"nothing\n", "cassette"),
        ("store.sqlite", b"no database at all", r"run/store\.sqlite: .*database"),
    ],
)
def test_a_damaged_recording_is_a_clear_error(tmp_path, name, data, said):
    """It names the file."""
    folder = recorded(tmp_path / "run", Live(shuffled(1)))
    if data is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(data)
    with pytest.raises(FormatError, match=said):
        replayed(folder)


@pytest.mark.parametrize(
    "name", ["store.sqlite", "times.jsonl", "manifest.json", "recalled.jsonl", "cassette.jsonl"]
)
def test_a_link_to_a_file_elsewhere_is_refused(tmp_path, name):
    """A recording may come from someone else."""
    folder, other = recorded(tmp_path / "run", Live(shuffled(1))), tmp_path / "other"
    path = folder / name
    other.write_bytes(path.read_bytes() if path.exists() else b"")
    path.unlink(missing_ok=True)
    path.symlink_to(other)
    with pytest.raises(FormatError, match=rf"{name}: is a link"):
        RecordedWakes.read(folder)


def test_a_broken_last_line_of_times_is_left_out(tmp_path):
    """As a killed run leaves it."""
    folder = recorded(tmp_path / "run", Live(shuffled(1)))
    with (folder / "times.jsonl").open("ab") as file:
        file.write(b'["end:9999')
    replayed(folder, out=tmp_path / "again")
    assert content(folder) == content(tmp_path / "again")


def test_texts_with_half_characters_and_controls_are_recorded(tmp_path):
    """A model or a person may send them."""

    def odd(call, model):
        return "half \ud83d nul \x00 esc \x1b[2J" if call.role is Role.MAIN else talk(call, model)

    recorded(tmp_path / "run", Live(shuffled(1, odd)))
    replayed(tmp_path / "run", out=tmp_path / "again")
    assert content(tmp_path / "run") == content(tmp_path / "again")
    assert b"\x1b" not in b"".join(content(tmp_path / "run"))


def test_a_run_that_was_killed_is_replayed_as_far_as_it_came(tmp_path):
    """Wherever its times end: all hours that had ended, and the messages between them."""
    live = Seen()
    folder = recorded(tmp_path / "run", Live(shuffled(4)), listener=live)
    lines = (folder / "times.jsonl").read_bytes().splitlines(keepends=True)
    by_hours = Counter()
    for count in range(1, len(lines), 4):
        (folder / "times.jsonl").write_bytes(b"".join(lines[:count]))
        hours = RecordedWakes.read(folder).hours
        by_hours[hours] += 1
        if hours:
            seen, _ = replayed(folder)
            hourly = [each for each in seen.reports if not each.is_message]
            assert hourly == [each for each in live.reports if not each.is_message][:hours]
        else:
            with pytest.raises(ConfigError, match="nothing to replay"):
                replayed(folder)
    assert set(by_hours) == {0, 1, 2}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk to write to")
@pytest.mark.parametrize("error", [None, KeyError])
def test_a_full_disk_ends_the_recording_and_not_the_run(error):
    """What could not be written is said at the end, unless something worse has ended it."""

    def run():
        with LinesFile(Path("/dev/full")) as file:
            file.write(["start", 1.0])
            file.write(["wake:1", 2.0])
            if error is not None:
                raise error

    with pytest.raises(error or RecordingStopped):
        run()
