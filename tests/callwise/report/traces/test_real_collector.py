"""The same spans in a real collector, Arize Phoenix, where it is installed."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request

import pytest

from callwise.report.traces import Traces
from tests.callwise.report.traces.conftest import ask, budgeter_of, reply

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("arize-phoenix") is None,
        reason="needs a collector: `pip install arize-phoenix`, in its own environment, on PATH",
    ),
]

STARTING_SECONDS = 120


def free_ports(count):
    """Return ports of this machine that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def read(url):
    """Return the JSON of a page of the collector, once it has what was sent."""
    until = time.monotonic() + STARTING_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback
                found = json.load(answer)
                if found.get("data"):
                    return found["data"]
        except OSError:
            if time.monotonic() > until:
                raise
        assert time.monotonic() < until, "nothing came"
        time.sleep(0.2)  # another process is waited for


@pytest.fixture
def phoenix(tmp_path):
    """Start a collector, and stop it."""
    port, grpc = free_ports(2)
    environ = {
        **os.environ,
        "PHOENIX_WORKING_DIR": str(tmp_path),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - found on PATH
            [shutil.which("arize-phoenix"), "serve"], env=environ, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        read(f"{url}/v1/projects")
        yield url
    finally:
        process.terminate()
        process.wait(30)


async def test_a_real_collector_shows_the_turn(phoenix):
    """It finds the turn, the call's model and its tokens under the conventions' names."""
    budgeter = budgeter_of([reply(tokens=321)])
    async with Traces(phoenix, run="a", content=True) as traces:
        traces.watch(budgeter)
        with budgeter.scope("turn", "1"), budgeter.scope("node", "think"):
            await budgeter.ask(ask("How are you?"))
    assert traces.exporter.sent_calls == 1
    spans = {each["name"]: each for each in read(f"{phoenix}/v1/projects/default/spans")}
    call, node = spans["chat gpt-5-mini"], spans["node think"]
    assert call["span_kind"] == "LLM"
    assert call["attributes"]["llm.model_name"] == "gpt-5-mini"
    assert call["attributes"]["llm.token_count.prompt"] == 321
    assert "How are you?" in json.dumps(call["attributes"])
    assert call["parent_id"] == node["context"]["span_id"]
    assert spans["invoke_agent"]["parent_id"] is None
