"""Help, version, exit codes, and what a light command loads."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from callwise import __version__
from callwise.calls.errors import CassetteMiss, ConfigError, FormatError
from callwise.cli.main import callwise
from callwise.cli.options import CommandOptions, command
from callwise.cli.terminal import clear_errors

COMMANDS = {
    "plan": ("--preset", "--set", "--json", "--latency-seconds", "--rpm"),
    "run": ("--preset", "--set", "--json", "--conversation", "--user", "--home"),
    "conversations": ("--agent", "--side", "--skip-bad", "--json"),
    "chat": ("--preset", "--set", "--conversation", "--user", "--home"),
    "replay": (
        "--record",
        "--cassette",
        "--mode",
        "--max-turns",
        "--out",
        "--json",
        "--skip-bad",
    ),
    "tune": ("--grid", "--knob", "--past", "--quality", "--labels", "--buy", "--max-buy-usd"),
    "check": ("--baseline", "--update", "--gate", "--markdown", "--quarantine", "--live", "--json"),
    "report": ("--format", "--table", "--html", "--against"),
    "knobs": ("--preset",),
    "presets": ("--app",),
    "demo": ("--app",),
    "endpoints": ("check",),
    "sim": ("serve",),
    "serve": ("--demo", "--port", "--host", "--origin", "--store", "--now", "--set"),
}

HEAVY = ("langgraph", "langchain_core", "openai", "aiohttp", "numpy", "tiktoken", "diskcache")


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(cli: Any, command: str) -> None:
    """--help exits with 0 and names the options that the docs name."""
    shown = cli(command, "--help")
    assert shown.exit_code == 0
    for option in COMMANDS[command]:
        assert option in shown.stdout, option


def test_the_whole_help_lists_every_command(cli: Any) -> None:
    """The first help that one sees lists all commands and where to start."""
    shown = cli("--help")
    assert shown.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in shown.stdout
    assert "callwise demo" in shown.stdout


def test_version(cli: Any) -> None:
    """The version is the package's."""
    assert cli("--version").stdout == f"callwise {__version__}\n"


@pytest.mark.parametrize("arguments", [("nonsense",), ("plan", "--nonsense"), ("run",)])
def test_a_wrong_command_line_exits_with_two(cli: Any, arguments: tuple[str, ...]) -> None:
    """An unknown command or option, or a missing argument, is a wrong request."""
    shown = cli(*arguments)
    assert shown.exit_code == 2
    assert "Usage" in shown.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("no"), 2),
        (FormatError("file", 3, "no"), 2),
        (CassetteMiss("no"), 1),
        (OSError(28, "No space left on device"), 1),
        (BrokenPipeError(), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_end_in_their_exit_codes(error: BaseException, code: int) -> None:
    """Each kind of error ends a command with the code that scripts rely on."""
    with pytest.raises(typer.Exit) as ending, clear_errors():
        raise error
    assert ending.value.exit_code == code


def test_a_bug_is_not_hidden() -> None:
    """An error that is not the project's own keeps its traceback."""
    with pytest.raises(ZeroDivisionError), clear_errors():
        raise ZeroDivisionError


def _loaded(code: str, folder: Path) -> set[str]:
    """Run code in a fresh interpreter and return the top-level modules that it loaded."""
    program = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}


def test_help_and_plan_load_nothing_heavy(tmp_path: Path) -> None:
    """Neither the command line nor a plan, which runs the nodes, loads a client or a graph."""
    main = _loaded("import callwise.cli.main", tmp_path)
    assert not main & {*HEAVY, "rich", "graph"}
    run = "from callwise.cli.main import callwise\ncallwise(['plan'], standalone_mode=False)"
    plan = _loaded(run, tmp_path)
    assert "graph" in plan
    assert not plan & (set(HEAVY) - {"numpy", "tiktoken"})


@pytest.mark.parametrize("preset", ["classic", "classic_parallel"])
def test_a_plan_writes_nothing(cli: Any, tmp_path: Path, preset: str) -> None:
    """A plan leaves no file behind."""
    assert cli("plan", "--preset", preset).exit_code == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "new"),
    [
        (("replay", "talk.jsonl", "--limit-turns", 3), "--max-turns"),
        (("replay", "talk.jsonl", "--concurrency", 3), "--max-concurrency"),
        (("tune", "run", "--margin", 0.1), "--margin-share"),
    ],
)
def test_an_earlier_name_of_an_option_is_refused(
    cli: Any, arguments: tuple[object, ...], new: str
) -> None:
    """The error names the option that replaced it; the help does not list the old one."""
    shown = cli(*arguments)
    assert shown.exit_code == 2
    assert f"this option is called {new} now" in " ".join(shown.stderr.split())
    assert f"{arguments[2]} " not in cli(str(arguments[0]), "--help").stdout


class _GreetOptions(CommandOptions):
    name: Annotated[str, typer.Argument()]
    max_times: Annotated[int, typer.Option(min=1)] = 2
    words: Annotated[list[str], typer.Option("--word", "-w")] = []  # noqa: RUF012 - pydantic copies it


def test_a_field_of_an_options_model_is_an_option() -> None:
    """Name, default, range and list come from the one declaration; the model arrives whole."""
    seen: list[_GreetOptions] = []

    def greet(options: _GreetOptions) -> None:
        """Greet."""
        seen.append(options)

    app = typer.Typer()
    app.command()(command(greet))
    runner = CliRunner()
    assert runner.invoke(app, ["Sam"]).exit_code == 0
    assert runner.invoke(app, ["-w", "a", "--word", "b", "--max-times", "3", "Sam"]).exit_code == 0
    assert seen == [
        _GreetOptions(name="Sam"),
        _GreetOptions(name="Sam", max_times=3, words=["a", "b"]),
    ]
    assert runner.invoke(app, ["Sam", "--max-times", "0"]).exit_code == 2


@pytest.mark.parametrize("width", [40, 80])
def test_help_fits_the_terminal(cli: Any, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Of each command, at 80 columns and at 40; only a name that is longer may spill."""
    monkeypatch.setenv("COLUMNS", str(width))
    for name in ("", *COMMANDS):
        lines = cli(*name.split(), "--help").stdout.splitlines()
        prose = [line for line in lines if not line.lstrip().startswith(("-", "CONV"))]
        assert max(map(len, prose)) <= width


def test_help_has_colours_where_they_are_asked_for(cli: Any) -> None:
    """None in a pipe; NO_COLOR is before FORCE_COLOR."""
    runner, forced = CliRunner(), {"FORCE_COLOR": "1"}
    assert "\x1b" not in cli("--help").stdout
    assert "\x1b[36m" in runner.invoke(callwise, ["plan", "--help"], env=forced).stdout
    none = {**forced, "NO_COLOR": "1"}
    assert "\x1b" not in runner.invoke(callwise, ["plan", "--help"], env=none, color=True).stdout
