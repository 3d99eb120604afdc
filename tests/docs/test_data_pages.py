"""The pages on data in and out: their code runs as one program, block after block."""

import re
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from callwise.tuning.table_files import read_parquet, write_csv

DOCS = Path(__file__).resolve().parents[2] / "docs"


def run_blocks(page: str, section: str, **given: object) -> dict[str, object]:
    """Run the blocks of Python between a title and the next, and return their names."""
    text = (DOCS / page).read_text(encoding="utf-8")
    below = re.split(rf"^##+ {re.escape(section)}$", text, maxsplit=1, flags=re.MULTILINE)[-1]
    below = re.split(r"^##+ ", below, maxsplit=1, flags=re.MULTILINE)[0]
    names = dict(given)
    for block in re.findall(r"^```python\n(.*?)^```$", below, re.MULTILINE | re.DOTALL):
        exec(compile(block, page, "exec"), names)  # noqa: S102 - our own page
    return names


def test_rows_in_memory_are_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/formats.md: two rows, two turns."""
    monkeypatch.chdir(tmp_path)
    names = run_blocks("formats.md", "Parquet and data sets")
    assert len(names["run"].turns) == 2  # type: ignore[attr-defined]


def test_frames_and_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/sweeps.md: frames of a run and a sweep, and a tracker that fails costs a notice."""
    pytest.importorskip("pandas", reason="data frames need pandas")
    monkeypatch.chdir(tmp_path)
    empty = ModuleType("mlflow")
    empty.__spec__ = ModuleSpec("mlflow", None)
    monkeypatch.setitem(sys.modules, "mlflow", empty)
    names = run_blocks("sweeps.md", "Data frames")
    with pytest.warns(UserWarning, match="MlflowLogger could not log the sweep"):
        result = run_blocks("sweeps.md", "Experiment trackers", **names)["result"]
    assert list(result.settings_frame["turns"]) == [6, 6]  # type: ignore[attr-defined]
    assert any(
        each.startswith("MlflowLogger could not log the sweep")
        for each in result.notices  # type: ignore[attr-defined]
    )
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    write_csv(tmp_path / "rows.csv", result.rows)  # type: ignore[attr-defined]
    rows = run_blocks("sweeps.md", "The tables", path=tmp_path)["rows"]
    assert list(read_parquet(tmp_path / "rows.parquet")) == rows
