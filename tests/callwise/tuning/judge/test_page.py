"""The page on quality: its code runs unchanged."""

import re
from pathlib import Path

import pytest

from callwise.tuning.judge import read_scores
from callwise.tuning.judge.scores import COLUMNS

PAGE = Path(__file__).parents[4] / "docs" / "quality.md"


def test_the_code_on_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It judges two replies twice, and names the simulated model."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(PAGE), "exec"), {})  # noqa: S102 - our own page
    assert len(read_scores(tmp_path / "scores.csv").scores) == 4
    out = capsys.readouterr().out
    assert "4 calls to buy" in out
    assert "simulated" in out


def test_the_page_names_every_column() -> None:
    """In the order in which they are written."""
    assert ", ".join(COLUMNS) in " ".join(PAGE.read_text(encoding="utf-8").split())
