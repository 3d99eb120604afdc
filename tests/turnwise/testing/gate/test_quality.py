"""Quality out of a table of scores: of the very replies that the run gave."""

from pathlib import Path

import pytest

from turnwise.calls.errors import ConfigError
from turnwise.report.run_record import TurnLine
from turnwise.testing.gate.quality import quality_by_turn
from turnwise.tune.quality.score_file import write_scores
from turnwise.tune.quality.scores import Score, ScoreKind, reply_id


def _score(
    value: float,
    *,
    by: str = "judge",
    reply: str = "hi",
    kind: ScoreKind = "label",
    repeat: int = 0,
) -> Score:
    return Score(
        by=by,
        conversation="one",
        turn=0,
        reply_id=reply_id(reply),
        value=value,
        scale_low=0.0,
        scale_high=1.0,
        repeat=repeat,
        kind=kind,
        against=reply_id("other") if kind == "pairwise" else "",
        order="first" if kind == "pairwise" else "",
    )


def _turn(turn: int, reply: str) -> TurnLine:
    return TurnLine(conversation_id="one", turn=turn, reply=reply)


def test_repeated_looks_are_averaged_and_other_replies_left_alone(tmp_path: Path) -> None:
    """A reply's scores are its own: another text on the same turn has others, or none."""
    path = tmp_path / "scores.csv"
    looks = [_score(0.2), _score(0.6, repeat=1), _score(1.0, reply="else")]
    write_scores(path, [*looks, _score(0.9, by="other judge", kind="pairwise")])
    found = quality_by_turn(path, [_turn(0, "hi"), _turn(1, "hi"), _turn(2, "")])
    assert found == {("one", 0): pytest.approx(0.4)}


def test_two_judges_have_two_units(tmp_path: Path) -> None:
    """Their scores are not averaged: the error names them."""
    path = tmp_path / "scores.csv"
    write_scores(path, [_score(0.2), _score(9.0, by="another")])
    with pytest.raises(ConfigError, match="another, judge"):
        quality_by_turn(path, [_turn(0, "hi")])
