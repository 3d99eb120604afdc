"""Order of a run's folder at the end of the run."""

import shutil
import tracemalloc
from pathlib import Path

import orjson
import pytest

from callwise.calls.errors import ConfigError, FormatError
from callwise.recordings.app_protocol import TurnResult
from callwise.recordings.run_folder import RunFolder, RunFolderGone


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


def test_what_a_run_writes_is_its_owners_alone(tmp_path: Path) -> None:
    """It holds what people said."""
    folder = RunFolder(tmp_path / "runs" / "run", identity={}, details={})
    folder.add(_result(0, 2))
    folder.finish([("talk", 0)])
    folder.close()
    assert folder.path.stat().st_mode & 0o777 == 0o700
    modes = {item.name: item.stat().st_mode & 0o777 for item in folder.path.iterdir()}
    assert set(modes) == {".lock", "manifest.json", "turns.jsonl", "ledger.jsonl"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_folder_that_is_deleted_meanwhile_is_an_error(tmp_path: Path, is_replaced: bool) -> None:
    """What is written to a deleted file is nowhere, and the run must not end well."""
    folder = RunFolder(tmp_path / "run", identity={}, details={})
    folder.add(_result(0, 1))
    shutil.rmtree(folder.path)
    if is_replaced:
        RunFolder(tmp_path / "run", identity={}, details={}).close()
    with pytest.raises(RunFolderGone, match=r"turns\.jsonl was deleted or replaced"):
        folder.add(_result(1, 2))
    with pytest.raises(RunFolderGone, match="Run the same command again"):
        folder.finish([("talk", 0), ("talk", 1)])
    folder.close()


def test_a_folder_that_is_being_written_is_not_cleared(tmp_path: Path) -> None:
    """A run that starts over in the folder of a running one is refused."""
    folder = RunFolder(tmp_path / "run", identity={}, details={})
    folder.add(_result(0, 1))
    with pytest.raises(ConfigError, match="is being written by another process"):
        RunFolder.clear(folder.path)
    assert _finished(folder) == ([0], [1])
    RunFolder.clear(folder.path)
    assert not folder.path.exists()


def test_other_knobs_are_named_with_both_values(tmp_path: Path) -> None:
    """Two digests say nothing to a person."""
    before = {"search": {"rollouts": 4, "policy": "auto"}, "budget": {}}
    now = {"search": {"rollouts": 1, "policy": "auto"}, "budget": {"max_calls": 5}}
    first = {"app": "a:app", "settings": "d1", "conversations": "c1"}
    RunFolder(tmp_path / "run", identity=first, details={"knobs": before}).close()
    with pytest.raises(ConfigError) as caught:
        RunFolder(tmp_path / "run", identity={**first, "settings": "d2"}, details={"knobs": now})
    text = str(caught.value)
    assert "the knob search.rollouts was 4 and is now 1" in text
    assert "the knob budget.max_calls was not set and is now 5" in text
    assert "policy" not in text
    assert "d1" not in text
    with pytest.raises(ConfigError, match="its conversations were others, or their texts"):
        RunFolder(tmp_path / "run", identity={**first, "conversations": "c2"}, details={})


def test_a_run_needs_what_its_app_kept(tmp_path: Path) -> None:
    """A memory that is gone, or empty, is not a memory of nothing."""
    identity = {"app": "a:app"}
    folder = RunFolder(tmp_path / "run", identity=identity, details={})
    memory = folder.path / "memory.sqlite"
    memory.write_bytes(b"what was said")
    folder.add(_result(0, 1))
    folder.close()

    def check() -> None:
        again = RunFolder(folder.path, identity=identity, details={})
        try:
            again.check_app_files()
        finally:
            again.close()

    check()
    for spoil in (lambda: memory.write_bytes(b""), memory.unlink):
        spoil()
        with pytest.raises(ConfigError, match=r"1 finished turns, but memory\.sqlite is gone"):
            check()


def test_a_long_run_keeps_no_turn_in_memory(tmp_path: Path) -> None:
    """Ten thousand turns take no more memory than ten, but for their names."""
    folder = RunFolder(tmp_path / "run", identity={}, details={})
    text = "word " * 400

    def add(turn: int) -> None:
        record = {"conversation_id": "talk", "turn": turn, "reply": f"{text}{turn}"}
        folder.add(TurnResult(record, [{"conversation": "talk", "turn": str(turn)}]))

    add(0)
    tracemalloc.start()
    try:
        for turn in range(1, 501):
            add(turn)
        grown_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        folder.close()
    assert grown_bytes < 500 * 600


@pytest.mark.parametrize("name", ["turns.jsonl", "ledger.jsonl"])
@pytest.mark.parametrize("line", [b"{}", b"[1]", b"7", b'{"conversation":"a","turn":"x"}'])
def test_a_line_that_is_no_row_is_an_error(tmp_path: Path, name: str, line: bytes) -> None:
    """A folder that was edited by hand is named with file and line, not with a traceback."""
    folder = RunFolder(tmp_path / "run", identity={}, details={})
    folder.add(_result(0, 1))
    folder.close()
    path = tmp_path / "run" / name
    path.write_bytes(path.read_bytes() + line + b"\n")

    with pytest.raises(FormatError, match=rf"{name}:2: expected a row of a run"):
        RunFolder(tmp_path / "run", identity={}, details={})
