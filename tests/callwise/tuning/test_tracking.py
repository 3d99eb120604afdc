"""Sweeps in experiment trackers: knobs, figures, table and figure, and never a secret."""

import csv
import sys
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import ConfigError
from callwise.tuning.analysis import Analysis, analyse
from callwise.tuning.row import TurnRow
from callwise.tuning.setting import Setting, make_setting
from callwise.tuning.setting_figures import SETTING_FIGURES
from callwise.tuning.tracking import (
    LoggedSweep,
    MlflowLogger,
    WandbLogger,
    log_sweep,
)
from tests.callwise.tuning.scripted_evaluator import ScriptedEvaluator

SECRET = "sk-planted-0123456789"

SETTINGS = [
    make_setting("balanced", {}, {"search.max_calls": calls, "name": f"with {SECRET}"})
    for calls in (3, 6)
]


@pytest.fixture(scope="module")
def sweep() -> tuple[list[Setting], Analysis, list[TurnRow]]:
    """Return two settings, their analysis and their rows."""
    results = ScriptedEvaluator(conversations=6).evaluate(SETTINGS)
    rows = [row for each in results for row in each.rows]
    return SETTINGS, analyse(rows, scale_width=4.0), rows


class Kept:
    """A logger that keeps what it is given, and the files' texts."""

    def __init__(self) -> None:
        self.sweeps: list[LoggedSweep] = []
        self.texts: dict[str, str] = {}

    def log(self, sweep: LoggedSweep) -> None:
        """Keep a sweep."""
        self.sweeps.append(sweep)
        self.texts.update({path.name: path.read_text(encoding="utf-8") for path in sweep.files})


class Failing:
    """A logger that fails, and shows a key in its error."""

    def log(self, sweep: LoggedSweep) -> None:
        """Raise."""
        raise RuntimeError(f"no connection\nwith {SECRET}")


ENVIRON = {"MY_API_KEY": SECRET, "MY_TOKEN": "short", "HOME": "/home"}


def test_a_setting_is_logged_with_its_knobs_and_figures(sweep: Any) -> None:
    """Metrics are the known figures of the sweep's table, and the files are those of the sweep."""
    settings, analysis, rows = sweep
    kept = Kept()
    assert log_sweep([kept], "mine", settings, analysis, rows, environ={}) == []

    [logged] = kept.sweeps
    assert logged.name == "mine"
    assert logged.parameters["turns"] == 18
    first = logged.settings[0]
    assert (first.parameters["preset"], first.parameters["search.max_calls"]) == ("balanced", 3)
    assert set(first.metrics) <= set(SETTING_FIGURES)
    summary = analysis.settings[settings[0].name]
    assert first.metrics["calls_per_turn"] == summary.asked.mean
    assert first.metrics["quality_low"] == summary.quality.low
    table = list(csv.DictReader(kept.texts["settings.csv"].splitlines()))
    assert [float(row["calls_per_turn"]) for row in table] == [
        each.metrics["calls_per_turn"] for each in logged.settings
    ]


def test_what_fails_is_a_notice_and_the_others_are_logged(sweep: Any) -> None:
    """Of one line, and without the key that its error shows."""
    settings, analysis, rows = sweep
    kept = Kept()
    [notice] = log_sweep([Failing(), kept], "mine", settings, analysis, rows, environ=ENVIRON)
    assert notice.startswith("Failing could not log the sweep: RuntimeError: no connection with ")
    assert SECRET not in notice
    assert len(kept.sweeps) == 1


def test_no_secret_is_logged(sweep: Any) -> None:
    """Where a knob or a name has the value of a variable that is a key's by its name."""
    settings, analysis, rows = sweep
    kept = Kept()
    log_sweep([kept], SECRET, settings, analysis, rows, environ=ENVIRON)
    assert SECRET not in repr(kept.sweeps) + repr(kept.texts)
    assert "3" in str(kept.sweeps[0].settings[0].parameters)


def test_the_figure_is_logged_where_it_can_be_drawn(sweep: Any) -> None:
    """With the extra `tune`."""
    pytest.importorskip("vl_convert", reason="figures need vl-convert")
    settings, analysis, rows = sweep
    kept = Kept()
    log_sweep([kept], "mine", settings, analysis, rows, environ={})
    assert kept.texts["tradeoff.svg"].startswith("<svg")


@pytest.mark.parametrize(("logger", "extra"), [(MlflowLogger, "mlflow"), (WandbLogger, "wandb")])
def test_a_tracker_that_is_not_installed_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, logger: Any, extra: str
) -> None:
    """Before the sweep, so that nothing is bought in vain."""
    monkeypatch.setitem(sys.modules, extra, None)
    with pytest.raises(ConfigError, match=rf"pip install '\.\[{extra}\]'"):
        logger()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the tracker's own dependencies
def test_mlflow_has_a_run_for_each_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep: Any
) -> None:
    """Below one of the sweep, in its local store, which needs no server."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.chdir(tmp_path)
    mlflow = pytest.importorskip("mlflow", reason="needs the extra `mlflow`")
    settings, analysis, rows = sweep
    uri = f"sqlite:///{tmp_path}/mlflow.db"

    logger = MlflowLogger("sizes", uri, now=lambda: 1_700_000_000.0)
    assert log_sweep([logger], "mine", settings, analysis, rows, environ=ENVIRON) == []

    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("sizes").experiment_id
    runs = {each.info.run_name: each for each in client.search_runs([experiment])}
    parent = runs.pop("mine")
    assert {each.path for each in client.list_artifacts(parent.info.run_id)} >= {"settings.csv"}
    assert len(runs) == len(settings)
    assert {each.data.tags["mlflow.parentRunId"] for each in runs.values()} == {parent.info.run_id}
    assert {each.data.params["search.max_calls"] for each in runs.values()} == {"3", "6"}
    for run in runs.values():
        assert run.info.status == "FINISHED"
        assert {"calls_per_turn", "quality", "estimated_share"} <= set(run.data.metrics)
    assert_secret_free(tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_has_a_run_for_each_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep: Any
) -> None:
    """Offline, in files that `wandb sync` sends; nothing of this machine is in them."""
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "own"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setattr(sys, "argv", ["script", SECRET])
    pytest.importorskip("wandb", reason="needs the extra `wandb`")
    settings, analysis, rows = sweep

    logger = WandbLogger("sizes", folder=tmp_path, mode="offline")
    assert log_sweep([logger], "mine", settings, analysis, rows, environ=ENVIRON) == []

    written = [path.read_bytes() for path in sorted(tmp_path.rglob("*.wandb"))]
    assert len(written) == len(settings) + 1
    assert sum(b"calls_per_turn" in each for each in written) == len(settings)
    assert sum(b"settings.csv" in each for each in written) == 1
    assert_secret_free(tmp_path)


def assert_secret_free(folder: Path) -> None:
    """Check every file below a folder."""
    for path in folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
