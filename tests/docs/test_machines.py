"""Files for other machines: the image, the editor's, and a start without POSIX's modules."""

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
POSIX_ONLY = ("fcntl", "grp", "pwd", "pty", "resource", "syslog", "termios", "tty")

_WITHOUT_POSIX = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

for name in {names}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Absent())
sys.argv = ["callwise", *{arguments}]
from callwise.cli.main import main
main()
"""


def test_the_image_is_well_made() -> None:
    """By the rules of hadolint: pinned versions, no cache left, no root, and so on."""
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which(
        "hadolint"
    )
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run(  # noqa: S603
        [hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001"]


def test_the_image_is_given_what_the_wheel_is_built_from() -> None:
    """Each package and each file that pyproject.toml names is let through."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], project["project"]["readme"]}
    needed |= {*project["project"]["license-files"], "pyproject.toml", "constraints.txt"}
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert needed == {line.removeprefix("!") for line in lines if line.startswith("!")}


@pytest.mark.parametrize("path", [".devcontainer/devcontainer.json", ".vscode/launch.json"])
def test_files_of_the_editor_are_json(path: str) -> None:
    """Without comments, which not every reader takes."""
    assert json.loads((ROOT / path).read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["plan"], ["presets"]])
def test_commands_start_without_modules_of_posix(arguments: list[str], tmp_path: Path) -> None:
    """As on Windows, where nothing was tried; it begins in another folder."""
    code = _WITHOUT_POSIX.format(names=POSIX_ONLY, arguments=arguments)
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "callwise" in done.stdout.lower() or "calls" in done.stdout
