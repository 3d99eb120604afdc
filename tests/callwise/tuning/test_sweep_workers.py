"""A sweep on all cores: the same bytes at any number of them, and nothing finished is lost."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from callwise.calls.errors import CallwiseError, ConfigError
from callwise.tuning.setting import Setting, SettingResult, make_setting
from callwise.tuning.sweep_record import load_sweep
from callwise.tuning.sweep_store import SweepStore
from callwise.tuning.sweep_workers import SweepProgress, WorkerDied, run_sweep
from tests.callwise.tuning.scripted_evaluator import ScriptedEvaluator

SETTINGS = tuple(make_setting("balanced", {}, {"search.max_calls": calls}) for calls in range(3, 9))
NAMES = tuple(setting.name for setting in SETTINGS)


@pytest.fixture
def _no_workers_left() -> Iterator[None]:
    """Stop the pool after a test, so that no process of it outlives the suite."""
    yield
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _folder(path: Path) -> SweepStore:
    return SweepStore(path, identity={"sweep": "one"})


def _run(path: Path, evaluator: ScriptedEvaluator, **options: object) -> tuple[object, ...]:
    """Run a sweep to its end, and return what it reads back as."""
    with _folder(path) as folder:
        run_sweep(SETTINGS, evaluator, folder, **options)
        folder.finish(NAMES)
    record = load_sweep(path)
    return record.settings, tuple(record.rows), tuple(record.replies())


@pytest.mark.usefixtures("_no_workers_left")
def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path) -> None:
    """Results come in any order, and the files do not show it."""
    alone = _run(tmp_path / "alone", ScriptedEvaluator(), jobs=1)
    assert _run(tmp_path / "two", ScriptedEvaluator(), jobs=2) == alone
    assert _run(tmp_path / "three", ScriptedEvaluator(), jobs=3) == alone


@dataclass(frozen=True)
class _Noting(ScriptedEvaluator):
    """Writes what each worker finds around it into a folder, a file for each setting."""

    notes: Path = Path()

    def evaluate(self, settings: Sequence[Setting]) -> list[SettingResult]:
        """Note the folder and the model of this process, and return results."""
        found = f"{Path.cwd().name} {os.environ.get('CALLWISE_MODEL')}"
        (self.notes / str(SETTINGS.index(settings[0]))).write_text(found, encoding="utf-8")
        return super().evaluate(settings)


@pytest.mark.slow
@pytest.mark.usefixtures("_no_workers_left")
def test_workers_that_are_kept_have_the_present_variables_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook may set them between two sweeps."""
    found = []
    for model in ("first", "second", None):
        here = tmp_path / f"of_{model}"
        here.mkdir()
        monkeypatch.chdir(here)
        monkeypatch.delenv("CALLWISE_MODEL", raising=False)
        if model is not None:
            monkeypatch.setenv("CALLWISE_MODEL", model)
        _run(here / "sweep", _Noting(notes=here), jobs=2)
        found.append({each.read_text("utf-8") for each in here.iterdir() if each.is_file()})
    assert found == [{"of_first first"}, {"of_second second"}, {"of_None None"}]


def test_progress_counts_settings_that_were_stored_before(tmp_path: Path) -> None:
    """A sweep that goes on shows how far it is, not how far this run is."""
    seen: list[SweepProgress] = []
    with _folder(tmp_path / "sweep") as folder:
        run_sweep(SETTINGS[:2], ScriptedEvaluator(), folder, jobs=1)
        run_sweep(SETTINGS, ScriptedEvaluator(), folder, jobs=1, on_result=seen.append)
    assert [(each.done, each.total) for each in seen] == [(3, 6), (4, 6), (5, 6), (6, 6)]
    assert [each.result.setting for each in seen] == list(NAMES[2:])


def test_finished_settings_are_not_evaluated_again_and_failed_ones_are(tmp_path: Path) -> None:
    """A setting that could not run is named, the others go on, and it gets another try."""
    log = tmp_path / "log"
    failing = ScriptedEvaluator(failing=frozenset(NAMES[1:2]), log=log)
    with _folder(tmp_path / "sweep") as folder:
        run_sweep(SETTINGS, failing, folder, jobs=1)
        assert folder.errors == {NAMES[1]: "scripted: it cannot run"}
        assert folder.finished == set(NAMES) - set(NAMES[1:2])
    again = _run(tmp_path / "sweep", ScriptedEvaluator(log=log), jobs=1)
    assert log.read_text().split("\n")[6:] == [NAMES[1], ""]
    assert again == _run(tmp_path / "whole", ScriptedEvaluator(), jobs=1)


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    """The settings that were written are kept, and the sweep goes on to the same bytes."""

    def interrupt(progress: SweepProgress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    with _folder(tmp_path / "sweep") as folder, pytest.raises(KeyboardInterrupt):
        run_sweep(SETTINGS, ScriptedEvaluator(), folder, jobs=1, on_result=interrupt)
    with _folder(tmp_path / "sweep") as folder:
        assert folder.finished == set(NAMES[:2])
    whole = _run(tmp_path / "whole", ScriptedEvaluator(), jobs=1)
    assert _run(tmp_path / "sweep", ScriptedEvaluator(), jobs=1) == whole


@pytest.mark.slow
@pytest.mark.usefixtures("_no_workers_left")
def test_ctrl_c_ends_the_workers_without_a_warning(tmp_path: Path) -> None:
    """Unfinished tasks of the pool are given up quietly."""

    def interrupt(_progress: SweepProgress) -> None:
        raise KeyboardInterrupt

    with _folder(tmp_path / "sweep") as folder:
        with pytest.raises(KeyboardInterrupt):
            run_sweep(SETTINGS, ScriptedEvaluator(), folder, jobs=2, on_result=interrupt)
        assert len(folder.finished) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("_no_workers_left")
def test_a_killed_worker_is_a_clear_error_and_the_same_call_goes_on(tmp_path: Path) -> None:
    """Finished settings are kept; the error names their number and the remedy."""
    deadly = ScriptedEvaluator(killed_by=NAMES[4], killed_once=tmp_path / "killed")
    with _folder(tmp_path / "sweep") as folder:
        with pytest.raises(
            WorkerDied, match=r"settings are stored in .*Run the same command"
        ) as error:
            run_sweep(SETTINGS, deadly, folder, jobs=2)
        assert f"{len(folder.finished)} of 6 settings are stored" in str(error.value)
        assert repr(NAMES[4]) in str(error.value)
    whole = _run(tmp_path / "whole", ScriptedEvaluator(), jobs=1)
    assert _run(tmp_path / "sweep", deadly, jobs=2) == whole


@pytest.mark.usefixtures("_no_workers_left")
@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_evaluator_that_raises_stops_the_sweep(tmp_path: Path, jobs: int) -> None:
    """The error names the setting, here and in a worker alike."""
    with (
        _folder(tmp_path / "sweep") as folder,
        pytest.raises(CallwiseError, match=r"max_calls=\d.*RuntimeError: no disk") as error,
    ):
        run_sweep(SETTINGS, ScriptedEvaluator(raising="no disk"), folder, jobs=jobs)
    assert "scripted_evaluator.py" in "".join(error.value.__notes__)


def test_no_jobs_are_refused(tmp_path: Path) -> None:
    """Nothing would be evaluated."""
    with _folder(tmp_path / "sweep") as folder, pytest.raises(ConfigError, match="expected jobs"):
        run_sweep(SETTINGS, ScriptedEvaluator(), folder, jobs=0)


def test_one_name_for_two_settings_is_refused(tmp_path: Path) -> None:
    """Rows are kept by name, so the second would pass for the first."""
    other = make_setting("frugal", {}, {}, name=NAMES[0])
    with _folder(tmp_path / "sweep") as folder:
        run_sweep(SETTINGS[:1], ScriptedEvaluator(), folder, jobs=1)
        with pytest.raises(ConfigError, match="two different settings are named"):
            run_sweep([other], ScriptedEvaluator(), folder, jobs=1)


class _Swapping:
    """Gives the results of other settings."""

    def evaluate(self, settings: list[Setting]) -> list[object]:
        others = [each for each in SETTINGS if each not in settings]
        return ScriptedEvaluator().evaluate(others[: len(settings)])


def test_results_of_other_settings_are_refused(tmp_path: Path) -> None:
    """An evaluator that mixes settings up would make every figure wrong."""
    with _folder(tmp_path / "sweep") as folder:
        with pytest.raises(CallwiseError, match="expected a result of"):
            run_sweep(SETTINGS, _Swapping(), folder, jobs=1)
        assert not folder.finished


@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes_and_reports_a_killed_worker(tmp_path: Path) -> None:
    """A real scheduler and two worker processes; one of them is killed, again and again."""
    from distributed import LocalCluster

    from callwise.tuning.sweep_workers import connect

    alone = _run(tmp_path / "alone", ScriptedEvaluator(), jobs=1)
    deadly = ScriptedEvaluator(killed_by=NAMES[4])
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        connect(cluster.scheduler_address) as client,
    ):
        assert _run(tmp_path / "cluster", ScriptedEvaluator(), client=client) == alone
        with (
            _folder(tmp_path / "killed") as folder,
            pytest.raises(WorkerDied, match="Run the same command"),
        ):
            run_sweep(SETTINGS, deadly, folder, client=client)
    assert _run(tmp_path / "killed", ScriptedEvaluator(), jobs=1) == alone


def test_a_scheduler_that_is_not_there_is_a_clear_error() -> None:
    """The error names the command that starts one."""
    from callwise.tuning.sweep_workers import connect

    with pytest.raises(ConfigError, match=r"no dask scheduler answers at tcp://127\.0\.0\.1:9"):
        connect("tcp://127.0.0.1:9", timeout_seconds=0.2)


def test_a_cluster_without_its_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the command to type."""
    from callwise.tuning.sweep_workers import connect

    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[cluster\]'"):
        connect("tcp://127.0.0.1:9")
