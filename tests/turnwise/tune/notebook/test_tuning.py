"""Tuning in one call: what it says, and what it buys only where it may."""

from pathlib import Path

import pytest

from turnwise.calls.errors import ConfigError
from turnwise.tune.judge.judge_sweep import QualityRequest
from turnwise.tune.notebook import Tuned, replay, tune

SETTINGS = {
    "recorded": {},
    "search 3": {"search.max_calls": 3},
    "search 6": {"search.max_calls": 6},
}


@pytest.fixture
async def recording(tmp_path: Path, talks: Path) -> Path:
    """Return the folder of a run with a search of 11 calls."""
    await replay(talks, tmp_path / "run", knobs={"search.max_calls": 11})
    return tmp_path / "run"


async def test_other_settings_from_one_recording(tmp_path: Path, recording: Path) -> None:
    """Inside a running loop, without a call: rows, a table, a figure and a sentence."""
    before = (recording / "cassette.jsonl").read_bytes()
    tuned = tune(recording, tmp_path / "sweep", settings=SETTINGS)
    assert isinstance(tuned, Tuned)
    assert len(tuned.rows) == 18
    assert list(tuned.frame["setting"].unique()) == list(SETTINGS)
    assert set(tuned.settings.index) == set(SETTINGS)
    assert tuned.recommendation.startswith("Simulated: ")
    assert any("not recorded" in notice for notice in tuned.notices)
    assert (recording / "cassette.jsonl").read_bytes() == before


async def test_what_is_not_known_is_no_point(tmp_path: Path, recording: Path) -> None:
    """A setting most of whose replies are not recorded is left out of the figure, and named."""
    found = tune(recording, tmp_path / "sweep", settings=SETTINGS).tradeoff
    assert "search 6" not in {point.setting for point in found.points}
    assert "search 6" in dict(found.left_out)


async def test_it_buys_what_it_may(tmp_path: Path, recording: Path) -> None:
    """With a purse the settings are measured, and the recording has grown."""
    tuned = tune(recording, tmp_path / "sweep", settings=SETTINGS, max_buy_calls=500)
    assert {row.mark for row in tuned.rows} == {"exact"}
    assert tuned.notices[-1].startswith("Every call of every setting is recorded")
    assert tuned.tradeoff.left_out == ()


async def test_a_sweep_that_cannot_work_is_refused(tmp_path: Path, recording: Path) -> None:
    """Nothing to try, or an unknown knob, is an error before anything runs."""
    with pytest.raises(ConfigError, match="would try nothing"):
        tune(recording, tmp_path / "sweep")
    with pytest.raises(ConfigError, match=r"search\.max_calls"):
        tune(recording, tmp_path / "sweep", knobs={"search.max_call": [3]})


async def test_a_referee_draws_from_the_same_calls(tmp_path: Path, recording: Path) -> None:
    """Nothing is sent unless it may be: not for settings, and not for judging."""
    settings = {"recorded": {}}
    for allowed, expected in ((0, 0), (2, 2), (2, 4)):
        tuned = tune(
            recording,
            tmp_path / "sweep",
            settings=settings,
            quality=QualityRequest("referee"),
            max_buy_calls=allowed,
        )
        assert sum("referee" in score.by for score in tuned.judged.scores) == expected
