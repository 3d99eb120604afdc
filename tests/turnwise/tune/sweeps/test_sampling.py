"""Adaptive samplers: the same settings for the same seed, whatever interrupts them."""

import logging
import sys
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from turnwise.calls.errors import ConfigError, FormatError
from turnwise.testing.fake_evaluator import ScriptedEvaluator
from turnwise.tune.sweeps.running import SweepProgress
from turnwise.tune.sweeps.sampling import StudyOutcome, run_study
from turnwise.tune.sweeps.study_file import BATCH_MARK, cut_back
from turnwise.tune.sweeps.sweep_folder import SweepFolder
from turnwise.tune.sweeps.sweep_spec import SweepSpec

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


def _allow(_preset: str, _overrides: Sequence[str]) -> None:
    """Every combination can run."""


def _run(
    path: Path, spec: SweepSpec, evaluator: ScriptedEvaluator | None = None, **options: object
) -> StudyOutcome:
    settled = {"preset": "balanced", "validate": _allow, "jobs": 1, **options}
    with SweepFolder(path, identity={}) as folder:
        outcome = run_study(spec, evaluator or ScriptedEvaluator(), folder, **settled)
        folder.finish([setting.name for setting in outcome.settings])
    return outcome


def _files(path: Path) -> tuple[bytes, bytes]:
    return (path / "rows.jsonl").read_bytes(), (path / "replies.jsonl").read_bytes()


@pytest.mark.parametrize("sampler", ["nsga2", "tpe"])
def test_the_same_seed_tries_the_same_settings_however_many_work(
    tmp_path: Path, sampler: str
) -> None:
    """A batch is told in the order in which it was asked, whoever finished first."""
    alone = _run(tmp_path / "alone", _spec(sampler))
    assert 6 <= len(alone.settings) <= 12
    assert _run(tmp_path / "two", _spec(sampler), jobs=2, chunk=2) == alone
    assert _files(tmp_path / "two") == _files(tmp_path / "alone")
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
    assert _files(tmp_path / "cut") == _files(tmp_path / "whole")
    evaluated = log.read_text().splitlines()
    assert sorted(evaluated) == sorted(setting.name for setting in whole.settings)


def test_a_study_that_was_cut_anywhere_goes_on_to_the_same_trials(tmp_path: Path) -> None:
    """Its journal may end in the middle of a line, of a batch, or be gone."""
    whole = _run(tmp_path / "sweep", _spec())
    journal = tmp_path / "sweep" / "study.jsonl"
    data = journal.read_bytes()
    lines = [place + 1 for place, byte in enumerate(data) if byte == ord("\n")]
    cuts = [0, 7, *lines[:: len(lines) // 3], lines[20] - 3]
    for cut in cuts:
        journal.write_bytes(data[:cut])
        assert _run(tmp_path / "sweep", _spec()) == whole
    journal.unlink()
    assert _run(tmp_path / "sweep", _spec()) == whole


def test_a_finished_study_asks_nothing_more(tmp_path: Path) -> None:
    """The same command again evaluates nothing and says the same."""
    log = tmp_path / "log"
    first = _run(tmp_path / "sweep", _spec(), ScriptedEvaluator(log=log))
    evaluated = log.read_text()
    assert _run(tmp_path / "sweep", _spec(), ScriptedEvaluator(log=log)) == first
    assert log.read_text() == evaluated


def test_settings_of_unknown_quality_are_told_as_failed(tmp_path: Path) -> None:
    """The study goes on without them, and says why."""
    whole = _run(tmp_path / "whole", _spec())
    unknown = whole.settings[2].name
    evaluator = ScriptedEvaluator(without_quality=frozenset({unknown}))
    outcome = _run(tmp_path / "sweep", _spec(), evaluator)
    reasons = {each.setting: each.reason for each in outcome.failed}
    assert reasons == {unknown: "quality is known on 0 of 6 turns"}


def test_settings_that_cannot_run_are_told_as_failed(tmp_path: Path) -> None:
    """The evaluator's own words are the reason."""
    bad = _run(tmp_path / "whole", _spec()).settings[0].name
    outcome = _run(tmp_path / "sweep", _spec(), ScriptedEvaluator(failing=frozenset({bad})))
    assert [(each.setting, each.reason) for each in outcome.failed] == [
        (bad, "scripted: it cannot run")
    ]


def _refuse_auto(_preset: str, overrides: Sequence[str]) -> None:
    if "search.policy=auto" in overrides:
        raise ConfigError("auto is out")


def test_an_impossible_combination_stops_the_study_or_is_skipped(tmp_path: Path) -> None:
    """It stops before anything of its batch runs, and says how to leave it out."""
    with pytest.raises(ConfigError, match=r"policy=auto.*auto is out\n.*skip_impossible"):
        _run(tmp_path / "stopped", _spec(), validate=_refuse_auto)
    assert not (tmp_path / "stopped" / "rows.jsonl").read_bytes()
    outcome = _run(tmp_path / "sweep", _spec(skip_impossible=True), validate=_refuse_auto)
    assert outcome.failed
    assert all("policy=auto" in each.setting for each in outcome.failed)
    rows = (tmp_path / "sweep" / "rows.jsonl").read_text()
    assert "policy=auto" not in rows
    assert "policy=listwise" in rows


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


def test_a_damaged_study_is_an_error_with_its_line(tmp_path: Path) -> None:
    """A line that ends and is no JSON was not cut off: somebody changed the file."""
    _run(tmp_path / "sweep", _spec())
    journal = tmp_path / "sweep" / "study.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[2] = b"{oops}\n"
    journal.write_bytes(b"".join(lines))
    with pytest.raises(FormatError, match=r"study\.jsonl:3: .*delete the file to ask again"):
        _run(tmp_path / "sweep", _spec())


def test_batches_are_marked_in_order(tmp_path: Path) -> None:
    """Each mark counts one more batch, and the journal ends with the last."""
    _run(tmp_path / "sweep", _spec())
    journal = tmp_path / "sweep" / "study.jsonl"
    marks = [line for line in journal.read_text().splitlines() if BATCH_MARK in line]
    assert len(marks) == 3
    assert all(first != second for first, second in pairwise(marks))
    size = journal.stat().st_size
    assert cut_back(journal) == 3
    assert journal.stat().st_size == size


def test_a_sampler_without_its_extra_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the command to type."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'turnwise\[tune\]'"):
        _run(tmp_path / "sweep", _spec())
