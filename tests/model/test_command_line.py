"""The command line against a real server, told of it by environment variables alone."""

import json

import pytest

from tests.model.conftest import (
    MAX_OUTPUT_TOKENS,
    CommandLine,
    counted_in,
    rows_of,
    spent_in,
)
from tests.model.proxy import Proxy, answered_by

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def proxy(cut_server, simulated):
    """Give one proxy, since its port is part of what a recorded call is."""
    stand_in = answered_by(simulated)
    with Proxy(cut_server, stand_in=stand_in, max_output_tokens=MAX_OUTPUT_TOKENS) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def recorded(proxy, conversations, tmp_path_factory):
    """Return a command line in whose folder `frugal` has recorded two turns as `run`."""
    command = CommandLine(tmp_path_factory.mktemp("recorded"))
    command.use(proxy.base_url, CALLWISE_REFEREE_MODEL="smollm2-referee")
    arguments = ("replay", conversations["en"], "-p", "frugal", "--max-turns", 2)
    begun = len(proxy.log)
    command(*arguments, "--out", "run", "--record", "calls.jsonl")
    ledger = rows_of(command.folder / "run" / "ledger.jsonl")
    assert counted_in(ledger) == spent_in(proxy.log[begun:])
    return command


def test_endpoints_check_reaches_every_role(command, proxy):
    """The first command of the docs finds the server, and each request of it is seen."""
    command.use(proxy.base_url)
    if command("endpoints", "--help", code=None).returncode:
        pytest.skip("there is no command `endpoints` yet")
    begun = len(proxy.log)
    shown = command("endpoints", "check").stdout
    assert "main" in shown
    assert len(proxy.log) > begun


def test_run_answers_one_message(command, proxy):
    """`run` prints a reply, and as many requests as arrived."""
    command.use(proxy.base_url)
    begun = len(proxy.log)
    shown = json.loads(command("run", "I lost my job today", "-p", "frugal", "--json").stdout)
    assert shown["reply"]
    assert (shown["degraded_turns"], shown["simulated"]) == (0, False)
    assert shown["requests"] == len(proxy.log) - begun


def test_chat_answers_each_line(command, proxy):
    """`chat` reads lines until the empty one, and goes on with the conversation."""
    command.use(proxy.base_url)
    command("chat", "-p", "instant", stdin="Good morning.\nI slept badly.\n\n")
    begun = len(proxy.log)
    command("chat", "-p", "instant", stdin="Are you there?\n\n")
    assert len(proxy.log) > begun
    prompt = json.dumps(proxy.log[begun].body["messages"])
    assert "I slept badly." in prompt


def test_a_recording_is_replayed_checked_and_reported(recorded, conversations, proxy):
    """`replay --cassette`, `check` and `report` end well, and send nothing."""
    begun = len(proxy.log)
    arguments = ("replay", conversations["en"], "-p", "frugal", "--max-turns", 2)
    recorded(*arguments, "--out", "again", "--cassette", "calls.jsonl")
    recorded("check", "run", "--baseline", "baseline.json", "--update")
    recorded("check", "again", "--baseline", "baseline.json", "-g", "requests", "-g", "tokens")
    recorded("report", "run", "--html", "page.html")
    table = json.loads(recorded("report", "run", "-f", "json").stdout)
    assert table
    assert (recorded.folder / "page.html").stat().st_size > 0
    assert len(proxy.log) == begun


def test_a_sweep_buys_what_is_not_recorded(recorded, proxy):
    """`tune --buy --yes` buys the calls of another setting, and no other."""
    begun = len(proxy.log)
    arguments = ("tune", "run", "-k", "search.max_calls=3,4", "--jobs", 1, "--buy", "--yes")
    recorded(*arguments, "--out", "sweep")
    assert len(proxy.log) > begun
    bought = len(proxy.log)
    recorded(*arguments, "--out", "sweep")
    assert len(proxy.log) == bought, "what is bought is not bought again"


def test_a_referee_reads_the_replies_of_a_sweep(recorded, proxy):
    """`tune --quality referee` asks the referee's model, and says how good the replies are."""
    begun = len(proxy.log)
    recorded(
        *("tune", "run", "-k", "search.max_calls=3,4", "--jobs", 1, "--buy", "--yes"),
        *("--quality", "referee", "--out", "judged"),
    )
    models = {each.body["model"] for each in proxy.log[begun:]}
    assert "smollm2-referee" in models
