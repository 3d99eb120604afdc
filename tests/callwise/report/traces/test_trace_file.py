"""A run as a file for trace viewers, by the rules of the Trace Event Format."""

import json
from itertools import pairwise

import pytest

from callwise.calls.errors import ConfigError
from callwise.report.call_times import place_calls
from callwise.report.run_record import CallLine
from callwise.report.traces import write_trace_file
from tests.callwise.report.conftest import ROWS, TURNS, call_row, turn_row


@pytest.fixture
def written(write_run, tmp_path_factory):
    """Return a function that writes a run's file and returns its events."""

    def write(rows=None, turns=None):
        file = tmp_path_factory.mktemp("trace") / "run.json"
        write_trace_file(write_run(rows, turns), file)
        return json.loads(file.read_bytes())

    return write


def check(document):
    """Check what the format asks for: kinds, whole times, named tracks, slices that nest."""
    named = {
        (each["pid"], each["tid"])
        for each in document["traceEvents"]
        if each["ph"] == "M" and each["name"] == "thread_name"
    }
    tracks = {}
    for event in document["traceEvents"]:
        assert event["ph"] in {"M", "X"}
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        if event["ph"] == "M":
            assert event["name"] in {"process_name", "thread_name"}
            assert isinstance(event["args"]["name"], str)
            continue
        assert isinstance(event["name"], str)
        assert isinstance(event["ts"], int)
        assert isinstance(event["dur"], int)
        assert event["ts"] >= 0
        assert event["dur"] >= 0
        assert (event["pid"], event["tid"]) in named
        tracks.setdefault((event["pid"], event["tid"]), []).append(event)
    for events in tracks.values():
        ordered = sorted(events, key=lambda each: (each["ts"], -each["dur"]))
        for one, other in pairwise(ordered):
            end = one["ts"] + one["dur"]
            assert other["ts"] >= end or other["ts"] + other["dur"] <= end


def slices(document, category):
    """Return the events of a kind."""
    return [each for each in document["traceEvents"] if each.get("cat") == category]


def test_every_call_is_a_slice_of_its_node_and_its_endpoint(written):
    """The figures are those of the ledger; what was not bought has no slice of an endpoint."""
    document = written()
    check(document)
    calls = slices(document, "call")
    assert len(calls) == len(ROWS)
    assert [each["args"]["outcome"] for each in calls].count("cached") == 1
    asked = [each["args"].get("input_tokens", 0) for each in calls]
    assert sorted(asked) == sorted(row["input_tokens"] for row in ROWS)
    assert len(slices(document, "endpoint")) == 3
    assert [each["name"] for each in slices(document, "turn")] == ["turn 0", "turn 1"]
    assert document["otherData"]["simulated"] is True


def test_waits_in_queues_and_retries_are_parts_of_a_call(written):
    """They follow each other in the call, each as long as its sum."""
    row = call_row(attempts=3, queue_seconds=0.5, work_seconds=1.5, retry_seconds=2.0)
    document = written([{**row, "path_seconds": 4.0, "end_round": 1}], [turn_row(asked=1)])
    check(document)
    parts = slices(document, "part of a call")
    found = [(each["name"], each["ts"], each["dur"]) for each in parts]
    assert found == [
        ("queue", 0, 500_000),
        ("attempts", 500_000, 1_500_000),
        ("waits before retries", 2_000_000, 2_000_000),
    ]
    assert parts[1]["args"] == {"attempts": 3}
    (served,) = slices(document, "endpoint")
    assert (served["ts"], served["dur"]) == (500_000, 3_500_000)


def test_calls_that_overlap_have_tracks_of_their_own(written):
    """Three judge calls of one round are next to each other, and turns follow each other."""
    rows = [call_row(turn, end_round=1, path_seconds=1.0 + n) for turn in (0, 1) for n in range(3)]
    document = written(rows, [turn_row(asked=3), turn_row(1, asked=3)])
    check(document)
    calls = slices(document, "call")
    assert len({each["tid"] for each in calls}) == 3
    first, second = slices(document, "turn")
    assert second["ts"] == first["ts"] + first["dur"] == 3_500_000


def test_names_of_others_are_shown_as_what_they_are(written):
    """No control character and no text of a user is in the file."""
    odd = "a\u202e\x1b[31m" + "x" * 500
    rows = [call_row(node=odd, error="AuthFailed: my secret words", notes="my secret words")]
    rows[0]["delivery"] = {"endpoint": "other", "batch": "b\u202e", "batch_size": 2}
    document = written(rows, [turn_row(asked=1, user_text="my secret words")])
    check(document)
    text = json.dumps(document, ensure_ascii=False)
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "secret words" not in text
    (call,) = slices(document, "call")
    assert call["args"]["error"] == "AuthFailed"
    assert call["args"]["delivery.batch_size"] == 2
    names = [each["args"]["name"] for each in document["traceEvents"] if each["ph"] == "M"]
    assert "other" in names
    assert max(map(len, names)) <= 120


def test_what_is_no_trace_is_not_replaced(write_run, tmp_path_factory):
    """A file of the same name is replaced where it is such a file, and left alone otherwise."""
    folder = write_run()
    file = tmp_path_factory.mktemp("trace") / "run.json"
    first = write_trace_file(folder, file)
    assert write_trace_file(folder, file) == first
    assert (first.turns, first.calls) == (len(TURNS), len(ROWS))
    file.write_text("[]")
    with pytest.raises(ConfigError, match="no trace of a run"):
        write_trace_file(folder, file)
    with pytest.raises(ConfigError, match="no trace of a run"):
        write_trace_file(folder, file.parent)
    with pytest.raises(ConfigError, match="cannot be written"):
        write_trace_file(folder, file.parent / "no" / "such.json")


def line(node, end_round, **fields):
    """Return a call's line."""
    return CallLine.model_validate(call_row(node=node, end_round=end_round, **fields))


def test_a_call_is_placed_after_its_own_nodes_call_of_the_round_before():
    """Else after the last that ended in that round; a refused call takes no round."""
    calls = [
        line("a", 1),
        line("b", 1),
        line("a", 2),
        line("c", 2),
        line("c", 2, outcome="refused"),
        line("d", None),
    ]
    placed = place_calls(calls, [1.0, 3.0, 1.0, 1.0, 0.0, 1.0])
    assert [(each.start, each.end) for each in placed] == [
        (0, 1),
        (0, 3),
        (1, 2),
        (3, 4),
        (4, 4),
        (0, 1),
    ]
