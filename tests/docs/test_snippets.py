"""Every command, program and preset of the README and of docs/: each page runs, in its order.

A page runs in an empty folder with two conversations and the notebooks' data. A server on this
machine takes the place of the endpoint that a page sets. Commands run in this process; `pytest` and
`python` in one of their own. Of `make` and `pip install` only the names are looked up.
"""

import ast
import asyncio
import contextlib
import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from callwise.cli.main import callwise
from graph.app import app
from graph.settings import PipelineSettings
from tests.docs.pages import PAGES, ROOT, Block, Command, blocks_of, commands_of, plain_blocks_of
from tests.simulated_server import serving

FAST = frozenset(
    f"docs/{name}.md"
    for name in (
        "cache",
        "langchain",
        "limits",
        "load",
        "memory",
        "own-app",
        "own-conversations",
        "own-task",
        "presets",
        "processes",
        "quality",
        "search",
    )
)
"""Pages that take less than a second."""

TOOLS = frozenset({".", "callwise", "export", "make", "mkdir", "pip", "pytest", "python"})
"""Commands that can run here; a block with another one has its reason in a comment."""

_COMMANDS = get_command(callwise)
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
_INLINE = re.compile(r"`(callwise [^`\n]+)`")


def _talks(folder: Path) -> None:
    """Write conversations as users of chat interfaces have them, and copy the shipped ones."""
    texts = ("I got the job, and now I am scared of it.", "It is in another city.")
    turns = [
        {"conversation_id": "talk", "turn": turn, "user_text": text}
        for turn, text in enumerate(texts)
    ]
    talks = [
        {
            "id": f"talk-{number}",
            "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Oh"}],
        }
        for number, text in enumerate(texts)
    ]
    for name, lines in (("talk", turns), ("talks", talks)):
        written = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(written, encoding="utf-8")
    shutil.copytree(ROOT / "notebooks" / "data", folder / "notebooks" / "data")


class _Reader:
    """A reader of one page, who types what it shows."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, serve: Callable[[], str]) -> None:
        self.folder, self.patch, self.serve = folder, patch, serve
        self.names: dict[str, Any] = {
            "__name__": "__main__",
            "root": ROOT,
            "use_endpoint": lambda: self._set("CALLWISE_BASE_URL", "CALLWISE_MODEL"),
        }

    def _set(self, *names: str, value: str = "simulated") -> None:
        """Set variables of the environment; an endpoint is always a simulated server."""
        for name in names:
            self.patch.setenv(name, self.serve() if name.endswith("BASE_URL") else value)

    def follow(self, block: Block) -> None:
        """Run a block, or write it to its file."""
        if block.file is not None:
            (self.folder / block.file).write_text(block.text, encoding="utf-8")
        if block.language == "yaml":
            self._read_settings(block)
        elif block.language != "python":
            for command in commands_of(block):
                self._run(command, block.place)
        elif block.file is None:
            printed = self._execute(block)
            if block.shown:
                assert printed.splitlines() == block.shown, block.place

    def _execute(self, block: Block) -> str:
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            code = compile(block.text, block.place, "exec", flags, dont_inherit=True)
            waits = eval(code, self.names)  # noqa: S307 - our own page
            if inspect.iscoroutine(waits):
                asyncio.run(waits)
        return printed.getvalue()

    def _read_settings(self, block: Block) -> None:
        given = yaml.safe_load(block.text)
        known = {*PipelineSettings.model_fields, "extends"} - {"preset"}
        if isinstance(given, dict) and given.keys() <= known:
            path = self.folder / (block.file or "shown.yaml")
            path.write_text(block.text, encoding="utf-8")
            app.settings(str(path))

    def _run(self, command: Command, place: str) -> None:
        for name, value in command.variables.items():
            self._set(name, value=value)
        tool, *words = command.words
        output, exit_code = "", 0
        match tool:
            case "callwise":
                # A purchase is confirmed on a terminal, which there is not here.
                is_asked = "--buy" in words and "--yes" not in words
                result = CliRunner().invoke(callwise, [*words, *["--yes"] * is_asked])
                output, exit_code = result.output, result.exit_code
            case "mkdir":
                (self.folder / words[-1]).mkdir(parents=True, exist_ok=True)
            case "pytest" | "python":
                start = [
                    sys.executable,
                    "-X",
                    "utf8",
                    *(["-m", "pytest"] if tool == "pytest" else []),
                ]
                done = subprocess.run(  # noqa: S603 - our own page
                    [*start, *words],
                    cwd=self.folder,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    encoding="utf-8",
                    check=False,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                )
                output, exit_code = done.stdout, done.returncode
        assert exit_code == command.exit_code, f"{place}: {command.words}\n{output}"
        for line in command.shown:
            if line.strip() != "...":
                assert line in output.splitlines(), (
                    f"{place}: {' '.join(command.words)}\nshows\n{line}\nand prints\n{output}"
                )


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Reader]:
    """Return a reader in an empty folder next to some conversations."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.delenv(
        "CI", raising=False
    )  # a reader is at a terminal; the gate refuses to write under CI
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "path", [*sys.path])
    _talks(tmp_path)
    before = set(sys.modules)
    with ExitStack() as stack:
        yield _Reader(tmp_path, monkeypatch, lambda: stack.enter_context(serving([])).base_url)
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # of MLflow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=() if page in FAST else pytest.mark.slow)
        for page in PAGES
        if any(not block.not_run for block in blocks_of(page))
    ],
)
def test_a_page_runs(page: str, reader: _Reader) -> None:
    """Block after block; each prints what the page shows below it."""
    for block in blocks_of(page):
        if block.not_run is None:
            reader.follow(block)


def _shown_commands() -> Iterator[tuple[str, bool, Command]]:
    for page in PAGES:
        for block in blocks_of(page):
            if block.language in {"console", "sh", "bash"}:
                for command in commands_of(block):
                    yield block.place, block.not_run is None, command


def test_every_command_can_run_here_or_has_its_reason() -> None:
    """A comment `<!-- not run: reason -->` before the block."""
    missing = [
        f"{place}: {' '.join(command.words)}"
        for place, is_run, command in _shown_commands()
        if is_run and command.words and command.words[0] not in TOOLS
    ]
    assert missing == []


def _unknown_options(words: tuple[str, ...]) -> list[str]:
    """Return what `callwise` does not know of a command: its name, or options."""
    command, words = _COMMANDS, words[1:]
    while (groups := getattr(command, "commands", None)) and words and words[0].isalpha():
        if words[0] not in groups:
            return [words[0]]
        command, words = groups[words[0]], words[1:]
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    asked = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    return sorted(asked - known - {"--help"})


def test_every_option_exists() -> None:
    """Also in blocks that do not run, and in text."""
    unknown = {
        f"{place}: {' '.join(command.words)}": found
        for place, _, command in _shown_commands()
        if command.words[:1] == ("callwise",) and (found := _unknown_options(command.words))
    }
    for page in PAGES:
        for shown in _INLINE.findall((ROOT / page).read_text(encoding="utf-8")):
            if found := _unknown_options(tuple(shown.split())):
                unknown[f"{page}: {shown}"] = found
    assert unknown == {}


def test_extras_and_targets_exist() -> None:
    """Those that a page installs or makes."""
    for place, _, command in _shown_commands():
        tool, *words = command.words or ("",)
        if tool == "make":
            assert set(words) <= _TARGETS, place
        elif tool == "pip":
            for extras in re.findall(r"\[([\w,-]+)\]", " ".join(words)):
                assert set(extras.split(",")) <= _PROJECT["optional-dependencies"].keys(), place


def test_no_command_hides_in_a_block_without_a_language() -> None:
    """Those are output, drawings and files; a command there would not be run."""
    for page in PAGES:
        for text in plain_blocks_of(page):
            assert not re.search(r"^\$ |^callwise [a-z]", text, re.MULTILINE), f"{page}\n{text}"
