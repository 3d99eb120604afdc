"""The notebooks as users run them: copied, in a real kernel, and in other hosts of Python cells."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks.cells import FOLDER

pytestmark = pytest.mark.slow

ROOT = FOLDER.parent


def _environment(**given: str) -> dict[str, str]:
    own = {name: text for name, text in os.environ.items() if not name.startswith("CALLWISE_")}
    return {**own, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **given}


def _callwise(folder: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "callwise", *arguments],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_copies_are_made_once_and_kept(tmp_path: Path) -> None:
    """An edited copy is not overwritten, and no link of a copy leads to a neighbour."""
    assert _callwise(tmp_path, "notebooks", "mine").count("copied: ") == 5
    mine = tmp_path / "mine" / "01_one_turn.ipynb"
    mine.write_text("{}", encoding="utf-8")
    assert _callwise(tmp_path, "notebooks", "mine").count("kept: ") == 5
    assert mine.read_text(encoding="utf-8") == "{}"
    for path in (tmp_path / "mine").glob("*.ipynb"):
        assert "](../" not in path.read_text(encoding="utf-8")


def test_an_edited_copy_runs_twice_in_a_kernel(tmp_path: Path) -> None:
    """Outside of the checkout, after an edit: it writes to `callwise-runs/` and nowhere else."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    _callwise(tmp_path, "notebooks", "mine")
    path = tmp_path / "mine" / "03_tradeoff.ipynb"
    text = path.read_text(encoding="utf-8")
    edited = text.replace("(3, 4, 6, 8)", "(2, 5, 7)").replace("None\\n", "6\\n")
    assert edited != text
    path.write_text(edited, encoding="utf-8")
    before = _files(tmp_path)
    shown = []
    for _ in range(2):
        notebook = nbformat.reads(edited, as_version=4)
        environment = _environment(IPYTHONDIR=str(tmp_path / "callwise-runs" / "ipython"))
        client = nbclient.NotebookClient(
            notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}}
        )
        client.execute(env=environment, stderr=subprocess.DEVNULL)
        shown.append([cell.get("outputs") for cell in notebook.cells])
    made = _files(tmp_path) - before
    assert all("callwise-runs/" in name for name in made), made
    assert "search 7" in json.dumps(shown[1])


HOSTS = {
    "script": "import callwise as cw\nprint(cw.replay(['Hello.'], preset='instant'))\n",
    "asynchronous script": (
        "import asyncio, callwise as cw\n"
        "async def main():\n"
        "    run = await asyncio.to_thread(cw.replay, ['Hello.'], preset='instant')\n"
        "    print(run, cw.replay(['Hello.'], preset='instant'))\n"
        "asyncio.run(main())\n"
    ),
    "trio": (
        "import trio, callwise as cw\n"
        "async def main():\n"
        "    print(cw.replay(['Hello.'], preset='instant'))\n"
        "trio.run(main)\n"
    ),
    "ipython": (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "cell = 'import asyncio, callwise as cw\\nawait asyncio.sleep(0)\\n'\n"
        'cell += \'print(cw.replay(["Hello."], preset="instant"))\'\n'
        "shell.run_cell(cell).raise_error()\n"
    ),
    "marimo": (
        "import marimo\n"
        "app = marimo.App()\n"
        "@app.cell\n"
        "async def _():\n"
        "    import callwise as cw\n"
        "    run = cw.replay(['Hello.'], preset='instant')\n"
        "    print(run)\n"
        "    return cw, run\n"
        "@app.cell\n"
        "def _(cw, run):\n"
        "    cw.show(run)\n"
        "    cw.draw(run)\n"
        "    return\n"
        "app.run()\n"
    ),
}


@pytest.mark.parametrize("host", HOSTS)
def test_other_hosts_of_python_run_it(host: str, tmp_path: Path) -> None:
    """With and without a running loop, asyncio's or another, and nothing on standard error."""
    needed: dict[str, Any] = {"trio": "trio", "ipython": "IPython", "marimo": "marimo"}
    if host in needed:
        pytest.importorskip(needed[host], reason=f"{host} is not installed")
    script = tmp_path / "host.py"
    script.write_text(HOSTS[host], encoding="utf-8")
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env=_environment(IPYTHONDIR=str(tmp_path / "ipython"), PYTHONWARNINGS="default"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "<Run callwise-runs" in done.stdout
    assert "instant" in done.stdout
