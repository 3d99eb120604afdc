"""From a run's folder to a baseline: nothing that was lost passes for a saving."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.turnwise.testing.gate.conftest import rows_of, toy, turns_of
from turnwise.calls.errors import FormatError
from turnwise.testing.gate import Baseline
from turnwise.testing.gate.reading import baseline_of_run

RunWriter = Callable[..., Path]


def test_a_folder_gives_what_its_rows_give(write_run: RunWriter) -> None:
    """The same run, read or in memory, is the same baseline."""
    assert Baseline.of_run(write_run()) == toy(settings="5" * 64)


def test_neither_paths_nor_replies_reach_a_baseline(write_run: RunWriter) -> None:
    """It is committed: it holds figures, knobs and digests only."""
    text = Baseline.of_run(write_run()).text()
    assert "secret" not in text
    assert "hello" not in text
    assert "2026" not in text


def test_a_torn_turn_is_left_out_and_said(write_run: RunWriter) -> None:
    """A killed run ends in half a line: its turn is not finished, and the run is torn."""
    folder = write_run()
    path = folder / "turns.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    found = baseline_of_run(folder)
    assert found.is_torn
    assert found.notices
    assert [turn.key for turn in found.baseline.turns] == [("one", 0), ("one", 1)]


def test_lost_calls_are_no_saving(write_run: RunWriter) -> None:
    """A ledger with fewer calls than its turns say is refused, with the turn."""
    folder = write_run(rows=rows_of()[:-1], turns=turns_of(rows_of()))
    with pytest.raises(FormatError, match=r"turn 0 of 'two' .* 3 and 2 stand here"):
        Baseline.of_run(folder)


def test_a_cut_ledger_is_refused_where_turns_do_not_count(write_run: RunWriter) -> None:
    """Without a count in the turn's line, a half line in the ledger may be a lost call."""
    turns = [{**turn, "asked": None} for turn in turns_of(rows_of())]
    folder = write_run(turns=turns)
    path = folder / "ledger.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(FormatError, match="cut off"):
        Baseline.of_run(folder)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [({"turnwise_run": 9}, "format 9"), ({"identity": {"app": "x", "settings": 3}}, "settings")],
)
def test_a_manifest_that_is_none_is_refused(
    write_run: RunWriter, manifest: dict[str, Any], said: str
) -> None:
    """Another version, or a fact of a wrong type, is named."""
    with pytest.raises(FormatError, match=said):
        Baseline.of_run(write_run(**manifest))


def test_a_run_without_turns_is_refused(write_run: RunWriter, tmp_path: Path) -> None:
    """An empty run, and a folder that is none, hold nothing to gate."""
    with pytest.raises(FormatError, match="no finished turn"):
        Baseline.of_run(write_run(rows=[], turns=[]))
    with pytest.raises(FormatError, match="no such folder"):
        Baseline.of_run(tmp_path / "nowhere")


def test_a_manifest_without_prompts_knows_none(write_run: RunWriter) -> None:
    """An app that does not tell its prompts has unknown ones, not unchanged ones."""
    assert Baseline.of_run(write_run(prompts={})).prompts is None


def test_a_turn_that_stands_twice_is_refused(write_run: RunWriter) -> None:
    """Two lines of one turn would count its calls twice."""
    turns = turns_of(rows_of())
    with pytest.raises(FormatError, match="stands twice"):
        Baseline.of_run(write_run(turns=[*turns, turns[0]]))


@pytest.mark.parametrize(
    ("said", "is_simulated"), [([True] * 13, True), ([True, False] * 7, False)]
)
def test_a_simulated_server_says_so_in_the_ledger(
    write_run: RunWriter, said: list[bool], *, is_simulated: bool
) -> None:
    """The manifest knows of no server: the rows tell, and a mixed run is not simulated."""
    rows = [
        {**row, "outcome": "served", "is_simulated": each}
        for row, each in zip(rows_of(), said, strict=False)
    ]
    turns = [{**turn, "simulated": True} for turn in turns_of(rows)]
    identity = {"app": "toy.app:app", "mode": "new-episodes"}
    found = baseline_of_run(write_run(rows=rows, turns=turns, identity=identity))
    assert found.baseline.is_simulated == found.baseline.is_exact == is_simulated
    assert any("some of the answers" in notice for notice in found.notices) != is_simulated
