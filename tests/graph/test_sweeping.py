"""Sweeps of the reply pipeline: workers, purchases in between, samplers that choose."""

import asyncio
import json
import logging
import shutil
from pathlib import Path

import pytest

from callwise.calls.errors import ConfigError, FormatError
from callwise.recordings import read_conversations
from callwise.recordings.counterfactual.purchase import SpendingCap
from callwise.recordings.recording import open_recording
from callwise.recordings.replay_run import RunRequest, run_replay
from callwise.shipped import configs_folder
from callwise.tuning.buying import BuyingEvaluator, buy
from callwise.tuning.judge.judge_sweep import QualityRequest, judge_rows, quality_values
from callwise.tuning.replay_evaluator import CounterfactualEvaluator
from callwise.tuning.row import Coverage
from callwise.tuning.setting import make_setting
from callwise.tuning.sweep import SweepRequest, sweep
from callwise.tuning.sweep_record import load_sweep
from callwise.tuning.sweep_spec import SweepSpec
from graph.app import app


def _spec(**fields: object) -> SweepSpec:
    return SweepSpec.model_validate({"knobs": {"search.max_calls": [3, 5, 11]}, **fields})


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of two conversations with a generous search."""
    folder = tmp_path_factory.mktemp("recorded") / "run"
    shipped = configs_folder() / "conversations"
    paths = [shipped / "en_moving_city.jsonl", shipped / "zh_night_shift.jsonl"]
    request = RunRequest(
        app=app,
        app_target="graph.app:app",
        settings=app.settings("balanced", ["search.max_calls=11"]),
        conversations=[each.first_turns(2) for each in read_conversations(paths).conversations],
        folder=folder,
    )
    asyncio.run(run_replay(request))
    return folder


@pytest.fixture
def run(recorded: Path, tmp_path: Path) -> Path:
    """Return a copy of that run."""
    return shutil.copytree(recorded, tmp_path / "run")


@pytest.mark.slow
def test_workers_change_nothing(run: Path, tmp_path: Path) -> None:
    """The same rows and replies from this process and from two others."""
    written = []
    for jobs in (1, 2):
        folder = tmp_path / str(jobs)
        sweep(SweepRequest(run, _spec(), folder, jobs=jobs))
        record = load_sweep(folder)
        written.append((record.settings, tuple(record.rows), tuple(record.replies())))
    assert written[0] == written[1]


@pytest.mark.slow
def test_workers_find_the_recording_from_wherever_they_were_started(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They outlive a change of the working directory, and a relative path still means the run."""
    for name in ("first", "second"):
        folder = tmp_path / name
        shutil.copytree(run, folder / "run")
        monkeypatch.chdir(folder)
        finished = sweep(SweepRequest(Path("run"), _spec(), Path("s"), jobs=2))
        assert len(finished.rows) == 12
        shutil.rmtree(folder / "run")


@pytest.mark.slow
def test_a_cluster_changes_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes from the workers of a real scheduler, by the command."""
    distributed = pytest.importorskip("distributed", reason="needs the cluster extra")
    from typer.testing import CliRunner

    from callwise.cli.main import callwise

    monkeypatch.chdir(tmp_path)
    command = ["tune", "run", "--knob", "search.max_calls=3,5,11", "--out"]
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    ) as cluster:
        address = cluster.scheduler_address
        there = CliRunner().invoke(callwise, [*command, "there", "--cluster", address])
    here = CliRunner().invoke(callwise, [*command, "here", "--jobs", "1"])
    assert there.exit_code == here.exit_code == 0, there.output
    assert there.stdout == here.stdout
    assert Path("there/rows.csv").read_bytes() == Path("here/rows.csv").read_bytes()
    assert tuple(load_sweep(Path("there")).rows) == tuple(load_sweep(Path("here")).rows)


def test_rows_say_what_was_asked(run: Path, tmp_path: Path) -> None:
    """By role, purpose and node, summing up; with marks that fit."""
    finished = sweep(SweepRequest(run, _spec(), tmp_path / "s", jobs=1))
    assert [setting.name for setting in finished.settings] == [
        "search.max_calls=3",
        "search.max_calls=5",
        "search.max_calls=11",
    ]
    assert len(finished.rows) == 12
    for row in finished.rows:
        for counts in (row.asked_by_role, row.asked_by_purpose, row.asked_by_node):
            assert sum(counts.values()) == row.asked
        assert sum(row.requests_by_role.values()) == row.requests
        assert (row.coverage is Coverage.EXACT) == (row.diverged_at is None)
        assert (row.missing_calls == 0) == (row.coverage is Coverage.EXACT)
    largest = [row for row in finished.rows if row.setting == "search.max_calls=11"]
    assert {row.mark for row in largest} == {"exact"}


def test_what_was_bought_since_is_looked_up_again(run: Path, tmp_path: Path) -> None:
    """A sweep that goes on evaluates again all turns that were not exact, and nothing else."""
    request = SweepRequest(run, _spec(), tmp_path / "s", jobs=1)
    before = sweep(request)
    assert any(row.missing_calls for row in before.rows)
    bought = buy(CounterfactualEvaluator(run), before.settings, SpendingCap())
    assert bought.calls > 0
    assert bought.turns == sum(row.coverage is not Coverage.EXACT for row in before.rows)
    after = sweep(request)
    assert all(row.coverage is Coverage.EXACT for row in after.rows)
    assert sweep(request).rows == after.rows


@pytest.mark.slow
def test_a_sampler_that_chooses_buys_as_it_goes(run: Path, tmp_path: Path) -> None:
    """Each setting is known before the next ones are chosen; the same seed, the same settings."""
    spec = SweepSpec.model_validate(
        {
            "sampler": "nsga2",
            "trials": 6,
            "batch": 3,
            "ranges": {"search.max_calls": {"low": 3, "high": 9}},
        }
    )
    tried = []
    for name in ("a", "b"):
        copy = shutil.copytree(run, tmp_path / f"run-{name}")
        recording = open_recording(copy)
        budget = SpendingCap()
        finished = sweep(
            SweepRequest(copy, spec, tmp_path / name, jobs=1),
            values_of=quality_values(recording, tmp_path / name, QualityRequest(), spec),
            evaluator=BuyingEvaluator(CounterfactualEvaluator(copy), budget),
        )
        assert all(row.coverage is Coverage.EXACT for row in finished.rows)
        assert not finished.left_out
        tried.append([setting.name for setting in finished.settings])
    assert tried[0] == tried[1]


def test_a_spent_cap_leaves_settings_out_with_a_reason(run: Path, tmp_path: Path) -> None:
    """Calls bought until then are kept; the settings go on when there is more."""
    evaluator = BuyingEvaluator(CounterfactualEvaluator(run), SpendingCap(max_calls=2))
    request = SweepRequest(
        run, _spec(knobs={"search.generate_k": [2, 3, 4]}), tmp_path / "s", jobs=1
    )
    finished = sweep(request, evaluator=evaluator)
    assert {left.reason.partition(":")[0] for left in finished.left_out} == {"not bought"}
    assert [setting.name for setting in finished.settings] == ["search.generate_k=4"]
    more = BuyingEvaluator(CounterfactualEvaluator(run), SpendingCap())
    again = sweep(request, evaluator=more)
    assert len(again.settings) == 3
    assert not again.left_out


def test_settings_that_start_from_their_past(run: Path, tmp_path: Path) -> None:
    """A whole run of each: bought, it is exact to the end."""
    request = SweepRequest(run, _spec(), tmp_path / "s", past="own", jobs=1)
    before = sweep(request)
    assert any(row.coverage is not Coverage.EXACT for row in before.rows)
    buy(CounterfactualEvaluator(run, past="own"), before.settings, SpendingCap())
    assert all(row.coverage is Coverage.EXACT for row in sweep(request).rows)


def test_a_packed_recording_is_played_and_not_bought_into(run: Path, tmp_path: Path) -> None:
    """The error says how to go on."""
    import gzip

    cassette = run / "cassette.jsonl"
    packed = tmp_path / "c.jsonl.gz"
    packed.write_bytes(gzip.compress(cassette.read_bytes()))
    cassette.unlink()
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["identity"]["cassette"] = str(packed)
    (run / "manifest.json").write_text(json.dumps(manifest))
    finished = sweep(SweepRequest(run, _spec(), tmp_path / "s", jobs=1))
    with pytest.raises(ConfigError, match="unpack it"):
        buy(CounterfactualEvaluator(run), finished.settings, SpendingCap())


def test_a_setting_that_cannot_run_is_left_out_with_its_reason(run: Path) -> None:
    """Others go on."""
    evaluator = CounterfactualEvaluator(run)
    good = make_setting("recorded", {}, {"search.max_calls": 11})
    bad = make_setting("recorded", {}, {"search.max_calls": 11, "agent_id": "stranger"})
    first, second = evaluator.evaluate([good, bad])
    assert first.error is None
    assert second.error is not None
    assert "stranger" in second.error


def test_a_turn_without_a_substitute_is_planned_from_there(run: Path) -> None:
    """Calls before it are recorded and need not be bought."""
    setting = make_setting("recorded", {}, {"search.policy": "classic_uct"})
    (result,) = CounterfactualEvaluator(run).evaluate([setting])
    assert {row.coverage for row in result.rows} == {Coverage.MISSING}
    for row in result.rows:
        assert row.diverged_at == 2
        assert row.missing_calls == row.asked - 1
        assert row.missing_tokens is not None
        assert 0 < row.missing_tokens < row.tokens
        assert row.mark == f"missing {row.missing_calls}"
        assert (row.seconds_reply, row.reply_id) == (None, "")


def test_a_turn_limit_takes_the_first_turns(run: Path, tmp_path: Path) -> None:
    """In the recording's order."""
    finished = sweep(SweepRequest(run, _spec(), tmp_path / "s", max_turns=3, jobs=1))
    assert len({(row.conversation, row.turn) for row in finished.rows}) == 3


def test_truth_needs_a_simulated_recording(run: Path, tmp_path: Path) -> None:
    """A person's reply hides no quality."""
    finished = sweep(SweepRequest(run, _spec(), tmp_path / "s", jobs=1))
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "simulated": False}))
    with pytest.raises(ConfigError, match="--quality referee"):
        judge_rows(open_recording(run), finished.folder, finished.rows, QualityRequest("truth"))


def test_half_a_manifest_is_named(run: Path, tmp_path: Path) -> None:
    """A folder that a full disk left so is no recording."""
    (run / "manifest.json").write_bytes((run / "manifest.json").read_bytes()[:100])
    with pytest.raises(FormatError, match=r"manifest\.json"):
        sweep(SweepRequest(run, _spec(), tmp_path / "s", jobs=1))
