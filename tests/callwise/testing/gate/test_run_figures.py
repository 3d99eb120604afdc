"""From a run's folder to a baseline: nothing that was lost passes for a saving."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import ConfigError, FormatError
from callwise.report.run_record import TurnLine
from callwise.testing.gate.baseline import Baseline
from callwise.testing.gate.run_figures import baseline_of_run, quality_by_turn, run_figures
from callwise.tuning.judge.scores import Score, ScoreKind, write_scores
from callwise.tuning.row import reply_id
from tests.callwise.testing.gate.conftest import rows_of, toy, turns_of

RunWriter = Callable[..., Path]


def test_a_folder_gives_what_its_rows_give(write_run: RunWriter) -> None:
    """The same run, read or in memory, is the same baseline."""
    assert baseline_of_run(write_run()) == toy()


def test_neither_paths_nor_replies_reach_a_baseline(write_run: RunWriter) -> None:
    """It is committed: it holds figures, knobs and digests only."""
    text = baseline_of_run(write_run()).text()
    assert "secret" not in text
    assert "hello" not in text
    assert "2026" not in text


def test_a_torn_turn_is_left_out_and_reported(write_run: RunWriter) -> None:
    """A killed run ends in half a line: its turn is not finished, and the run is torn."""
    folder = write_run()
    path = folder / "turns.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    found = run_figures(folder)
    assert found.is_torn
    assert found.notices
    assert [turn.key for turn in found.baseline.turns] == [("one", 0), ("one", 1)]


def test_lost_calls_are_no_saving(write_run: RunWriter) -> None:
    """A ledger with fewer calls than its turns say is refused, with the turn."""
    folder = write_run(rows=rows_of()[:-1], turns=turns_of(rows_of()))
    with pytest.raises(FormatError, match=r"turn 0 of 'two' .* 3 calls and 2 are here"):
        baseline_of_run(folder)


def test_a_cut_ledger_is_refused_where_turns_do_not_count(write_run: RunWriter) -> None:
    """Without a count in the turn's line, a half line in the ledger may be a lost call."""
    turns = [{**turn, "asked": None} for turn in turns_of(rows_of())]
    folder = write_run(turns=turns)
    path = folder / "ledger.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(FormatError, match="cut off"):
        baseline_of_run(folder)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ({"callwise_run": 9}, "format 9"),
        ({"identity": {"app": "x", "conversations": 3}}, "conversations"),
    ],
)
def test_a_manifest_that_is_none_is_refused(
    write_run: RunWriter, manifest: dict[str, Any], said: str
) -> None:
    """Another version, or a fact of a wrong type, is named."""
    with pytest.raises(FormatError, match=said):
        baseline_of_run(write_run(**manifest))


def test_a_run_without_turns_is_refused(write_run: RunWriter, tmp_path: Path) -> None:
    """An empty run, and a folder that is none, hold nothing to gate."""
    with pytest.raises(FormatError, match="no finished turn"):
        baseline_of_run(write_run(rows=[], turns=[]))
    with pytest.raises(FormatError, match="no such folder"):
        baseline_of_run(tmp_path / "nowhere")


def test_a_manifest_without_prompts_knows_none(write_run: RunWriter) -> None:
    """An app that does not tell its prompts has unknown ones, not unchanged ones."""
    assert baseline_of_run(write_run(prompts={})).prompts is None


def test_a_turn_that_is_there_twice_is_refused(write_run: RunWriter) -> None:
    """Two lines of one turn would count its calls twice."""
    turns = turns_of(rows_of())
    with pytest.raises(FormatError, match="is there twice"):
        baseline_of_run(write_run(turns=[*turns, turns[0]]))


@pytest.mark.parametrize(
    ("said", "is_simulated"), [([True] * 13, True), ([True, False] * 7, False)]
)
def test_a_simulated_server_is_marked_in_the_ledger(
    write_run: RunWriter, said: list[bool], *, is_simulated: bool
) -> None:
    """The manifest knows of no server: the rows tell, and a mixed run is not simulated."""
    rows = [
        {**row, "outcome": "served", "is_simulated": each}
        for row, each in zip(rows_of(), said, strict=False)
    ]
    turns = [{**turn, "simulated": True} for turn in turns_of(rows)]
    identity = {"app": "toy.app:app", "mode": "new-episodes"}
    found = run_figures(write_run(rows=rows, turns=turns, identity=identity))
    assert found.baseline.is_simulated == found.baseline.is_exact == is_simulated
    assert any("some of the answers" in notice for notice in found.notices) != is_simulated


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


def test_repeated_readings_are_averaged_and_other_replies_left_alone(tmp_path: Path) -> None:
    """A reply's scores are its own: another text on the same turn has others, or none."""
    path = tmp_path / "scores.csv"
    looks = [_score(0.2), _score(0.6, repeat=1), _score(1.0, reply="else")]
    write_scores(path, [*looks, _score(0.9, by="other judge", kind="pairwise")])
    found = quality_by_turn(path, [_turn(0, "hi"), _turn(1, "hi"), _turn(2, "")])
    assert found == {("one", 0): pytest.approx(0.4)}


def test_scores_are_compared_with_the_quality_of_a_routing_table(write_run: RunWriter) -> None:
    """On the scale from 0 to 1; and only where there are scores."""
    names = [f"c{at}" for at in range(12)]
    choice = {"policy": "route", "table": "0" * 16, "asked": "1" * 64, "model": "small"}
    rows = [
        {**row, "choice": choice}
        for name in names
        for row in rows_of()[:1]
        for row in [{**row, "conversation": name}]
    ]
    entry = {"model": "small", "quality": 0.8, "quality_low": 0.75, "quality_high": 0.85}
    policies = {rows[0]["purpose"]: {"kind": "route", "table": [entry, {"model": "main"}]}}
    folder = write_run(rows=rows, knobs={"preset": "toy", "policies": policies})
    scores = folder / "scores.csv"
    marks = [
        replace(_score(4.0 + at % 3, reply="hello"), conversation=name, scale_low=1.0, scale_high=9)
        for at, name in enumerate(names)
    ]
    write_scores(scores, marks)
    (found,) = [
        notice
        for notice in run_figures(folder, scores_file=scores).notices
        if "mean quality" in notice
    ]
    assert "have a mean quality of 0.5 in 12 conversations" in found
    assert not any("mean quality" in notice for notice in run_figures(folder).notices)


def test_two_judges_have_two_units(tmp_path: Path) -> None:
    """Their scores are not averaged: the error names them."""
    path = tmp_path / "scores.csv"
    write_scores(path, [_score(0.2), _score(9.0, by="another")])
    with pytest.raises(ConfigError, match="another, judge"):
        quality_by_turn(path, [_turn(0, "hi")])


def test_a_baseline_has_the_knobs_that_were_set(write_run: Callable[..., Path]) -> None:
    """A knob with its default is left out, so that a new default changes no baseline."""
    given = {"preset": "toy", "search": {"rollouts": 6}}
    assert baseline_of_run(write_run(given=given)).knobs == {"preset": "toy", "search.rollouts": 6}
    everything = baseline_of_run(write_run("earlier"))
    assert "search.rubrics" in everything.knobs


def test_a_digest_of_all_knobs_in_an_earlier_file_is_passed_over(tmp_path: Path) -> None:
    """A baseline of an earlier version reads as one of this version, and is written without it."""
    path = tmp_path / "b.json"
    text = toy().text()
    path.write_text(text.replace('"conversations":', '"settings":"43",\n"conversations":', 1))
    assert Baseline.read(path) == toy()
    assert "settings" not in Baseline.read(path).text()
