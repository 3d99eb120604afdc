"""Replaying in one call, and the means of a run."""

from pathlib import Path

import numpy as np
import pytest

from turnwise.calls.errors import CassetteMiss, ConfigError
from turnwise.tune.notebook import panel_of_run, replay
from turnwise.tune.statistics.bootstrap import mean_intervals


async def test_a_recording_replays_without_a_request(tmp_path: Path, talks: Path) -> None:
    """The second run plays what the first recorded, call by call."""
    first = await replay(talks, tmp_path / "first", preset="frugal")
    again = await replay(
        talks, tmp_path / "again", preset="frugal", cassette=tmp_path / "first" / "cassette.jsonl"
    )
    assert {row.outcome.value for row in first.rows} == {"served"}
    assert {row.outcome.value for row in again.rows} == {"replayed"}
    assert [turn.reply for turn in first.turns] == [turn.reply for turn in again.turns]
    assert first.is_simulated


async def test_knobs_are_laid_over_the_preset(tmp_path: Path, talks: Path) -> None:
    """A knob given by its dotted name decides; one that does not exist names the nearest."""
    run = await replay(talks, tmp_path / "run", preset="frugal", knobs={"search.max_calls": 2})
    assert {turn.asked for turn in run.turns} == {4}
    with pytest.raises(ConfigError, match="max_calls"):
        await replay(talks, tmp_path / "wrong", knobs={"search.max_call": 2})


async def test_a_call_that_is_not_recorded_is_an_error(tmp_path: Path, talks: Path) -> None:
    """With a cassette nothing is sent, whatever is missing."""
    await replay(talks, tmp_path / "run", preset="instant")
    with pytest.raises(CassetteMiss):
        await replay(
            talks, tmp_path / "other", preset="frugal", cassette=tmp_path / "run/cassette.jsonl"
        )


async def test_a_run_as_a_panel(tmp_path: Path, talks: Path) -> None:
    """Each figure of each turn, its conversations as clusters or each turn as its own."""
    run = await replay(talks, tmp_path / "run", preset="instant")
    panel = panel_of_run(run)
    assert panel.conversations == tuple(f"talk-{number}" for number in range(6))
    assert panel.values[0].tolist() == [2.0] * 6
    assert not panel.spread.any()
    assert mean_intervals(panel)["calls a turn"].mean == 2.0
    by_turn = panel_of_run(run, is_by_turn=True)
    assert by_turn.conversations == ("0", "1", "2", "3", "4", "5")
    assert np.array_equal(by_turn.values, panel.values)
