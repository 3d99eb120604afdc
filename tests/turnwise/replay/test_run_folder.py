"""How a run's folder is put in order when the run ends."""

from pathlib import Path

import orjson

from turnwise.replay.app import TurnResult
from turnwise.replay.run_folder import RunFolder


def _result(turn: int, *sequences: int) -> TurnResult:
    rows = [
        {"conversation": "talk", "turn": str(turn), "sequence": sequence} for sequence in sequences
    ]
    return TurnResult({"conversation_id": "talk", "turn": turn, "reply": "Hm."}, rows)


def _finished(folder: RunFolder) -> tuple[list[int], list[int]]:
    """Finish a run of two turns; return turn numbers and sequences as the files list them."""
    folder.finish([("talk", 0), ("talk", 1)])
    folder.close()
    turns, rows = (
        [orjson.loads(line) for line in (folder.path / name).read_bytes().splitlines()]
        for name in ("turns.jsonl", "ledger.jsonl")
    )
    return [turn["turn"] for turn in turns], [row["sequence"] for row in rows]


def test_a_run_in_order_is_not_written_again(tmp_path: Path) -> None:
    """Files that are as they should be keep their inodes."""
    folder = RunFolder(tmp_path / "run", identity={}, details={})
    folder.add(_result(0, 1, 2))
    folder.add(_result(1, 3))
    before = [(folder.path / name).stat().st_ino for name in ("turns.jsonl", "ledger.jsonl")]
    assert _finished(folder) == ([0, 1], [1, 2, 3])
    after = [(folder.path / name).stat().st_ino for name in ("turns.jsonl", "ledger.jsonl")]
    assert after == before


def test_overlapping_turns_are_put_in_order_and_their_calls_numbered(tmp_path: Path) -> None:
    """Whichever turn ended first, files and what the folder holds follow the conversations."""
    folder = RunFolder(tmp_path / "run", identity={}, details={})
    folder.add(_result(1, 2, 4))
    folder.add(_result(0, 1, 3))
    assert _finished(folder) == ([0, 1], [1, 2, 3, 4])
    assert [row["turn"] for row in folder.rows] == ["0", "0", "1", "1"]
    assert [turn["turn"] for turn in folder.turns] == [0, 1]
