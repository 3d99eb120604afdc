"""Endpoints that are wrong, small, dead or stopped: a clear end, and every request counted."""

import socket

import pytest

from tests.model.conftest import counted_in, rows_of, spent_in
from tests.model.programs import cut_model, environment_reason, model_server

pytestmark = pytest.mark.model

PLANNED = 8
"""Calls of a turn of `balanced`."""

MAX_ATTEMPTS_AT_A_DEAD_ENDPOINT = 25
"""A turn, of which none is a request: five judge calls travel together, and each tries at most five
times. Calls after them try no more."""


@pytest.fixture
def dead_url():
    """Return the base URL of a port where nothing listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    return f"http://127.0.0.1:{port}/v1"


@pytest.fixture(scope="module")
def narrow_server():
    """Give the base URL of a server whose context is 768 tokens."""
    if reason := environment_reason():
        pytest.skip(reason)
    with model_server("--model", cut_model(), "--slots", "1", "--context", "768") as url:
        yield url


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_trailing_slash_changes_nothing(ending, command, behind):
    """The URL with `/v1` works with and without a slash at its end."""
    proxy = behind()
    command.use(proxy.base_url + ending)
    command("run", "Hello there", "-p", "instant")
    assert proxy.log


def test_a_url_without_its_version_works_or_names_it(command, behind):
    """A URL whose `/v1` was forgotten: a reply, or an error that names what is missing."""
    proxy = behind()
    command.use(proxy.base_url.removesuffix("/v1"))
    done = command("run", "Hello there", "-p", "instant", code=None)
    if done.returncode:
        assert "/v1" in done.stderr
        assert "CALLWISE_BASE_URL" in done.stderr
    else:
        assert proxy.log


def test_https_for_http_is_named(command, behind):
    """A server that speaks http, asked by https: the error has the variable to set."""
    proxy = behind()
    command.use(proxy.base_url.replace("http://", "https://"))
    done = command("run", "Hello there", "-p", "instant", code=1)
    assert "CALLWISE_BASE_URL" in done.stderr
    assert not proxy.log


def test_a_model_that_the_server_does_not_know_is_served_by_what_it_has(command, behind):
    """llama.cpp has one model and takes any name for it, so there is nothing to report."""
    proxy = behind()
    command.use(proxy.base_url, CALLWISE_MODEL="no-such-model")
    command("run", "Hello there", "-p", "instant")
    assert {each.body["model"] for each in proxy.log} == {"no-such-model"}


def test_a_context_too_short_ends_in_a_turn(command, behind, conversations, narrow_server):
    """Prompts that do not fit are clipped or given up; the turns end and are counted."""
    proxy = behind(narrow_server)
    command.use(proxy.base_url)
    command("replay", conversations["en"], "-p", "balanced", "--max-turns", 3, "--out", "run")
    turns = rows_of(command.folder / "run" / "turns.jsonl")
    ledger = rows_of(command.folder / "run" / "ledger.jsonl")
    refused = [each for each in proxy.log if each.status == 400]
    assert len(turns) == 3
    assert all(turn["reply"] for turn in turns)
    assert refused, "some prompts are longer than the context"
    assert sum(row["requests"] for row in ledger) == len(proxy.log)
    assert any("context" in (row["error"] or "") for row in ledger)
    assert all(turn["degraded"] for turn in turns if turn["is_fallback"])


def test_a_dead_judge_is_named_and_asked_a_bounded_number_of_times(
    command, behind, conversations, dead_url
):
    """One of two hosts is down: the turn ends in a reply, and says who was not there."""
    proxy = behind()
    command.use(proxy.base_url)
    done = command(
        *("replay", conversations["en"], "-p", "balanced", "--max-turns", 1, "--out", "run"),
        *("-s", f"endpoints.judge.base_url={dead_url}", "-s", "endpoints.judge.model=judge"),
        code=None,
    )
    (turn,) = rows_of(command.folder / "run" / "turns.jsonl")
    ledger = rows_of(command.folder / "run" / "ledger.jsonl")
    judged = [row for row in ledger if row["role"] == "judge"]
    assert turn["reply"]
    assert not turn["is_fallback"]
    assert turn["degraded"]
    assert "judge" in done.stdout + done.stderr
    assert sum(row["requests"] for row in judged) == 0
    assert sum(row["attempts"] for row in judged) <= MAX_ATTEMPTS_AT_A_DEAD_ENDPOINT
    assert counted_in(ledger) == spent_in(proxy.log)


def test_a_dead_server_stops_the_run_at_once(command, conversations, dead_url):
    """Nothing listens: the run ends, names host and variable, and can be resumed."""
    command.use(dead_url)
    done = command(
        *("replay", conversations["en"], "-p", "balanced", "--max-turns", 2, "--out", "run"),
        code=1,
    )
    assert "CALLWISE_BASE_URL" in done.stderr
    assert "same command" in done.stderr


def test_a_run_goes_on_after_the_server_was_stopped(command, behind, conversations):
    """Stopped in its second turn and started again: the same command ends the run.

    A turn that is kept although it missed calls says so, and no call is bought twice.
    """
    proxy = behind(stops_after=10)
    command.use(proxy.base_url)
    arguments = ("replay", conversations["en"], "-p", "balanced", "--max-turns", 3)
    done = command(*arguments, "--out", "run", code=1)
    assert "same command" in done.stderr
    assert len(proxy.log) == 10
    kept = rows_of(command.folder / "run" / "turns.jsonl")
    assert 1 <= len(kept) < 3
    proxy.listen()
    command(*arguments, "--out", "run")
    turns = rows_of(command.folder / "run" / "turns.jsonl")
    assert turns[: len(kept)] == kept
    assert [turn["is_fallback"] for turn in turns] == [False] * 3
    assert all(turn["requests"] == PLANNED or turn["degraded"] for turn in turns)
    assert sum(turn["requests"] for turn in turns) == len(proxy.log)
