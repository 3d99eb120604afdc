"""`callwise run` and `callwise chat`: talking from a terminal."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from callwise.safe_text import printable_lines


def test_run_prints_reply_and_ledger(cli: Any) -> None:
    """The reply and the table go to standard output, the cost in a line to the other."""
    shown = cli("run", "I lost my job today.")
    assert shown.exit_code == 0, shown.output
    reply, ledger = shown.stdout.split("\n\n", 1)
    assert reply
    assert "lats_search" in ledger
    assert "calls" in shown.stderr
    assert "simulated" in shown.stderr


def test_run_shows_what_the_turn_gave_up(cli: Any) -> None:
    """A turn that was short of calls names the forms that it took instead."""
    shown = cli("run", "Hello.", "-s", "fuse.wind_down=true", "-s", "budget.turn.max_calls=3")
    assert shown.exit_code == 0, shown.output
    what = "fused_thinking, fused_bookkeeping, fused_reply"
    assert f"; wound down to: {what}" in shown.stderr.replace("\n", " ")
    assert "wound down" not in cli("run", "Hello.").stderr


def test_run_names_a_judge_that_does_not_answer(cli: Any) -> None:
    """In the summary's second line and in the turn's; a judge that answers is not mentioned."""
    judge = "endpoints={judge: {kind: simulated, simulated: {%s: 1}}}"
    shown = cli("run", "I lost my job today.", "-s", judge % "error_rate_500")
    assert shown.exit_code == 0, shown.output
    headline = shown.stdout.split("\n\n", 1)[1].splitlines()
    assert headline[1] == "1 of 1 turn degraded: lats_search failed (1)"
    assert "; degraded: lats_search failed" in shown.stderr.replace("\n", " ")
    shown = cli("run", "I lost my job today.", "-s", judge % "malformed_json_rate")
    assert " unreadable answer" in shown.stdout
    assert " unreadable; " in shown.stderr
    whole = cli("run", "Hello.", "-s", "endpoints={main: {kind: simulated}}")
    assert "degraded" not in whole.output
    assert "unreadable" not in whole.output


def test_run_json_is_one_object(cli: Any, one_object: Any) -> None:
    """Reply, turn and totals stand in one object."""
    document = one_object(cli("run", "I lost my job today.", "--json"))
    assert document["reply"] == document["turn"]["reply"]
    assert document["asked"] == document["turn"]["asked"]
    assert document["turns"] == 1


def test_run_keeps_nothing_unless_asked(cli: Any, one_object: Any, tmp_path: Path) -> None:
    """Without --conversation no folder is left; with it the next run is the next turn."""
    cli("run", "Hello.")
    assert list(tmp_path.iterdir()) == []
    first = one_object(cli("run", "Hello.", "--conversation", "c", "--json"))
    second = one_object(cli("run", "And now?", "--conversation", "c", "--json"))
    assert (first["turn"]["turn"], second["turn"]["turn"]) == (0, 1)


def test_chat_goes_on_where_it_stopped(cli: Any) -> None:
    """A second chat of the same name is one turn further; another name starts again."""
    first = cli("chat", stdin="I lost my job.\nNobody knows.\n")
    assert first.exit_code == 0, first.output
    assert "turn 0:" in first.stderr
    assert "turn 1:" in first.stderr
    second = cli("chat", stdin="What would you do?\n")
    assert "turn 2:" in second.stderr
    other = cli("chat", "--conversation", "other", stdin="Hello.\n\nnever read\n")
    assert "turn 0:" in other.stderr
    assert "turn 1:" not in other.stderr


def _chat(folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", "from callwise.cli.main import main; main()", "chat"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def _interrupted(process: "subprocess.Popen[bytes]") -> int:
    """Send SIGINT until the process ends: one that comes just before a read is not seen.

    A second one in the middle of an orderly end kills, so it waits long for that end.
    """
    state = Path(f"/proc/{process.pid}/stat")
    for _ in range(5):
        # On Linux it can be seen whether the process waits in its read.
        while state.exists() and state.read_text().rpartition(")")[2].split()[0] not in "SZ":
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=60)
    process.kill()
    return process.wait()


@pytest.mark.slow
def test_ctrl_c_ends_a_chat_that_waits_for_a_line(cli: Any, tmp_path: Path) -> None:
    """Ctrl-C does not wait for the next line, ends with 130, and keeps the conversation."""
    with _chat(tmp_path) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"Hello.\n")
        process.stdin.flush()
        shown = b""
        while b"\n> " not in shown and process.poll() is None:
            shown += process.stdout.read1(100)
        assert _interrupted(process) == 130
        assert process.stderr
        assert b"the conversation is kept" in process.stderr.read()
        process.stdin.close()
    assert "turn 1:" in cli("chat", stdin="And now?\n").stderr


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_message_is_a_wrong_request(cli: Any, text: str) -> None:
    """Nothing to answer: exit code 2, in one line."""
    shown = cli("run", text)
    assert shown.exit_code == 2
    assert "the message is empty" in shown.stderr


def test_odd_bytes_are_answered(cli: Any, one_object: Any) -> None:
    """Bytes that are no UTF-8 on the command line or a pipe end in a reply, not a traceback."""
    broken = b"caf\xe9 \xff".decode("utf-8", "surrogateescape")
    document = one_object(cli("run", broken, "--conversation", "odd", "--json"))
    assert document["turn"]["reply"]
    assert "caf" in document["turn"]["user_text"]


@pytest.mark.slow
def test_odd_bytes_on_a_pipe_are_answered(tmp_path: Path) -> None:
    """A chat that is fed Latin-1 goes on."""
    with _chat(tmp_path) as process:
        _, said = process.communicate(b"caf\xe9 \xff\nHello.\n", timeout=60)
    assert process.returncode == 0, said
    assert b"turn 1:" in said


def test_replies_cannot_steer_the_terminal() -> None:
    """Control characters in what is shown are replaced, from any source."""
    hostile = "a\x1b[2Jb\x07c\u202ed\x9be\x00f\ud800g\nh\ti"
    shown = printable_lines(hostile)
    assert not any(mark in shown for mark in "\x1b\x07\u202e\x9b\x00\ud800")
    assert shown.replace("\ufffd", "") == "a[2Jbcdefg\nh\ti"


def test_hostile_text_is_shown_harmless(cli: Any, one_object: Any) -> None:
    """Escape codes, markup and templates in a message are words, and come back as words."""
    text = "\x1b]0;owned\x07 [bold]x[/bold] {{7*7}} $(id) `id` %s {0} __import__('os')"
    shown = cli("run", text)
    assert shown.exit_code == 0, shown.output
    assert "\x1b" not in shown.output
    assert "\x07" not in shown.output
    document = one_object(cli("run", text, "--json"))
    assert document["turn"]["user_text"] == text
    assert "49" not in document["reply"]
    assert json.dumps(document)


@pytest.mark.parametrize(
    ("environ", "names", "url"),
    [
        ({"OPENAI_API_KEY": "sk-" + "o" * 20}, "OPENAI_API_KEY", "https://api.openai.com/v1"),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, "OPENAI_BASE_URL", "http://127.0.0.1:9/v1"),
    ],
)
def test_variables_that_are_not_used_are_named(
    cli: Any, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], names: str, url: str
) -> None:
    """Without a model's name nothing real is asked, and one line says what to set."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    result = cli("run", "hi")
    assert result.exit_code == 0, result.output
    assert f"{names} not used, because no model is named" in result.stderr
    assert f"Set CALLWISE_MODEL to ask {url}" in result.stderr
    assert "sk-" not in result.output
    assert "not used" not in cli("run", "hi", "--set", "endpoints.main.kind=simulated").stderr


def test_refused_calls_are_not_counted_as_calls(cli: Any, one_object: Any) -> None:
    """Under a cap of one, one call is made, and the others are shown apart from it."""
    command = ("run", "hi", "--preset", "classic", "--set", "budget.turn.max_calls=1")
    shown = cli(*command)
    assert shown.exit_code == 0, shown.output
    assert "[turn 0: 1 calls, " in shown.stderr
    assert "more refused by a limit" in shown.stderr
    document = one_object(cli(*command, "--json"))
    assert document["calls_per_turn"]["mean"] == 1
    assert document["refused_per_turn"]["mean"] == document["outcomes"]["refused"] > 0
    assert document["cut_turns"] == 1
