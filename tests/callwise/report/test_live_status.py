"""A live status: read safely, drawn within its width, and without what a terminal obeys."""

import asyncio
import json
import os
from contextlib import contextmanager

import pytest

from callwise.budget import Budgeter, Limits
from callwise.budget.metrics.status import STATUS_FILE, status_of
from callwise.calls import Call, Message, Purpose, Role
from callwise.calls.errors import ConfigError, FormatError
from callwise.report.live_status import (
    MAX_BYTES,
    LiveStatus,
    budgeter_status,
    newest_status,
    read_status,
    status_lines,
    status_path,
)
from callwise.report.watching import drawn, watching
from callwise.safe_text import text_width
from callwise.text_layout import Screen


@pytest.fixture
def document():
    """Return the status of a run of three calls, as JSON values."""
    budgeter = Budgeter.simulated(limits=Limits(max_calls=9, max_seconds=60))
    metrics = budgeter.metrics()

    async def ask():
        for number in range(3):
            message = Message("user", f"hi {number}")
            await budgeter.ask(Call(Role.MAIN, Purpose.OTHER, (message,)))

    asyncio.run(ask())
    found = status_of(metrics.snapshot(), at=1_000.0, pid=1, has_ended=False)
    return json.loads(json.dumps(found))


@pytest.fixture
def busy(document):
    """Return a status with a queue, limits, errors and an anomaly."""
    endpoint = {
        **document["endpoints"][0],
        "name": "a-rather-long-name-of-an-endpoint-in-a-region",
        "in_flight": 12,
        "waiting": 1_234,
        "slots": 32,
        "p95_seconds": 1.25,
        "requests_per_minute": 59.6,
        "tokens_per_minute": 88_000.0,
        "limits_per_minute": {"requests_per_minute": 60.0, "tokens_per_minute": 90_000.0},
    }
    return {
        **document,
        "is_simulated": False,
        "in_flight": 12,
        "classes": {"critical": 8, "background": 4},
        "calls_per_minute": 59.6,
        "retries": 3,
        "rate_limited": 2,
        "endpoints": [endpoint],
        "last_errors": [["ServerFailed", "judge", "local"], ["RateLimited", "plan", "local"]],
        "anomalies": {"latency": 1, "calls": 2},
    }


def test_a_frame_has_calls_limits_and_errors(busy):
    """The newest error first."""
    lines = status_lines(LiveStatus.model_validate(busy), title="my-run", now=1_001.0)
    text = "\n".join(lines)
    assert lines[0] == "my-run: running"
    assert "calls: asked 3, in flight 12, served 3, per minute 60" in lines
    assert "in flight: critical 8, background 4" in lines
    assert "calls 6 (33.3 % used)" in text
    assert "60 of 60" in text
    assert "88,000 of 90,000" in text
    assert "retries 3, 429s 2" in text
    assert text.index("RateLimited: plan at local") < text.index("ServerFailed: judge at local")
    assert "latency changed beyond chance once" in lines
    assert "calls changed beyond chance 2 times" in lines
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("is_styled", [False, True])
def test_a_frame_fits_the_terminal(busy, width, is_styled):
    """At 80 columns and at 40, whatever is long."""
    title = "a-name-of-a-run-" * 10
    plain = status_lines(LiveStatus.model_validate(busy), Screen(width), title=title, now=1_001.0)
    assert max(map(text_width, plain)) <= width
    assert any("in flight" in line for line in plain)
    if is_styled:
        styled = status_lines(LiveStatus.model_validate(busy), Screen(width, is_styled=True))
        assert any("\x1b[" in line for line in styled)


@pytest.mark.parametrize(
    ("changes", "now", "shown"),
    [
        ({}, 1_001.0, "run: running, simulated"),
        ({}, 1_007.0, "run: no sign for 7 s, simulated"),
        ({"stopped": True}, 1_001.0, "run: stopping, simulated"),
        ({"has_ended": True}, 2_000.0, "run: ended, simulated"),
    ],
)
def test_the_first_line_has_the_state(document, changes, now, shown):
    """An old status is not passed off as the present."""
    status = LiveStatus.model_validate({**document, **changes})
    assert status_lines(status, now=now)[0] == shown


def test_names_of_a_file_are_made_safe(busy):
    """No terminal obeys them."""
    busy["endpoints"][0]["name"] = "evil\x1b[2J\nname"
    busy["last_errors"] = [["Bad\x07", "\u202ex", "y"]]
    text = "\n".join(status_lines(LiveStatus.model_validate(busy), title="a\x1b]0;b\x07"))
    assert all(char.isprintable() for char in text.replace("\n", ""))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "expected the status of a run"),
        (b"[]", "expected the status of a run$"),
        (b'{"callwise_status": 9}', "is of format 9, this Callwise reads 1"),
        (b'{"callwise_status": 1}', "expected the status of a run; at is odd"),
        (b"x" * (MAX_BYTES + 1), "is longer than 1,000,000 bytes"),
    ],
)
def test_another_file_is_no_status(tmp_path, data, expected):
    """The error names the file and what is odd."""
    path = tmp_path / STATUS_FILE
    path.write_bytes(data)
    with pytest.raises(FormatError, match=expected):
        read_status(path)


def test_the_file_of_a_folder_is_found(tmp_path, document):
    """And of several runs the one that was written last."""
    with pytest.raises(ConfigError, match=r"--set metrics\.status=true"):
        status_path(tmp_path)
    with pytest.raises(ConfigError, match="no run below"):
        newest_status(tmp_path)
    for seconds, name in ((2000, "a"), (3000, "b"), (1000, "c")):
        (tmp_path / name).mkdir()
        file = tmp_path / name / STATUS_FILE
        file.write_text(json.dumps(document), encoding="utf-8")
        os.utime(file, (seconds, seconds))
    assert newest_status(tmp_path).parent.name == "b"
    assert read_status(status_path(tmp_path / "a")).asked == 3


async def test_a_budgeter_of_this_process_is_drawn():
    """In a terminal, a notebook or a log."""
    budgeter = Budgeter.simulated()
    assert budgeter_status(budgeter).asked == 0
    await budgeter.ask(Call(Role.MAIN, Purpose.OTHER, (Message("user", "hi"),)))
    assert drawn(budgeter, Screen()).startswith("run: running, simulated\ncalls: asked 1, ")


async def test_watching_shows_the_last_state():
    """Also where the block is shorter than the time between two frames."""
    budgeter = Budgeter.simulated()
    shown = []

    @contextmanager
    def frames():
        yield shown.append

    with watching(budgeter, frames=frames()):
        await budgeter.ask(Call(Role.MAIN, Purpose.OTHER, (Message("user", "hi"),)))
    assert shown[-1].startswith("run: ended, simulated\ncalls: asked 1, ")
