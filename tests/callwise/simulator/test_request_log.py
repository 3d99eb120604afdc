"""The request log keeps what arrived, in memory and on disk."""

import asyncio
import json

import pytest

from callwise.simulator.request_log import RequestLog


def test_requests_are_counted_from_one():
    """Entries keep the order of arrival."""
    log = RequestLog()
    assert [log.received(path).request_id for path in ("/a", "/b")] == [1, 2]
    assert [entry.path for entry in log] == ["/a", "/b"]
    assert log[-1].path == "/b"
    assert len(log) == 2


def test_lines_are_flushed_immediately(tmp_path):
    """A line is in the file as soon as it is written, and an old file is kept."""
    path = tmp_path / "log.jsonl"
    path.write_text("{}\n")
    with RequestLog(path) as log:
        log.write(log.received("/v1/models"))
        lines = path.read_text().splitlines()
        assert [json.loads(line).get("path") for line in lines] == [None, "/v1/models"]
    assert len(log) == 1


def test_a_log_that_cannot_be_opened_raises(tmp_path):
    """A folder that does not exist is an error on opening."""
    with pytest.raises(FileNotFoundError), RequestLog(tmp_path / "none" / "log.jsonl"):
        pass


async def test_waiting_for_requests_ends_when_they_came():
    """A waiter wakes with the last request that it waits for."""
    log = RequestLog()
    await log.reached(0)
    waiting = asyncio.create_task(log.reached(2))
    log.received("/a")
    await asyncio.sleep(0)
    assert not waiting.done()
    log.received("/b")
    await waiting
