"""Adaptive samplers: the same settings for the same seed, whatever interrupts them."""

import logging
import sqlite3
import sys
import warnings
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from callwise.calls.errors import ConfigError
from callwise.tuning.samplers import StudyOutcome, run_study
from callwise.tuning.setting import Setting
from callwise.tuning.sweep_record import STORE, load_sweep
from callwise.tuning.sweep_spec import SweepSpec
from callwise.tuning.sweep_store import SweepStore
from callwise.tuning.sweep_workers import SweepProgress
from tests.callwise.tuning.scripted_evaluator import ScriptedEvaluator

SPACE = {
    "knobs": {"search.policy": ["listwise", "auto"]},
    "ranges": {
        "search.max_calls": {"low": 2, "high": 12},
        "search.min_gain": {"low": 0.0, "high": 0.2},
    },
}


def _spec(sampler: str = "nsga2", **fields: object) -> SweepSpec:
    return SweepSpec.model_validate(
        {"sampler": sampler, "trials": 12, "batch": 4, **SPACE, **fields}
    )


def _allow(_setting: Setting) -> None:
    """Every combination can run."""


def _run(
    path: Path, spec: SweepSpec, evaluator: ScriptedEvaluator | None = None, **options: object
) -> StudyOutcome:
    settled = {"preset": "balanced", "validate": _allow, "jobs": 1, **options}
    with SweepStore(path, identity={}) as folder:
        outcome = run_study(spec, evaluator or ScriptedEvaluator(), folder, **settled)
        folder.finish([setting.name for setting in outcome.settings])
    return outcome


def _content(path: Path) -> tuple[object, ...]:
    """Return what a sweep reads back as."""
    record = load_sweep(path)
    return record.settings, tuple(record.rows), tuple(record.replies())


@pytest.mark.parametrize("sampler", ["tpe", pytest.param("nsga2", marks=pytest.mark.slow)])
def test_the_same_seed_tries_the_same_settings_however_many_work(
    tmp_path: Path, sampler: str
) -> None:
    """Values are given in the order of asking, whichever finished first."""
    alone = _run(tmp_path / "alone", _spec(sampler))
    assert 6 <= len(alone.settings) <= 12
    assert _run(tmp_path / "two", _spec(sampler), jobs=2) == alone
    assert _content(tmp_path / "two") == _content(tmp_path / "alone")
    assert _run(tmp_path / "other", _spec(sampler, seed=1)) != alone


@pytest.mark.parametrize("sampler", ["nsga2", "tpe"])
@pytest.mark.parametrize("stop_after", [1, 5, 8])
def test_an_interrupted_study_goes_on_with_the_same_trials(
    tmp_path: Path, sampler: str, stop_after: int
) -> None:
    """In the first batch, in a later one, and between two; nothing is evaluated twice."""
    whole = _run(tmp_path / "whole", _spec(sampler))
    log = tmp_path / "log"
    written = 0

    def interrupt(_progress: SweepProgress) -> None:
        nonlocal written
        written += 1
        if written == stop_after:
            raise KeyboardInterrupt

    evaluator = ScriptedEvaluator(log=log)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "cut", _spec(sampler), evaluator, on_result=interrupt)
    assert _run(tmp_path / "cut", _spec(sampler), evaluator) == whole
    assert _content(tmp_path / "cut") == _content(tmp_path / "whole")
    evaluated = log.read_text().splitlines()
    assert sorted(evaluated) == sorted(setting.name for setting in whole.settings)


def _change(path: Path, query: str, *values: object) -> None:
    """Change a sweep's file by hand."""
    with closing(sqlite3.connect(path / STORE)) as connection, connection:
        connection.execute(query, values)


@pytest.mark.parametrize("sampler", ["nsga2", "tpe"])
@pytest.mark.parametrize("batches", [0, 1, 2])
def test_a_study_goes_on_after_any_batch(tmp_path: Path, sampler: str, batches: int) -> None:
    """Earlier values are given again from the store, and nothing is evaluated again."""
    whole = _run(tmp_path / "sweep", _spec(sampler))
    stored = _trials(tmp_path / "sweep")
    assert len(stored) == 12
    _change(tmp_path / "sweep", "DELETE FROM trial WHERE number > ?", 4 * batches)
    log = tmp_path / "log"
    assert _run(tmp_path / "sweep", _spec(sampler), ScriptedEvaluator(log=log)) == whole
    assert not log.exists()
    assert _trials(tmp_path / "sweep") == stored


def _trials(path: Path) -> list[tuple[str, object]]:
    with SweepStore(path, identity={}) as store:
        return list(store.trials)


def test_trials_that_the_sampler_would_not_ask_for_are_an_error(tmp_path: Path) -> None:
    """Another version of optuna may draw others; the error names the way to start over."""
    _run(tmp_path / "sweep", _spec())
    _change(tmp_path / "sweep", "UPDATE trial SET setting = 'other' WHERE number = 6")
    with pytest.raises(ConfigError, match=r"are not those that the sampler asks for.*--fresh"):
        _run(tmp_path / "sweep", _spec())


def test_a_finished_study_asks_nothing_more(tmp_path: Path) -> None:
    """The same command again evaluates nothing and gives the same."""
    log = tmp_path / "log"
    first = _run(tmp_path / "sweep", _spec(), ScriptedEvaluator(log=log))
    evaluated = log.read_text()
    assert _run(tmp_path / "sweep", _spec(), ScriptedEvaluator(log=log)) == first
    assert log.read_text() == evaluated


def test_settings_of_unknown_quality_count_as_failed(tmp_path: Path) -> None:
    """The study goes on without them, with the reason."""
    whole = _run(tmp_path / "whole", _spec())
    unknown = whole.settings[2].name
    evaluator = ScriptedEvaluator(without_quality=frozenset({unknown}))
    outcome = _run(tmp_path / "sweep", _spec(), evaluator)
    reasons = {each.setting: each.reason for each in outcome.failed}
    assert reasons == {unknown: "quality is known on 0 of 6 turns"}


def test_settings_that_cannot_run_count_as_failed(tmp_path: Path) -> None:
    """The evaluator's own words are the reason."""
    bad = _run(tmp_path / "whole", _spec()).settings[0].name
    outcome = _run(tmp_path / "sweep", _spec(), ScriptedEvaluator(failing=frozenset({bad})))
    assert [(each.setting, each.reason) for each in outcome.failed] == [
        (bad, "scripted: it cannot run")
    ]


def _refuse_auto(setting: Setting) -> None:
    if setting.knobs["search.policy"] == "auto":
        raise ConfigError("auto is out")


def test_an_impossible_combination_stops_the_study_or_is_skipped(tmp_path: Path) -> None:
    """It stops before anything of its batch runs, and names the way to leave it out."""
    with pytest.raises(ConfigError, match=r"policy=auto.*auto is out\n.*skip_impossible"):
        _run(tmp_path / "stopped", _spec(), validate=_refuse_auto)
    assert not load_sweep(tmp_path / "stopped").settings
    outcome = _run(tmp_path / "sweep", _spec(skip_impossible=True), validate=_refuse_auto)
    assert outcome.failed
    assert all("policy=auto" in each.setting for each in outcome.failed)
    swept = {setting.knobs["search.policy"] for setting in load_sweep(tmp_path / "sweep").settings}
    assert swept == {"listwise"}


def test_drawn_values_keep_their_kind_and_are_short(tmp_path: Path) -> None:
    """Whole ranges give whole numbers, others few digits, and lists their own values."""
    spec = _spec(
        knobs={"search.refine": [True, False], "search.rubrics": [["overall"], ["warmth", "wit"]]},
        ranges={
            "search.max_calls": {"low": 2, "high": 12, "step": 2},
            "search.min_gain": {"low": 0.001, "high": 0.2, "log": True},
            "search.exploration": {"low": 0.0, "high": 1.0, "step": 0.25},
        },
    )
    for setting in _run(tmp_path / "sweep", spec).settings:
        knobs = setting.knobs
        assert knobs["search.refine"] in {True, False}
        assert knobs["search.rubrics"] in (["overall"], ["warmth", "wit"])
        assert knobs["search.max_calls"] in range(2, 13, 2)
        assert type(knobs["search.max_calls"]) is int
        assert 0.001 <= knobs["search.min_gain"] <= 0.2
        assert len(repr(knobs["search.min_gain"])) <= 8
        assert knobs["search.exploration"] in {0.0, 0.25, 0.5, 0.75, 1.0}


def test_objectives_may_be_chosen_and_computed(tmp_path: Path) -> None:
    """A single objective, and values from somewhere else, such as a referee."""
    spec = _spec("tpe", objectives=[{"figure": "rounds_turn", "goal": "min"}], trials=16)
    seen: list[int] = []

    def fewest_rounds(rows: Sequence[object]) -> tuple[float, ...]:
        seen.append(len(rows))
        return (float(rows[0].rounds_turn),)

    outcome = _run(tmp_path / "sweep", spec, values_of=fewest_rounds)
    assert seen == [6] * 16
    calls = [setting.knobs["search.max_calls"] for setting in outcome.settings]
    assert sum(calls[-4:]) < sum(calls[:4])


def test_optuna_is_quiet_and_its_log_is_left_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is logged, warned or printed."""
    import optuna

    before = optuna.logging.get_verbosity()
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        _run(tmp_path / "sweep", _spec("tpe"))
    assert not [record for record in caplog.records if record.name.startswith("optuna")]
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before


def test_a_sampler_without_its_extra_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the command to type."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[tune\]'"):
        _run(tmp_path / "sweep", _spec())
