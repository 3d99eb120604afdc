"""Staged rollouts: checks at fixed units, stages, returns, and the file of the state."""

import json
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import ConfigError, FormatError
from callwise.knobs.experiment import RolloutKnobs
from callwise.report import load_run
from callwise.testing.gate import Gates, TurnFigures
from callwise.testing.gate.rollout import (
    Rollout,
    advance_rollout,
    check_sentence,
    gated_measures,
)
from tests.callwise.testing.gate.rollout_world import return_rate

PLAN = RolloutKnobs(arm="new", stages=(0.25, 0.5, 1.0), units=20, checks=2)


def _state(share: float = 0.25) -> Rollout:
    return Rollout.begun("x", "new", "old", share=share)


def _turns(start: int, units: int, *, new: int, old: int) -> list[tuple[str, str, TurnFigures]]:
    """Return turns of units, every second one of the new arm, with so many calls."""
    found = []
    for number in range(start, start + units):
        arm, calls = ("new", new) if number % 2 else ("old", old)
        name = f"u{number}"
        turn = TurnFigures(conversation=name, turn=0, asked={"n/main/other": calls})
        found.append((name, arm, turn))
    return found


def test_a_rollout_without_a_change_goes_through_its_stages() -> None:
    """Each stage ends at its last check; at the last stage the rollout is complete."""
    state, gates = _state(), Gates()
    for stage, share in ((0, 0.5), (1, 1.0)):
        assert state.stage == stage
        state.tell(_turns(100 * stage, 40, new=5, old=5), gates)
        checks = state.decide(PLAN)
        assert [(each.stage, each.check, each.new_units) for each in checks] == [
            (stage + 1, 1, 10),
            (stage + 1, 2, 20),
        ]
        assert state.share == share
        assert state.units == {}
    assert state.status == "complete"
    assert "at 100 %" in state.sentence


def test_a_worse_arm_is_returned_at_the_first_look_that_shows_it() -> None:
    """Then its share is 0, and nothing is read any more."""
    state, gates = _state(), Gates()
    state.tell(_turns(0, 40, new=6, old=5), gates)
    checks = state.decide(PLAN)
    assert [each.failed for each in checks] == [["calls"]]
    assert (state.status, state.share) == ("returned", 0.0)
    assert state.decide(PLAN) == []
    assert "worse in calls" in state.sentence


def test_a_rise_within_the_tolerance_is_no_failure() -> None:
    """Of 5 calls a sixth is within 20 %."""
    plan = PLAN.model_copy(update={"gates": {"calls": 0.2}})
    state = _state()
    state.tell(_turns(0, 40, new=6, old=5), Gates(**plan.gates))
    assert all(not each.failed for each in state.decide(plan))
    assert state.share == 0.5


def test_a_check_without_units_of_the_other_arm_is_no_good_sign() -> None:
    """Without a bound nothing was checked; units that do not fit the share are a warning."""
    state, gates = _state(), Gates()
    state.tell([turn for turn in _turns(0, 40, new=6, old=5) if turn[1] == "new"], gates)
    (first,) = map(check_sentence, state.decide(PLAN))
    assert "nothing checked, too few units for calls" in first
    assert "sample-ratio mismatch (p = 9.5e-07 for the share 0.25)" in first


def test_a_check_of_units_in_their_shares_has_no_warning() -> None:
    """Half of the units are what the share of a half gives."""
    state, gates = _state(0.5), Gates()
    state.stage = 1
    state.tell(_turns(0, 40, new=5, old=5), gates)
    for check in state.decide(PLAN):
        assert "units: nothing shown to be worse; per turn" in check_sentence(check)


def test_calling_it_often_is_no_further_check_stage() -> None:
    """Whatever the portions, the checks read the same units and say the same."""
    turns, gates = _turns(0, 40, new=5, old=5), Gates()
    whole = _state()
    whole.tell(turns, gates)
    whole.decide(PLAN)
    parts = _state()
    for turn in turns:
        parts.tell([turn], gates)
        parts.tell([turn], gates)  # read before: not read again
        parts.decide(PLAN)
    assert parts == whole


def test_a_stage_does_not_end_without_a_figure_of_both_arms() -> None:
    """The last check waits for units of the other arm, and for replies that were judged."""
    state, gates = _state(), Gates()
    turns = _turns(0, 60, new=5, old=5)
    state.tell([each for each in turns if each[1] == "new"], gates)
    assert [each.check for each in state.decide(PLAN)] == [1]
    assert state.checks[0].figures["calls"].worse_by is None
    state.tell([each for each in turns if each[1] == "old"][:5], gates)
    assert [(each.check, each.other_units) for each in state.decide(PLAN)] == [(2, 5)]
    judged = PLAN.model_copy(update={"gates": {"quality": 0.5}})
    state = _state()
    state.tell(turns, Gates(**judged.gates))
    assert [each.check for each in state.decide(judged)] == [1]
    assert state.stage == 0


def test_quality_may_not_fall_by_more_than_its_margin() -> None:
    """Its tolerance is in its own unit; turns that were not judged are left out."""
    plan = PLAN.model_copy(update={"gates": {"quality": 0.5}})
    for fall, status in ((0.25, "running"), (2.0, "returned")):
        state = _state()
        turns = [
            (unit, arm, turn.model_copy(update={"quality": 4.0 - fall * (arm == "new")}))
            for unit, arm, turn in _turns(0, 40, new=5, old=5)
        ]
        turns.append(("u99", "new", TurnFigures(conversation="u99", turn=0)))
        state.tell(turns, Gates(**plan.gates))
        state.decide(plan)
        assert state.status == status


def test_a_gated_figure_that_is_not_known_is_an_error() -> None:
    """Unknown is not 0."""
    with pytest.raises(ConfigError, match="cannot gate USD"):
        _state().tell(_turns(0, 2, new=5, old=5), Gates(usd=0.1))
    assert [str(each) for each in gated_measures(Gates(usd=0.1))] == [
        "calls", "degradations", "unreadable answers", "USD",
    ]  # fmt: skip


def _write_run(folder: Path, *, share: float, new: int = 5, **rollout: Any) -> Path:
    folder.mkdir(exist_ok=True)
    turns, rows = [], []
    for unit, arm, turn in _turns(0, 40, new=new, old=5):
        turns.append({"conversation_id": unit, "turn": 0, "reply": "hi", "arm": arm})
        row = {"conversation": unit, "turn": "0", "node": "n", "role": "main", "purpose": "other"}
        rows += [{**row, "outcome": "served", "requests": 1}] * turn.asked_count
    stages = {"stages": [0.25, 0.5, 1.0], "units": 20, "checks": 2}
    knobs = {"arm": "new", **stages, "share": share, **rollout}
    experiment = {"name": "x", "arms": {"old": {}, "new": {}}, "rollout": knobs}
    manifest = {
        "callwise_run": 1,
        "identity": {"app": "a"},
        "simulated": True,
        "knobs": {"experiment": experiment},
    }
    for name, lines in (("turns", turns), ("ledger", rows)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_run_changes_the_state_of_its_file_once(tmp_path: Path) -> None:
    """A run of an earlier share is not read; the file alone decides what the next run has."""
    state = tmp_path / "rollout.json"
    run = load_run(_write_run(tmp_path / "run", share=0.25))
    rollout, said = advance_rollout(run, state)
    assert rollout.share == 0.5
    assert said[0] == "40 turns read"
    before = state.read_bytes()
    _, said = advance_rollout(run, state)
    assert "not read: the run has share 0.25" in said[0]
    assert state.read_bytes() == before
    worse = load_run(_write_run(tmp_path / "worse", share=0.5, new=9))
    rollout, _ = advance_rollout(worse, state)
    assert (rollout.status, rollout.share) == ("returned", 0.0)
    assert json.loads(state.read_text())["share"] == 0.0


def test_files_and_runs_that_do_not_fit_are_errors(tmp_path: Path) -> None:
    """Another rollout, other stages, no rollout, no scores: each is named."""
    state = tmp_path / "rollout.json"
    run = load_run(_write_run(tmp_path / "run", share=0.25))
    state.write_text("[]")
    with pytest.raises(FormatError, match="expected the state of a rollout"):
        advance_rollout(run, state)
    other = Rollout.begun("y", "new", "old", share=0.25)
    other.write(state)
    with pytest.raises(FormatError, match="its own file"):
        advance_rollout(run, state)
    Rollout.begun("x", "new", "older", share=0.25).write(state)
    with pytest.raises(FormatError, match="next to the arm 'older'"):
        advance_rollout(run, state)
    _state(0.1).write(state)
    with pytest.raises(FormatError, match="keep the stages"):
        advance_rollout(run, state)
    state.write_text(json.dumps({**json.loads(state.read_text()), "further": 1}))
    with pytest.raises(FormatError, match="further: Extra inputs"):
        advance_rollout(run, state)
    state.unlink()
    gated = load_run(_write_run(tmp_path / "gated", share=0.25, gates={"quality": 0.1}))
    with pytest.raises(ConfigError, match="add --scores"):
        advance_rollout(gated, state)
    (tmp_path / "run" / "manifest.json").write_text('{"callwise_run": 1, "identity": {}}')
    with pytest.raises(ConfigError, match="has no rollout"):
        advance_rollout(load_run(tmp_path / "run"), state)


@pytest.mark.slow
def test_an_arm_that_is_no_worse_is_hardly_ever_returned() -> None:
    """Of simulated rollouts in which the arms are alike, at most alpha are returned."""
    plan = RolloutKnobs(arm="new", units=40, checks=2, stages=(0.25, 1.0))
    world = "8 calls, 5 in a tenth of turns"
    assert return_rate(world, plan, rise=0.0, rollouts=40) <= 0.05
    assert return_rate(world, plan, rise=2.0, rollouts=5) == 1.0
