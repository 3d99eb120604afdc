"""Tuning in one call: its results, and purchases only where they are allowed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from callwise.calls.errors import CassetteMiss, ConfigError, FormatError
from callwise.report import load_run
from callwise.tuning.figures import CallsByNode
from callwise.tuning.judge.judge_sweep import QualityRequest
from callwise.tuning.notebook import TuneResult, panel_of_run, plan, replay, show, tune
from callwise.tuning.notebook_views import NotebookFigure, draw
from callwise.tuning.statistics.bootstrap import mean_intervals

SETTINGS = {
    "recorded": {},
    "search 3": {"search.max_calls": 3},
    "three a call": {"search.generate_k": 3},
}


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    """Return a file of six conversations of one turn each."""
    path = tmp_path / "talks.jsonl"
    path.write_text(
        "".join(
            json.dumps(
                {
                    "conversation_id": f"talk-{number}",
                    "user_id": f"user-{number}",
                    "turn": 0,
                    "user_text": f"I got job number {number}, and now I am scared of it.",
                }
            )
            + "\n"
            for number in range(6)
        ),
        encoding="utf-8",
    )
    return path


@pytest.fixture
async def recording(tmp_path: Path, talks: Path) -> Path:
    """Return the folder of a run with a search of 11 calls."""
    replay(talks, tmp_path / "run", knobs={"search.max_calls": 11})
    return tmp_path / "run"


async def test_other_settings_from_one_recording(tmp_path: Path, recording: Path) -> None:
    """Inside a running loop, without a call: rows, a table, a figure and a sentence."""
    before = (recording / "cassette.jsonl").read_bytes()
    tuned = tune(recording, tmp_path / "sweep", settings=SETTINGS)
    assert isinstance(tuned, TuneResult)
    assert len(tuned.rows) == 18
    assert list(tuned.frame["setting"].unique()) == list(SETTINGS)
    assert set(tuned.settings.index) == set(SETTINGS)
    assert tuned.recommendation.startswith("Simulated: ")
    assert any("not recorded" in notice for notice in tuned.notices)
    assert (recording / "cassette.jsonl").read_bytes() == before


async def test_bars_are_in_the_order_of_cost(tmp_path: Path, recording: Path) -> None:
    """The setting of fewest calls on top, whatever the order of asking; nodes as they asked."""
    costly_first = dict(sorted(SETTINGS.items(), reverse=True))
    tuned = tune(recording, tmp_path / "sweep", settings=costly_first)
    figure = draw(tuned, "nodes")
    assert isinstance(figure, NotebookFigure)
    found = figure.record
    assert isinstance(found, CallsByNode)
    means = [bar.total.mean for bar in found.bars]
    assert means == sorted(means)
    asked = [row.node for row in load_run(recording).rows if row.node]
    assert tuned.nodes == tuple(dict.fromkeys(asked))
    assert found.nodes[: len(tuned.nodes)] == tuned.nodes


async def test_what_is_not_known_is_no_point(tmp_path: Path, recording: Path) -> None:
    """A setting most of whose replies are not recorded is left out of the figure, and named."""
    found = tune(recording, tmp_path / "sweep", settings=SETTINGS).tradeoff
    assert "three a call" not in {point.setting for point in found.points}
    assert "three a call" in dict(found.left_out)


@pytest.mark.slow
async def test_it_buys_what_it_may(tmp_path: Path, recording: Path) -> None:
    """With a budget the settings are measured, and the recording has grown."""
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


async def test_one_value_of_a_knob_needs_no_list(tmp_path: Path, recording: Path) -> None:
    """And a text is one value. A result is shown as it is printed, with what was not logged."""

    class Failing:
        def log(self, sweep: object) -> None:
            raise RuntimeError(f"no \x1b server {'x' * 500} set MLFLOW_ALLOW_FILE_STORE=true")

    with pytest.warns(UserWarning, match=r"Failing could not log .* MLFLOW_ALLOW_FILE_STORE=true"):
        tuned = tune(
            recording,
            tmp_path / "sweep",
            knobs={"search.max_calls": 3, "search.policy": "listwise"},
            loggers=[Failing()],
        )
    assert len({row.setting for row in tuned.rows}) == 1
    assert repr(show(tuned)) == repr(tuned)
    assert repr(tuned).endswith(tuned.log_notices[0])
    assert "\x1b" not in repr(tuned)
    assert "MLFLOW_ALLOW_FILE_STORE=true" in tuned._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize("variable", ["CALLWISE_BASEURL", "OPENAI_API_KEY"])
async def test_a_variable_without_effect_is_a_warning(
    tmp_path: Path, talks: Path, recording: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `plan`, `replay` and `tune`, at the user's own line."""
    monkeypatch.setenv(variable, "x")
    calls: list[Callable[[], object]] = [
        plan,
        lambda: replay(talks, tmp_path / "warned", preset="instant", max_turns=1),
        lambda: tune(recording, tmp_path / "sweep", settings={"recorded": {}}),
    ]
    if variable == "OPENAI_API_KEY":  # a plan and a recording ask no model
        del calls[2], calls[0]
    for call in calls:
        with pytest.warns(UserWarning, match=variable) as caught:
            call()
        assert [each.filename for each in caught] == [__file__]


async def test_rows_with_keys_of_their_own(talks: Path, tmp_path: Path) -> None:
    """`columns` names them; without it the error does."""
    rows = [{"ask": "Why do cats purr?", "said": "It is a hum."}]
    with pytest.raises(FormatError, match=r"in Python, `columns=\{'messages': KEY\}`"):
        replay(rows, tmp_path / "run", preset="instant")
    columns = {"prompt": "ask", "response": "said"}
    run = replay(rows, tmp_path / "run", preset="instant", columns=columns)
    assert ": 1 turn, 2 calls, simulated>" in repr(run)
    for function in (replay, tune):
        with pytest.raises(ConfigError, match="max_turns is at least 1, got 0"):
            function(talks, max_turns=0)  # type: ignore[operator]
    with pytest.raises(ConfigError, match=r"margin 1\.0: expected a share"):  # before it buys
        tune(talks, margin_share=1.0)


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


async def test_a_recording_replays_without_a_request(tmp_path: Path, talks: Path) -> None:
    """The second run plays what the first recorded, call by call."""
    first = replay(talks, tmp_path / "first", preset="frugal")
    again = replay(
        talks, tmp_path / "again", preset="frugal", cassette=tmp_path / "first" / "cassette.jsonl"
    )
    assert {row.outcome.value for row in first.rows} == {"served"}
    assert {row.outcome.value for row in again.rows} == {"replayed"}
    assert [turn.reply for turn in first.turns] == [turn.reply for turn in again.turns]
    assert first.is_simulated


async def test_knobs_are_laid_over_the_preset(tmp_path: Path, talks: Path) -> None:
    """A knob given by its dotted name decides; one that does not exist names the nearest."""
    run = replay(talks, tmp_path / "run", preset="frugal", knobs={"search.max_calls": 2})
    assert {turn.asked for turn in run.turns} == {4}
    with pytest.raises(ConfigError, match="max_calls"):
        replay(talks, tmp_path / "wrong", knobs={"search.max_call": 2})


async def test_a_call_that_is_not_recorded_is_an_error(tmp_path: Path, talks: Path) -> None:
    """With a cassette nothing is sent, whatever is missing."""
    replay(talks, tmp_path / "run", preset="instant")
    with pytest.raises(CassetteMiss):
        replay(talks, tmp_path / "other", preset="frugal", cassette=tmp_path / "run/cassette.jsonl")


async def test_a_run_as_a_panel(tmp_path: Path, talks: Path) -> None:
    """Each figure of each turn, its conversations as clusters or each turn as its own."""
    run = replay(talks, tmp_path / "run", preset="instant")
    panel = panel_of_run(run)
    assert panel.conversations == tuple(f"talk-{number}" for number in range(6))
    assert panel.values[0].tolist() == [2.0] * 6
    assert not panel.spread.any()
    assert mean_intervals(panel)["calls per turn"].mean == 2.0
    assert panel.settings[2] == "virtual seconds to the reply"
    by_turn = panel_of_run(run, is_by_turn=True)
    assert by_turn.conversations == ("0", "1", "2", "3", "4", "5")
    assert np.array_equal(by_turn.values, panel.values)
