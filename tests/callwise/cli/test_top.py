"""`callwise top`: one frame, frames until the end, and the rules of alerts."""

import json
import os
import pty
import select
import subprocess
import sys

import pytest
import yaml

from callwise.cli.top_command import watch
from callwise.recordings.run_folder import read_manifest
from callwise.report.live_status import read_status, status_path

RUN = ("run", "Hello", "--set", "search.rollouts=1", "--conversation", "c1")


@pytest.fixture
def folder(cli, tmp_path):
    """Return the folder of a conversation whose status was written."""
    assert cli(*RUN, "--set", "metrics.status=true").exit_code == 0
    return tmp_path / "callwise-runs" / "chat"


def test_one_frame_of_a_run_is_printed(cli, folder):
    """Its calls are those of the run; a pipe gets one frame without being asked."""
    asked = json.loads((folder / "status.json").read_bytes())["asked"]
    for options in ((folder, "--once"), (), ("callwise-runs/chat/status.json",)):
        result = cli("top", *options)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("chat: ended, simulated\n")
        assert f"calls: asked {asked}, in flight 0, served {asked}" in result.stdout


@pytest.mark.parametrize("arguments", [("nowhere",), ()])
def test_without_a_status_the_way_out_is_named(cli, arguments):
    """Exit code 2: nothing was watched."""
    result = cli("top", *arguments)
    assert result.exit_code == 2
    assert "--set metrics.status=true" in result.stderr


def test_the_rules_of_alerts_are_printed(cli):
    """As YAML that Prometheus reads."""
    result = cli("top", "--alerts")
    assert yaml.safe_load(result.stdout)["groups"][0]["name"] == "callwise"


def test_frames_go_on_until_the_run_has_ended(folder):
    """Each is read again, and the last one is shown."""
    ended = read_status(status_path(folder))
    running = ended.model_copy(update={"has_ended": False})
    statuses, shown, pauses = [running, running, ended], [], []
    left = iter(statuses)
    watch(lambda: next(left), shown.append, pause=lambda: pauses.append(1))
    assert (shown, len(pauses)) == (statuses, 2)


def test_ctrl_c_ends_the_viewer_alone(folder):
    """It is the usual end, and no error."""
    running = read_status(status_path(folder)).model_copy(update={"has_ended": False})
    shown = []

    def interrupt():
        raise KeyboardInterrupt

    watch(lambda: running, shown.append, pause=interrupt)
    assert shown == [running]


def test_a_terminal_is_drawn_in_place(folder):
    """With colours of the terminal, and its cursor shown again."""
    master, terminal = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(  # noqa: S603 - this interpreter
        [sys.executable, "-m", "callwise", "top", str(folder)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environ,
    )
    os.close(terminal)
    text = b""
    while select.select([master], [], [], 30)[0]:
        try:
            part = os.read(master, 65_536)
        except OSError:  # its end, on Linux
            break
        if not part:
            break
        text += part
    os.close(master)
    assert process.wait(30) == 0
    assert b"chat: ended, simulated" in text
    assert text.rstrip().endswith(b"\x1b[?25h")


def test_metrics_are_no_part_of_a_run(cli, tmp_path):
    """A run that was begun without them goes on with them, and its settings are the same."""
    talk = tmp_path / "talk.jsonl"
    rows = [{"conversation_id": "a", "turn": turn, "user_text": f"hi {turn}"} for turn in (0, 1)]
    talk.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    options = ("replay", talk, "--out", "run", "--set", "search.rollouts=1", "--json")
    assert cli(*options, "--max-turns", "1").exit_code == 0
    before = read_manifest(tmp_path / "run" / "manifest.json")
    result = cli(*options, "--set", "metrics.status=true", "--max-turns", "1")
    assert result.exit_code == 0, result.output
    assert read_manifest(tmp_path / "run" / "manifest.json") == before
    result = cli(*options, "--fresh", "--set", "metrics.status=true")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "status.json").exists()
    assert "status.json" not in json.dumps(read_manifest(tmp_path / "run" / "manifest.json"))
    assert cli(*options).exit_code == 0


def test_a_text_file_that_only_a_preset_names_is_refused(cli, tmp_path):
    """Outside of the working directory, as other paths are."""
    preset = tmp_path / "mine.yaml"
    preset.write_text("extends: instant\nmetrics: {textfile: /tmp/callwise/a.prom}\n")
    result = cli("run", "Hello", "--preset", preset)
    assert result.exit_code == 2
    assert "metrics.textfile=/tmp/callwise/a.prom" in result.stderr
