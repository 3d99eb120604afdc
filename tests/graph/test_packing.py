"""Packing in a turn: fewer calls, the same questions, and a bound for the worst case."""

import pytest

from callwise import replay
from callwise.calls.errors import ConfigError
from graph.app import app

WIDE = {"search.soft_top_n": 3, "search.expand_k": 4, "search.soft_max_concurrency": 4}
TRIAL = {"pack.judge.is_trial": True}
TALK = [{"conversation_id": "a", "turns": [{"user": "I had a bad day, my boss shouted"}]}]


def judged(folder, knobs):
    """Return how many judge calls a turn asked, with the run's folder."""
    run = replay(TALK, folder, preset="classic", knobs={**WIDE, **knobs})
    rows = [row for row in run.rows if row.purpose == "judge"]
    return rows, run


def test_judges_of_one_round_share_a_prompt(tmp_path):
    """Each of the 12 candidates is judged, by 4 calls."""
    alone, _ = judged(tmp_path / "alone", {})
    packed, run = judged(tmp_path / "packed", TRIAL)
    assert (len(alone), len(packed)) == (14, 6)
    assert sum(row.notes == "3 questions in one prompt" for row in packed) == 4
    assert run.turns[0].reply


def test_nothing_is_packed_without_a_proof(tmp_path):
    """Nor with one that is too low."""
    for number, low in enumerate((None, -0.06)):
        knobs = {"pack.judge.size": 4, "pack.judge.lower_sd": low}
        rows, _ = judged(tmp_path / str(number), knobs)
        assert len(rows) == 14
    rows, _ = judged(tmp_path / "proved", {"pack.judge.lower_sd": -0.05})
    assert len(rows) == 6


def test_the_worst_case_of_a_plan_is_a_bound():
    """Packed calls that cannot be read are followed by the single ones, within the search's cap."""
    settings = app.settings("classic", ["search.soft_top_n=3", "pack.judge.is_trial=true"])
    plan = app.plan(settings).as_json()["scenarios"]
    assert plan["default"]["asked"] <= plan["worst"]["asked"]


def test_a_purpose_that_is_none_is_refused():
    """Naming the nearest."""
    with pytest.raises(ConfigError, match="did you mean judge"):
        app.settings("classic", ["pack.judje.size=4"])
