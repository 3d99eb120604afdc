"""Shell completion: the scripts, and what a shell is answered."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from callwise.cli.main import callwise


def _answer(line: str) -> list[str]:
    """Return what bash is offered for the last word of a line."""
    words = line.split(" ")
    environment = {
        "_CALLWISE_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    result = CliRunner().invoke(callwise, [], prog_name="callwise", env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout.split()


def test_commands_and_options_are_completed() -> None:
    """By their beginnings."""
    assert _answer("callwise rep") == ["replay", "report"]
    assert _answer("callwise report --wi") == ["--wide"]
    assert _answer("callwise report -f ") == ["text", "markdown", "csv", "json"]


def test_knobs_and_presets_are_completed() -> None:
    """A knob with the sign after which its value is typed; a preset file by its path."""
    Path("mine.yaml").touch()
    assert _answer("callwise plan --set search.roll") == ["search.rollouts="]
    assert "search.max_calls=" in _answer("callwise tune run --knob search.")
    assert _answer("callwise run --preset class") == ["classic", "classic_parallel"]
    assert _answer("callwise run -p m") == ["mine.yaml"]


def test_folders_of_runs_are_completed() -> None:
    """Here, below the typed folder, and in the default folder; none with an odd name."""
    for name in ("run1", "callwise-runs/run2", "in/run3", "in/no$(run)"):
        Path(name).mkdir(parents=True)
        (Path(name) / "manifest.json").touch()
    Path("runless").mkdir()
    assert _answer("callwise report ") == ["run1", "callwise-runs/run2"]
    assert _answer("callwise check r") == ["run1"]
    assert _answer("callwise tune in/") == ["in/run3"]


def test_an_app_of_the_line_is_not_imported() -> None:
    """A line that was not entered runs nothing of the user's."""
    Path("own.py").write_text("open('was_imported', 'w')", encoding="utf-8")
    assert _answer("callwise plan --app own:app --set search.roll") == []
    assert not Path("was_imported").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_read_by_its_shell(cli: Any, shell: str) -> None:
    """Without an error, where the shell is there."""
    script = cli("completion", shell).stdout
    assert "_CALLWISE_COMPLETE" in script
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} here")
    done = subprocess.run(  # noqa: S603 - our own script
        [program, "-n"], input=script, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_completes_a_line(cli: Any, tmp_path: Path) -> None:
    """With the script as it is printed; a knob's name is followed by no blank."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    command = f'{sys.executable} -c "from callwise.cli.main import main; main()" "$@"'
    (tmp_path / "callwise").write_text(f"#!/bin/sh\nexec {command}\n", encoding="utf-8")
    (tmp_path / "callwise").chmod(0o755)
    asked = (
        f"PATH={tmp_path}:$PATH\ncompopt() {{ echo $@; }}\n{cli('completion', 'bash').stdout}\n"
        "COMP_WORDS=(callwise plan --set search.roll) COMP_CWORD=3\n"
        "_callwise_completion callwise\necho ${COMPREPLY[@]}\n"
    )
    done = subprocess.run(  # noqa: S603 - our own script
        [bash], input=asked, text=True, capture_output=True, check=True
    )
    assert done.stdout.split("\n") == ["-o nospace", "search.rollouts=", ""]
