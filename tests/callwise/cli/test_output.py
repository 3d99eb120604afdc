"""Printed output: untrusted texts as text, and errors of the system with a remedy."""

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from callwise.cli.terminal import os_error_text
from callwise.safe_text import text_width

ESCAPES = (
    "\x1b[31m",  # colour
    "\x1b]52;c;aGk=\x07",  # the clipboard
    "\x1b]0;title\x1b\\",
    "\x9b2J",
    "\u202egpj.exe\u202c",
    "\u2066x\u2069",
    "\x08\x08\x7f",
    "\r",
    "\u200f",
)
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a conversation whose every text is full of escapes."""
    text = "".join(ESCAPES)
    line = {
        "conversation_id": f"c{text}",
        "turn": 0,
        "user_text": f"Hi {text}",
        "user_id": f"u{text}",
    }
    path = tmp_path / "talk.jsonl"
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    return path


def test_no_output_is_obeyed_by_a_terminal(cli: Any, hostile: Path) -> None:
    """Of no command, in no form, on neither stream; JSON is whole all the same."""
    text = "".join(ESCAPES)
    document = {"extends": "frugal", "persona": {"name": f"Lin {text}"}, "agent_id": f"a{text}"}
    Path("theirs.yaml").write_text(json.dumps(document), encoding="utf-8")
    commands: list[tuple[object, ...]] = [
        ("run", f"Hello {text}", "-p", "theirs.yaml"),
        ("run", f"Hello {text}", "-p", "theirs.yaml", "--json"),
        ("knobs", "-p", "theirs.yaml"),
        ("plan", "-p", "theirs.yaml"),
        ("replay", hostile, "-p", "theirs.yaml", "--out", "run"),
        ("replay", hostile, "-p", "theirs.yaml", "--out", "run2", "--json"),
        ("report", "run"),
        ("report", "run", "--format", "json"),
        ("report", "run", "--format", "csv", "--table", "turn"),
        ("report", "run", "--format", "markdown"),
        ("tune", "run", "--knob", "search.max_calls=1,3", "--jobs", "1", "--out", "s"),
        ("tune", "run", "--knob", "search.max_calls=1,3", "--jobs", "1", "--out", "s", "--json"),
        ("check", "run", "--baseline", "b.json", "--update"),
        ("check", "run", "--baseline", "b.json", "--json"),
        ("run", "x", "--set", f"seed={text}"),
        ("replay", f"none{text}"),
        ("report", f"none{text}"),
    ]
    for command in commands:
        result = cli(*command)
        found = OBEYED.search(result.stdout + result.stderr)
        assert found is None, (command[0], result.output)
        if "--json" in command or "json" in command:
            orjson.loads(result.stdout)
    talk = cli("chat", "-p", "theirs.yaml", stdin="Hello\x1b[31m\n")
    assert OBEYED.search(talk.stdout + talk.stderr) is None


def test_a_files_name_is_never_a_strangers_text(cli: Any, tmp_path: Path) -> None:
    """Ids with slashes, dots and NUL make no file of their name, inside or outside."""
    ids = ["../../up", "/tmp/abs", "..", "a/b", "nul\u0000x", "C:\\x", "x" * 500, "\u202ex"]  # noqa: S108 - an id
    lines = [
        {"conversation_id": each, "turn": 0, "user_text": "Hi.", "user_id": each} for each in ids
    ]
    talk = tmp_path / "in" / "talk.jsonl"
    talk.parent.mkdir()
    talk.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    before = sorted(tmp_path.parent.iterdir())
    assert cli("replay", talk, "-p", "instant", "--out", "deep/run").exit_code == 0
    assert cli("report", "deep/run", "--html", "page.html").exit_code == 0
    names = {path.name for path in Path("deep").rglob("*")}
    assert names == {
        "run",
        "manifest.json",
        "turns.jsonl",
        "ledger.jsonl",
        "cassette.jsonl",
        "memory.sqlite",
        *(each for each in names if each.startswith(".")),
    }
    assert sorted(tmp_path.parent.iterdir()) == before


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.ENOSPC, errno.EROFS, errno.ENOENT, errno.EISDIR]
)
def test_an_error_of_the_system_has_the_path_and_a_way_out(number: int) -> None:
    """And no bare number."""
    text = os_error_text(OSError(number, os.strerror(number), "some/file"))
    assert text.startswith(f"some/file: {os.strerror(number)}; ")
    assert "Errno" not in text
    assert "Errno" not in os_error_text(OSError("odd"))
    assert os_error_text(OSError()) == "OSError"


BAD_PATHS: list[tuple[object, ...]] = [
    ("run", "hi", "--conversation", "c", "--home", "file"),
    ("run", "hi", "--conversation", "c", "--home", "file/x"),
    ("chat", "--home", "file/x"),
    ("plan", "-p", "file/x.yaml"),
    ("plan", "-p", "circle/x.yaml"),
    ("knobs", "-p", "folder.yaml"),
    ("replay", "talk.jsonl", "-p", "instant", "--out", "file"),
    ("replay", "talk.jsonl", "-p", "instant", "--out", "file/x"),
    ("replay", "talk.jsonl", "-p", "instant", "--out", "circle"),
    ("replay", "talk.jsonl", "-p", "instant", "--cassette", "folder"),
    ("replay", "talk.jsonl", "-p", "instant", "--cassette", "circle"),
    ("replay", "talk.jsonl", "-p", "instant", "--record", "folder"),
    ("replay", "talk.jsonl", "-p", "instant", "--record", "/dev/full"),
    ("replay", "circle"),
    ("tune", "file", "--knob", "seed=1"),
    ("tune", "circle", "--knob", "seed=1"),
    ("tune", "run", "--knob", "seed=1", "--jobs", "1", "--out", "file"),
    ("tune", "run", "--grid", "folder.yaml", "--out", "s"),
    ("tune", "run", "--knob", "seed=1", "--jobs", "1", "--out", "s", "--labels", "folder"),
    ("check", "file", "-b", "b.json"),
    ("check", "run", "-b", "folder"),
    ("check", "run", "-b", "circle"),
    ("check", "run", "-b", "folder", "--update"),
    ("check", "run", "-b", "file/b.json", "--update"),
    ("check", "run", "-b", "b.json", "--markdown", "folder"),
    ("check", "run", "-b", "b.json", "--markdown", "/dev/full"),
    ("check", "run", "-b", "b.json", "--scores", "folder"),
    ("check", "run", "-b", "b.json", "--quarantine", "folder"),
    ("report", "file"),
    ("report", "circle"),
    ("report", "run", "--html", "folder"),
    ("report", "run", "--html", "file/page.html"),
    ("report", "run", "--html", "/dev/full"),
    ("endpoints", "check", "--out", "folder.yaml"),
    ("endpoints", "check", "--out", "file/x.yaml"),
    ("sim", "serve", "--port", "0", "--log", "folder"),
    ("sim", "serve", "--port", "0", "--log", "file/x"),
    ("sim", "serve", "--port", "0", "--host", "203.0.113.9"),
]


def test_every_command_names_the_path_that_it_cannot_use(cli: Any, talk: Path) -> None:
    """A folder for a file, a file for a folder, a circle of links, a full disk."""
    assert cli("replay", talk, "-p", "instant", "--out", "run").exit_code == 0
    assert cli("check", "run", "-b", "b.json", "--update").exit_code == 0
    Path("file").write_text("x", encoding="utf-8")
    for name in ("folder", "folder.yaml"):
        Path(name).mkdir()
    Path("circle").symlink_to("circle")
    for command in BAD_PATHS:
        result = cli(*command)
        assert result.exit_code in {1, 2}, (command, result.output)
        assert "[Errno" not in result.output, (command, result.output)
        bad = next(
            str(each)
            for each in reversed(command)
            if re.match(r"file|folder|circle|/dev|203", str(each))
        )
        assert bad.partition("/")[0] in result.stderr, (command, result.output)


def _widest(text: str) -> int:
    return max(map(text_width, text.splitlines()))


@pytest.mark.parametrize("width", [40, 80])
def test_reports_fit_the_terminal(
    cli: Any, talk: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """A run's tables and a sweep's; `--wide` and CSV have what is left out."""
    monkeypatch.setenv("COLUMNS", str(width))
    assert _widest(cli("replay", talk, "-p", "frugal", "--out", "run").stdout) <= width
    shown = cli("report", "run").stdout
    assert _widest(shown) <= width
    assert "Not shown: " in shown
    assert "(--wide, or --format csv, shows all)" in " ".join(shown.split())
    assert _widest(cli("report", "run", "--table", "call").stdout) <= width
    wide = cli("report", "run", "--table", "turn", "--wide").stdout
    assert _widest(wide) > 80
    assert "Not shown" not in wide
    swept = cli("tune", "run", "--knob", "search.max_calls=1,3", "--jobs", 1, "--out", "s")
    assert _widest(swept.stdout) <= width


def test_colours_are_printed_where_they_are_forced_and_only_our_own(
    cli: Any, hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a conversation stay text; without FORCE_COLOR a pipe has none."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert cli("replay", hostile, "-p", "instant", "--out", "run").exit_code == 0
    shown = cli("report", "run", "--table", "turn").stdout
    codes = re.findall(r"\x1b\[(\d+)m", shown)
    assert set(codes) == {"0", "1", "36"}
    assert len(codes) == shown.count("\x1b")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in cli("report", "run").stdout


def test_a_host_that_does_not_answer_is_shown_while_it_is_asked(cli: Any, serving: Any) -> None:
    """Each attempt that is repeated has a line on standard error, without the key."""
    serving(error_rate_500=1.0)
    ended = cli("run", "hi", "-p", "instant", "--set", "retry.first_wait_seconds=0.01")
    assert ended.exit_code == 1
    lines = [line for line in ended.stderr.splitlines() if " attempt " in line]
    assert re.search(
        r"^main at \S+ \(simulated\): attempt 1 of 3 failed \(ServerFailed, status 500\); next in ",
        lines[0],
    )
    assert ended.stdout == ""
