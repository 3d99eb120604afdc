"""Metrics and spans of `callwise wake`: those of any run, and no part of what is recorded."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from callwise.budget.metrics import METRICS
from tests.callwise.cli.test_wake import agents
from tests.callwise.report.traces.conftest import attributes, receiver

__all__ = ["agents", "receiver"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder, with no variable of a collector."""
    monkeypatch.chdir(tmp_path)
    for name in ("ENDPOINT", "TRACES_ENDPOINT", "HEADERS", "PROTOCOL"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    return tmp_path


def _traced(url: str) -> tuple[str, ...]:
    return ("--set", "traces.enabled=true", "--set", f"traces.otlp_endpoint={url}")


def test_top_shows_a_run_of_wakes(cli: Any, one_object: Any, agents: Path) -> None:
    """From the folder of `--out`, and of a run without one below callwise-runs."""
    status = ("--set", "metrics.status=true")
    (run,) = one_object(cli("wake", agents, "--hours", 2, "--json", *status))["runs"]
    calls = sum(each["calls"] for each in run["wakes"])
    assert f"asked {calls}, in flight 0" in cli("top", "--once").output
    plain = cli("wake", agents, "--hours", 2, "--out", "out", *status)
    assert plain.exit_code == 0, plain.output
    shown = cli("top", "out", "--once").output
    assert re.search(r"out: ended, simulated", shown)
    assert f"asked {calls}, in flight 0" in shown
    assert cli("wake", agents, "--cassette", "out").exit_code == 0


def test_metrics_are_those_of_the_ledger_with_closed_labels(
    cli: Any, one_object: Any, agents: Path, here: Path
) -> None:
    """The text file counts what the reports count; no label has an agent or an hour."""
    pytest.importorskip("prometheus_client")
    parser = pytest.importorskip("prometheus_client.parser")
    textfile = ("--set", "metrics.textfile=wake.prom")
    (run,) = one_object(cli("wake", agents, "--hours", 3, "--json", *textfile))["runs"]
    families = list(
        parser.text_string_to_metric_families((here / "wake.prom").read_text(encoding="utf-8"))
    )
    samples = [sample for family in families for sample in family.samples]
    calls = [each for each in samples if each.name == "callwise_calls_total"]
    assert math.fsum(each.value for each in calls) == sum(each["calls"] for each in run["wakes"])
    declared = {each.name: set(each.labels) for each in METRICS}
    for sample in samples:
        name = re.sub(r"_(bucket|sum|count)$", "", sample.name)
        known = declared.get(sample.name, declared.get(name, set()))
        assert set(sample.labels) - {"le"} <= known, sample
    values = {value for sample in samples for value in sample.labels.values()}
    assert not values & {"ann", "ben", "cem", "main:1", "A baker."}


def test_each_wake_is_a_trace_and_its_replay_the_same(
    cli: Any, one_object: Any, agents: Path, receiver: Any
) -> None:
    """A wake, and an answered message, with the nodes of its agents and their calls."""
    recorded = cli("wake", agents, "--hours", 2, "--json", "--out", "out", *_traced(receiver.url))
    (run,) = one_object(recorded)["runs"]
    first = receiver.spans
    calls = [span for span in first if span.name.startswith("chat ")]
    assert len(calls) == sum(each["calls"] for each in run["wakes"])
    roots = [span for span in first if not span.parent_span_id]
    assert len(roots) == len(run["wakes"])
    assert len({span.trace_id for span in roots}) == len(roots)
    assert {attributes(span)["callwise.time"] for span in first} == {"virtual"}
    names = {span.span_id: span.name for span in first}
    assert {names[span.parent_span_id].split(":")[-1] for span in calls} == {"ann", "ben", "cem"}
    assert all(span.end_time_unix_nano >= span.start_time_unix_nano for span in first)
    receiver.requests.clear()
    again = cli("wake", agents, "--json", "--cassette", "out", *_traced(receiver.url))
    assert one_object(again)["runs"][0]["wakes"] == run["wakes"]
    second = receiver.spans

    def placed(spans: list[Any]) -> set[tuple[bytes, bytes, bytes, str]]:
        return {(span.trace_id, span.span_id, span.parent_span_id, span.name) for span in spans}

    assert placed(first) == placed(second)
    assert {attributes(span)["callwise.time"] for span in second} == {"recorded"}
    texts = b"".join(body for _, _, body in receiver.requests)
    assert b"are you there" not in texts


def test_observing_changes_nothing(cli: Any, agents: Path, here: Path, receiver: Any) -> None:
    """The recording, the chat and the reports are those of a run that is not observed."""
    pytest.importorskip("prometheus_client")
    observed = ("--set", "metrics.status=true", "--set", "metrics.port=0", *_traced(receiver.url))
    for name, options in (("plain", ()), ("observed", observed)):
        result = cli("wake", agents, "--hours", 2, "--out", name, *options)
        assert result.exit_code == 0, result.output
    files = {each.name for each in (here / "plain").iterdir()}
    assert {each.name for each in (here / "observed").iterdir()} == {*files, "status.json"}
    for name in files - {".lock"}:
        one, other = ((here / folder / name).read_bytes() for folder in ("plain", "observed"))
        assert one == other, name


def test_what_only_a_file_names_is_refused(cli: Any, agents: Path) -> None:
    """A collector on another machine, and a file that is not below the working directory."""
    text = agents.read_text(encoding="utf-8")
    for knobs, problem in (
        ("traces: {enabled: true, otlp_endpoint: 'https://c.example'}", "names the collector"),
        ("metrics: {textfile: /nowhere/wake.prom}", "names the path metrics.textfile"),
    ):
        agents.write_text(f"{knobs}\n{text}", encoding="utf-8")
        result = cli("wake", agents, "--hours", 1)
        assert result.exit_code != 0
        assert problem in result.output


def test_a_collector_that_is_down_costs_no_wake(cli: Any, one_object: Any, agents: Path) -> None:
    """The run ends as ever, with one message."""
    result = cli("wake", agents, "--hours", 1, "--json", *_traced("http://127.0.0.1:9"))
    (run,) = one_object(result)["runs"]
    assert len(run["wakes"]) == 2
    assert result.stderr.count("is not reached") == 1
