"""The notebooks: what is committed of them, and that it is what they say today."""

import importlib.util
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from callwise.calls.errors import CassetteMiss
from callwise.tuning.notebook import replay

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
DATA = NOTEBOOKS / "data"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Return notebooks/run.py as a module."""
    spec = importlib.util.spec_from_file_location("notebooks_run", NOTEBOOKS / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def notebook(script: ModuleType) -> dict[str, Any]:
    """Return a notebook that breaks no rule."""
    return deepcopy(script.read(NOTEBOOKS / "01_one_turn.ipynb"))


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a notebook's code cells."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_there_are_five() -> None:
    """The five notebooks that the docs name are there, and no other."""
    assert [path.stem for path in PATHS] == [
        "01_one_turn",
        "02_where_calls_go",
        "03_tradeoff",
        "04_search_lab",
        "05_ci_gate",
    ]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_what_is_committed_keeps_the_rules(script: ModuleType, path: Path) -> None:
    """Few cells, no function, executed in order, with a figure, small, nothing of a machine."""
    text = path.read_text(encoding="utf-8")
    notebook = script.read(path)
    assert list(script.broken_rules(notebook, len(text.encode()))) == []
    assert list(script.machine_traces(text)) == []
    assert script.text_of(script.tidy(deepcopy(notebook))) == text
    assert "imulated" in script.source_of(notebook["cells"][0])


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def f():\n    return 1", "defines a function"),
        ("double = lambda n: 2 * n", "defines a function"),
        ("class Box:\n    pass", "defines a function"),
    ],
)
def test_a_function_in_a_cell_is_found(
    script: ModuleType, notebook: dict[str, Any], source: str, problem: str
) -> None:
    """A function by any name is refused, with the cell's number."""
    code_cells(notebook)[1]["source"] = source
    (found,) = script.broken_rules(notebook, 1)
    assert problem in found
    assert "code cell 2" in found


def test_too_much_is_found(script: ModuleType, notebook: dict[str, Any]) -> None:
    """Too many cells, too many bytes, a cell out of order, an error and no figure are told."""
    notebook["cells"] += [{"cell_type": "markdown", "source": ""}] * 15
    cells = code_cells(notebook)
    cells[0]["execution_count"] = 7
    for cell in cells:
        cell["outputs"] = []
    cells[1]["outputs"] = [{"output_type": "error"}]
    words = " ".join(script.broken_rules(notebook, 2_000_000))
    for part in (
        f"{len(notebook['cells'])} cells",
        "2,000,000 bytes",
        "in order",
        "raised",
        "no figure",
    ):
        assert part in words


def test_a_changed_output_is_found(script: ModuleType, notebook: dict[str, Any]) -> None:
    """A figure's data and a text that differ are named with their cell; a picture is not."""
    fresh = deepcopy(notebook)
    assert list(script.differences(notebook, fresh)) == []
    for cell in code_cells(fresh):
        for output in cell["outputs"]:
            if "data" in output and "image/png" in output["data"]:
                output["data"]["image/png"] = "other fonts"
    assert list(script.differences(notebook, fresh)) == []
    code_cells(fresh)[0]["outputs"][0]["text"] = "simulated: False\n"
    (found,) = script.differences(notebook, fresh)
    assert "cell 2, stdout" in found
    assert "False" in found


def test_tidying_takes_out_what_differs_from_run_to_run(script: ModuleType) -> None:
    """Ids, times, versions and last digits go; the outputs stay."""
    data = {script.VEGA_LITE: {"data": [{"x": [0.1 + 0.2]}]}, "text/plain": "a figure"}
    output = {"output_type": "display_data", "data": data, "metadata": {"at": "noon"}}
    cell = {
        "cell_type": "code",
        "id": "f3a9",
        "metadata": {"execution": {"started": "now"}},
        "execution_count": 1,
        "source": "1",
        "outputs": [output],
    }
    tidied = script.tidy({"cells": [cell], "metadata": {"language_info": {"version": "3.11.7"}}})
    (kept,) = tidied["cells"]
    assert kept["id"] == "cell-01"
    assert kept["metadata"] == {}
    assert kept["outputs"][0]["metadata"] == {}
    assert kept["outputs"][0]["data"][script.VEGA_LITE]["data"] == [{"x": [0.3]}]
    assert tidied["metadata"]["language_info"] == {"name": "python"}


def test_the_recording_is_small() -> None:
    """The notebooks and their data stay under 1.5 MB."""
    assert (DATA / "small_talks.cassette.jsonl.gz").stat().st_size < 1_500_000


@pytest.mark.slow
async def test_the_recording_replays(tmp_path: Path) -> None:
    """Every call that the pipeline asks today is in the shipped recording."""
    try:
        run = replay(
            DATA / "small_talks.jsonl",
            tmp_path / "run",
            preset="balanced",
            knobs={"search.max_calls": 11},
            cassette=DATA / "small_talks.cassette.jsonl.gz",
        )
    except CassetteMiss as miss:
        pytest.fail(
            f"the pipeline asks what the notebooks' recording does not hold: {miss}. Where the "
            "change is meant: python notebooks/run.py --record, and commit notebooks/"
        )
    assert len(run.turns) == 106
    assert {row.outcome.value for row in run.rows} == {"replayed"}


@pytest.mark.slow
def test_the_gate_in_their_folder_passes() -> None:
    """The test that notebook 05 shows passes as it is committed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "gate"],
        cwd=NOTEBOOKS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_they_say_what_is_committed() -> None:
    """All notebooks run afresh, offline, in under two minutes, and say the same as committed."""
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, str(NOTEBOOKS / "run.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
