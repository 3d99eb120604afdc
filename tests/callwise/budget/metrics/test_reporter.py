"""Serving and writing metrics while a run goes on, and ports and files that cannot be used."""

import asyncio
import json
import logging
import socket
import time
import urllib.request

import pytest

from callwise.budget.metrics import MetricsKnobs
from callwise.budget.metrics.reporter import LOOPBACK, Reporter
from callwise.calls import Call, Message, Purpose, Role
from callwise.calls.errors import ConfigError
from callwise.calls.owner_loop import READ_SECONDS


@pytest.fixture
def started(make_budgeter, tmp_path):
    """Return a function that starts a reporter; each is closed at the end."""
    reporters = []

    def start(notify=None, **knobs):
        metrics = make_budgeter().metrics()
        reporter = Reporter(
            metrics,
            MetricsKnobs(**knobs),
            folder=tmp_path,
            notify=notify,
            wall=lambda: 1_000.0,
        )
        reporters.append(reporter)
        reporter.start()
        return reporter

    yield start
    for each in reporters:
        each.close()


def test_metrics_are_served_at_a_loopback_port(started):
    """The user is shown where."""
    pytest.importorskip("prometheus_client")
    texts = []
    reporter = started(texts.append, port=0)
    assert texts == [f"metrics: {reporter.url}"]
    with urllib.request.urlopen(reporter.url, timeout=10) as response:  # noqa: S310 - loopback
        assert b"callwise_calls_asked_total 0.0" in response.read()
    reporter.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(reporter.url, timeout=10)  # noqa: S310 - loopback


def test_a_port_that_is_taken_is_stated_and_the_run_goes_on(started):
    """With the way out."""
    pytest.importorskip("prometheus_client")
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        port = other.getsockname()[1]
        texts = []
        assert started(texts.append, port=port).url is None
    (text,) = texts
    assert text.startswith(f"metrics are not served at {LOOPBACK}:{port}: ")
    assert "The run goes on; choose another metrics.port, or 0" in text


def test_the_text_file_is_written_whole(started, tmp_path):
    """And once more at the end."""
    pytest.importorskip("prometheus_client")
    file = tmp_path / "folder" / "callwise.prom"
    reporter = started(textfile=str(file))
    reporter.close()
    assert "callwise_calls_asked_total 0.0" in file.read_text(encoding="utf-8")
    assert list(file.parent.iterdir()) == [file]


def test_a_text_file_that_no_collector_reads_is_refused(started):
    """Before the run begins."""
    with pytest.raises(ConfigError, match=r"metrics\.textfile=run\.txt .* end with \.prom"):
        started(textfile="run.txt")


def test_a_file_that_cannot_be_written_is_stated_once(started, tmp_path):
    """And the run goes on."""
    pytest.importorskip("prometheus_client")
    (tmp_path / "file").write_text("", encoding="utf-8")
    texts = []
    reporter = started(texts.append, textfile=str(tmp_path / "file" / "a.prom"))
    for _ in range(3):
        reporter.write_textfile()
    (text,) = texts
    assert text.startswith("metrics.textfile is not written: ")
    assert text.endswith(". The run goes on")


def test_the_status_is_json_of_the_owner_alone(started, tmp_path):
    """It ends with a last one that has the end."""
    reporter = started(status=True)
    reporter.write_status()
    file = tmp_path / "status.json"
    status = json.loads(file.read_bytes())
    assert (status["at"], status["asked"], status["has_ended"]) == (1_000.0, 0, False)
    assert file.stat().st_mode & 0o777 == 0o600
    reporter.close()
    assert json.loads(file.read_bytes())["has_ended"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["status.json"]


async def test_closing_in_the_loop_does_not_wait_for_it(make_budgeter, tmp_path):
    """The thread is waiting for this loop; what is written last is of the end."""
    pytest.importorskip("prometheus_client")
    budgeter, texts = make_budgeter(), []
    await budgeter.ask(Call(Role.MAIN, Purpose.OTHER, (Message("user", "Hello"),)))
    knobs = MetricsKnobs(status=True, textfile=str(tmp_path / "run.prom"))
    for _ in range(3):
        reporter = Reporter(budgeter.metrics(), knobs, folder=tmp_path, notify=texts.append)
        before = time.monotonic()
        reporter.start()
        reporter.close()
        assert time.monotonic() - before < READ_SECONDS
    for _ in range(20):
        await asyncio.sleep(0)
    assert texts == []
    assert json.loads((tmp_path / "status.json").read_bytes())["has_ended"]
    assert {each.name for each in tmp_path.iterdir()} == {"status.json", "run.prom"}


def test_a_busy_loop_makes_a_status_older_and_no_error(started, monkeypatch, caplog):
    """Without a listener the log has it."""
    reporter = started(status=True)

    def busy():
        raise TimeoutError("the event loop of the budgeter did nothing else for 5 s")

    monkeypatch.setattr(reporter._metrics, "snapshot", busy)
    with caplog.at_level(logging.WARNING):
        reporter.write_status()
        reporter.write_status()
    (record,) = caplog.records
    assert record.getMessage() == (
        "the status is not written: the event loop of the budgeter did nothing else for 5 s. "
        "The run goes on"
    )


def test_without_the_library_an_error_names_the_extra(started, monkeypatch):
    """Where a port or a text file is asked for; the status needs none."""
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match=r"'\.\[prometheus\]'"):
        started(port=0)
    started(status=True)
