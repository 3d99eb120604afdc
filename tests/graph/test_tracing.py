"""The pipeline's turns as traces, by its knobs."""

import asyncio

import pytest

import callwise as cw
from callwise.calls.errors import ConfigError
from callwise.calls.trust import NOTHING
from callwise.report.observed import traces_of
from graph.app import app
from tests.callwise.report.traces.conftest import attributes, receiver

__all__ = ["receiver"]

TALK = '{"conversation_id": "one", "turn": 0, "user_text": "I lost my job this morning."}\n'


@pytest.fixture
def talk(tmp_path, monkeypatch):
    """Return a file with one turn; no variable of a collector is set."""
    for name in ("ENDPOINT", "TRACES_ENDPOINT", "HEADERS", "PROTOCOL"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    path = tmp_path / "talk.jsonl"
    path.write_text(TALK, encoding="utf-8")
    return path


def knobs(receiver, **more):
    """Return the knobs that send traces to a receiver."""
    return {"traces.enabled": True, "traces.otlp_endpoint": receiver.url, **more}


def test_a_turn_of_the_pipeline_and_its_replay_have_one_trace(talk, tmp_path, receiver):
    """A run's calls are in the trace once; a replay's trace differs in its times only."""
    run = cw.replay(talk, tmp_path / "run", knobs=knobs(receiver))
    first = receiver.spans
    calls = [span for span in first if span.name.startswith("chat ")]
    assert len(calls) == len(run.rows)
    spent = [attributes(span) for span in calls]
    assert sorted(each["gen_ai.usage.input_tokens"] for each in spent) == sorted(
        row.usage.input_tokens for row in run.rows
    )
    assert {each["callwise.time"] for each in spent} == {"virtual"}
    assert {each["gen_ai.conversation.id"] for each in spent} == {"one"}
    names = {span.span_id: span.name for span in first}
    assert "search" in {names[span.parent_span_id] for span in calls}
    receiver.requests.clear()
    cassette = tmp_path / "run" / "cassette.jsonl"
    cw.replay(talk, tmp_path / "again", cassette=cassette, knobs=knobs(receiver))
    second = receiver.spans

    def placed(spans):
        return {(span.trace_id, span.span_id, span.parent_span_id, span.name) for span in spans}

    assert placed(first) == placed(second)
    lengths = [
        {span.span_id: span.end_time_unix_nano - span.start_time_unix_nano for span in spans}
        for spans in (first, second)
    ]
    assert lengths[0] == lengths[1]


def test_a_run_may_go_on_with_and_without_traces(talk, tmp_path, receiver):
    """They are no part of a run's identity, and its manifest names no collector."""
    cw.replay(talk, tmp_path / "run", max_turns=1)
    run = cw.replay(talk, tmp_path / "run", max_turns=1, knobs=knobs(receiver))
    assert len(run.turns) == 1
    assert receiver.url not in (tmp_path / "run" / "manifest.json").read_text()


def test_turns_of_the_arms_of_an_experiment_are_sent(tmp_path, receiver):
    """Each turn once, with all its calls; a replay has the same traces."""
    talks = [{"conversation_id": f"c{n}", "turns": [{"user": "Hello"}]} for n in range(6)]
    arms = {"control": {"share": 0.5}, "small": {"share": 0.5, "set": {"search.max_calls": 3}}}
    split = {"experiment.name": "caps", "experiment.arms": arms}
    folder = tmp_path / "run"
    run = cw.replay(talks, folder, preset="balanced", knobs=knobs(receiver, **split))
    assert {turn.arm for turn in run.turns} == {"control", "small"}
    calls = [span for span in receiver.spans if span.name.startswith("chat ")]
    assert len(calls) == len(run.rows)
    turns = {span.trace_id for span in receiver.spans}
    assert len(turns) == len(talks)
    receiver.requests.clear()
    again = {"cassette": folder / "cassette.jsonl", "knobs": knobs(receiver, **split)}
    cw.replay(talks, tmp_path / "again", preset="balanced", **again)
    assert {span.trace_id for span in receiver.spans} == turns


def test_a_turn_goes_on_when_the_collector_is_down(talk, tmp_path):
    """The run ends as ever, with one notice."""
    closed = {"traces.enabled": True, "traces.otlp_endpoint": "http://127.0.0.1:9"}
    run = cw.replay(talk, tmp_path / "run", knobs=closed)
    assert len(run.turns) == 1


def test_a_collector_that_only_a_file_names_is_refused():
    """What the turns do goes where the user said; this machine is no other place."""
    far = app.settings(None, ["traces.enabled=true", "traces.otlp_endpoint=https://c.example"])
    asyncio.run(traces_of(far, far.traces, environ={}).aclose())
    with pytest.raises(ConfigError, match=r"only a file names the collector 'c\.example'"):
        traces_of(far.trusting(NOTHING), far.traces, environ={})


def test_a_collector_named_next_to_a_preset_file_is_trusted(tmp_path):
    """An override names it, also where the knobs are a file's."""
    preset = tmp_path / "mine.yaml"
    preset.write_text("traces: {enabled: true, otlp_endpoint: 'https://c.example'}\n")
    named = app.settings(str(preset))
    with pytest.raises(ConfigError, match="only a file names"):
        traces_of(named, named.traces, environ={})
    settings = app.settings(str(preset), ["traces.otlp_endpoint=https://c.example"])
    assert traces_of(settings, settings.traces, environ={}) is not None


def test_no_knob_sends_nothing():
    """Traces are off, whatever the variables name."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}
    settings = app.settings(None)
    assert traces_of(settings, settings.traces, environ=environ) is None
