"""A run by arm: figures, differences, and what makes a comparison unfair."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import ConfigError
from callwise.report import load_run
from callwise.tuning.arms import ARM_FIGURES, arm_report, arm_tables

KNOBS = {"experiment": {"name": "caps", "arms": {"control": {}, "new": {}}}}


def _write(
    folder: Path, turns: list[dict[str, Any]], calls: dict[str, int], **manifest: Any
) -> Path:
    rows = [
        {
            "conversation": turn["conversation_id"],
            "turn": str(turn["turn"]),
            "node": "n",
            "role": "main",
            "purpose": "other",
            "outcome": "served",
            "requests": 1,
            "input_tokens": 10,
            "usd": 0.5,
        }
        for turn in turns
        for _ in range(calls[turn["arm"]])
    ]
    for name, lines in (("turns", turns), ("ledger", rows)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text)
    document = {"callwise_run": 1, "simulated": True, **manifest}
    (folder / "manifest.json").write_text(json.dumps(document))
    return folder


def _turns(arm: str, count: int, start: int = 0, **fields: Any) -> list[dict[str, Any]]:
    seconds = {"reply": 1.0, "turn": 2.0}
    return [
        {
            "conversation_id": f"{arm}{start + number}",
            "turn": 0,
            "reply": "hi",
            "arm": arm,
            "path_seconds": seconds,
            **fields,
        }
        for number in range(count)
    ]


def test_figures_and_differences_are_those_of_the_ledger(tmp_path: Path) -> None:
    """Each arm has its means; the other arm less the control is exact where nothing varies."""
    turns = [*_turns("control", 8), *_turns("new", 7)]
    _write(tmp_path, turns, {"control": 4, "new": 3}, knobs=KNOBS)
    quality = {(turn["conversation_id"], 0): 3.0 for turn in turns}
    report = arm_report(load_run(tmp_path), quality=quality)
    assert list(report.figures) == [*ARM_FIGURES, "quality"]
    means = {name: each["new"].mean for name, each in report.figures.items()}
    assert means == {
        "calls": 3.0, "requests": 3.0, "tokens": 30.0, "usd": 1.5, "seconds": 2.0, "failed": 0.0,
        "quality": 3.0,
    }  # fmt: skip
    assert report.differences["calls"]["new"].together.mean == -1.0
    assert report.differences["calls"]["new"].is_lower
    assert report.warnings == []
    by_arm, differences, numbers = arm_tables(report)
    assert by_arm.rows[0][:4] == ("control", 0.5, 8, 8)
    assert {row[4] for row in differences.rows} == {"lower", "equal"}
    assert all(len(row) == len(numbers.columns) for row in numbers.rows)


def test_a_mismatched_sample_ratio_is_a_warning(tmp_path: Path) -> None:
    """An arm that lost units is not comparable, which comes before the differences."""
    turns = [*_turns("control", 60), *_turns("new", 15)]
    _write(tmp_path, turns, {"control": 1, "new": 1}, knobs=KNOBS)
    report = arm_report(load_run(tmp_path))
    assert report.ratio_p is not None
    assert report.ratio_p < 1e-6
    assert "sample-ratio mismatch" in report.warnings[0]


def test_a_unit_of_several_arms_is_in_no_figure(tmp_path: Path) -> None:
    """A conversation that changed the arm is counted and left out; few units are a reason."""
    both = [{**turn, "conversation_id": "both"} for turn in _turns("control", 1)]
    both += [{**turn, "conversation_id": "both", "turn": 1} for turn in _turns("new", 1)]
    turns = [*_turns("control", 3), *_turns("new", 6), *both]
    _write(tmp_path, turns, {"control": 2, "new": 1}, knobs=KNOBS)
    report = arm_report(load_run(tmp_path))
    assert report.units == {"control": 3, "new": 6}
    assert report.moved == 1
    assert "1 conversation with turns of several arms" in report.warnings[0]
    assert "control has 3" in report.warnings[1]


def test_the_unit_may_be_the_user(tmp_path: Path) -> None:
    """Then all conversations of a user count as one."""
    knobs = {"experiment": {**KNOBS["experiment"], "unit": "user"}}
    turns = [*_turns("control", 6, user_id="u1"), *_turns("new", 6)]
    _write(tmp_path, turns, {"control": 1, "new": 1}, knobs=knobs)
    assert arm_report(load_run(tmp_path)).units == {"control": 1, "new": 6}


def test_a_program_of_ones_own_gives_its_arms(tmp_path: Path) -> None:
    """Arms by conversation take the place of those that turns name; the control is to be named."""
    turns = [{**turn, "arm": ""} for turn in [*_turns("a", 5), *_turns("b", 5)]]
    _write(tmp_path, turns, {"": 1})
    run = load_run(tmp_path)
    with pytest.raises(ConfigError, match="names an arm"):
        arm_report(run)
    arms = {turn["conversation_id"]: turn["conversation_id"][0] for turn in turns}
    report = arm_report(run, arms=arms, control="b")
    assert report.units == {"b": 5, "a": 5}
    assert report.ratio_p is None
    with pytest.raises(ConfigError, match="there is no arm 'c'"):
        arm_report(run, arms=arms, control="c")


def test_a_quality_that_is_no_number_is_refused(tmp_path: Path) -> None:
    """It would make the mean of its arm no number either."""
    _write(tmp_path, _turns("a", 5), {"a": 1})
    with pytest.raises(ConfigError, match=r"the quality of turn 0 .* is nan"):
        arm_report(load_run(tmp_path), quality={("a0", 0): math.nan})
