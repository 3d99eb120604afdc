"""Recorded runs whose agents remember facts: the replay gives the same bytes."""

import orjson
import pytest

from callwise.calls import Purpose, Reply, ReportedUsage
from callwise.wake.wake_recording import TIMES
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
from tests.callwise.wake.wake_world import START, material_of

HOUR = f"{START / 3600 + 1:.0f}"


def remembering(call, model):
    """Return a reply that depends on all notes, and facts that depend on all of the prompt."""
    if call.is_embedding:
        vectors = tuple((float(len(text) % 7), float(len(text) % 5), 1.0) for text in call.inputs)
        return Reply("", vectors=vectors, usage=ReportedUsage(3, 0), model=model)
    if call.purpose is not Purpose.REMEMBER:
        return talk(call, model)
    material = material_of(call)
    *_, last = [{"from": "the wind"}, *material.get("chat", [])]
    facts = [f"{material['name']}: {last}", f"{material['message']}."]
    return orjson.dumps({"facts": facts}).decode()


def events_of(folder):
    """Return the names of the recorded events, in their order."""
    return [orjson.loads(line)[0] for line in (folder / TIMES).read_bytes().splitlines()]


@pytest.mark.parametrize("concurrency", [1, 64])
@pytest.mark.parametrize(
    ("variant", "retrieval"),
    [("server_batch", "words"), ("server_batch", "both"), ("mixed", "words"), ("mixed", "both")],
)
def test_a_replay_gives_the_same_facts_and_bytes(tmp_path, variant, retrieval, concurrency):
    """Whatever order answers came in, with mentions between them, and nothing is sent."""
    wake = {"variant": variant, "retrieval": retrieval, "memory": "extracted"}
    settings = settings_of(wake=wake, load={"schedule": {"max_concurrency": concurrency}})
    client, live = Live(shuffled(concurrency, remembering)), Seen()
    folder = recorded(tmp_path / "run", client, settings, listener=live)
    sent = len(client.requests)
    seen, found = replayed(folder, settings, out=tmp_path / "again")
    assert content(folder) == content(tmp_path / "again")
    assert len(client.requests) == sent
    assert found.left_count == 0
    replies = [reply for report in seen.reports for reply in report.replies]
    assert sum(len(reply.facts) for reply in replies) > 20
    assert {reply.memory_problem for reply in replies} == {""}
    assert {report.is_message for report in seen.reports if report.replies} == {True, False}


def test_a_mention_during_the_extraction_of_an_hour_reads_what_is_noted_by_then(tmp_path):
    """Its prompt has the facts that had come and no others, in the replay as well."""
    settings = settings_of(wake={"variant": "mixed", "memory": "extracted", "notes_limit": 100})
    folder = recorded(tmp_path / "run", Live(shuffled(1, remembering)), settings)
    events = events_of(folder)
    noted = [place for place, name in enumerate(events) if name.startswith(f"facts:main:{HOUR}:")]
    read = [place for place, name in enumerate(events) if name.startswith("recall:@")]
    assert any(noted[0] < place < noted[-1] for place in read)
    assert noted[-1] < events.index(f"end:{HOUR}")
    replayed(folder, settings, out=tmp_path / "again")
    assert content(folder) == content(tmp_path / "again")


def test_a_run_that_was_stopped_during_an_extraction_is_replayed_until_then(tmp_path):
    """The hour's messages had come, and its report had not."""
    settings, live = settings_of(wake={"memory": "extracted"}, messages=[]), Seen()
    client = Live(shuffled(2, remembering))
    folder = recorded(
        tmp_path / "run", client, settings, hours=None, listener=live, ends_after=7213.0
    )
    events = events_of(folder)
    last = f"{START / 3600 + 2:.0f}"
    assert f"ask:{last}" in events
    assert f"end:{last}" not in events
    seen, _ = replayed(folder, settings)
    assert len(seen.reports) == len(live.reports) == 2
    assert seen.reports == live.reports
