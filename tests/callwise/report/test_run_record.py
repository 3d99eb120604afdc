"""Reading a run's folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callwise.budget.usage import JSON_NAMES
from callwise.calls.errors import FormatError
from callwise.report import load_run

RunWriter = Callable[..., Path]


def test_a_run_is_read_whole(write_run: RunWriter) -> None:
    """Turns, calls and plan come back, with nothing to say about them."""
    run = load_run(write_run())
    assert [turn.key for turn in run.turns] == [("one", 0), ("one", 1)]
    assert [row.turn_key for row in run.rows] == [("one", 0)] * 3 + [("one", 1)]
    assert run.plan is not None
    assert (run.plan["preset"], run.is_simulated, run.notices) == ("toy", True, ())


def test_every_counted_quantity_is_read(
    write_run: RunWriter, call_row: Callable[..., dict[str, Any]]
) -> None:
    """A field of `Usage` needs no line in the report: what a row has of it comes back."""
    spent = {name: number / 4 for number, name in enumerate(JSON_NAMES, start=1)}
    spent |= {
        name: int(4 * n) for name, n in spent.items() if not name.endswith(("usd", "seconds"))
    }
    (row,) = load_run(write_run([call_row(**spent)])).rows
    assert row.usage.to_json() == spent
    assert all(getattr(row.usage, name) == value for name, value in spent.items())


@pytest.mark.parametrize("value", [-1, None, "many"])
def test_a_count_that_is_none_is_named(
    write_run: RunWriter, call_row: Callable[..., dict[str, Any]], value: Any
) -> None:
    """With its file and line."""
    with pytest.raises(FormatError, match=r"ledger\.jsonl:1: cached_tokens: "):
        load_run(write_run([call_row(cached_tokens=value)]))


def test_requests_that_no_run_counted_as_sent_were_sent_unless_replayed(
    write_run: RunWriter, call_row: Callable[..., dict[str, Any]]
) -> None:
    """So older runs have the figure too."""
    rows = [call_row(requests=2), call_row(outcome="replayed", requests=3)]
    assert [row.usage.sent for row in load_run(write_run(rows)).rows] == [2, 0]


def test_a_cut_last_line_is_recovered_and_said(write_run: RunWriter) -> None:
    """A killed process loses half a line, and the turn that was not finished."""
    folder = write_run()
    turns = folder / "turns.jsonl"
    turns.write_bytes(turns.read_bytes()[:-20])
    run = load_run(folder)
    assert [turn.turn for turn in run.turns] == [0]
    assert len(run.rows) == 3
    assert "turns.jsonl: the last line is cut off" in run.notices[0]
    assert "1 calls are of turns that were not finished" in run.notices[1]


def test_a_run_of_the_earlier_name_is_read(write_run: RunWriter) -> None:
    """The project was called Turnwise before; only the mark of its manifest differs."""
    path = write_run() / "manifest.json"
    path.write_text(path.read_text("utf-8").replace("callwise_run", "turnwise_run"), "utf-8")
    assert load_run(path.parent).turns


def test_counts_that_disagree_are_said(write_run: RunWriter) -> None:
    """A turn that records more calls than its ledger has is named."""
    turn = {"conversation_id": "one", "turn": 0, "reply": "x", "asked": 7}
    (notice,) = load_run(write_run(turns=[turn, {**turn, "turn": 1, "asked": 1}])).notices
    assert "turn 0 of 'one' records 7 calls and the ledger has 3" in notice


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("manifest.json", "{", "expected a run's manifest as JSON"),
        ("manifest.json", "[]", "with `callwise_run`"),
        ("manifest.json", '{"callwise_run": 9}', "is of format 9, this Callwise reads 1"),
        ("turns.jsonl", "{}\n", r"turns\.jsonl:1: conversation_id: Field required"),
        ("turns.jsonl", "\n[" * 5000 + "\n", r"turns\.jsonl:2: expected one JSON object"),
        ("ledger.jsonl", '\n{"role": "king"}\n', r"ledger\.jsonl:2: role: Input should be"),
        ("ledger.jsonl", "\n3\n", r"ledger\.jsonl:2: line: Input should be"),
    ],
)
def test_what_cannot_be_read_is_named(
    write_run: RunWriter, name: str, text: str, message: str
) -> None:
    """Every bad file ends in one error with its file, line and expectation."""
    folder = write_run()
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=message):
        load_run(folder)


def test_bytes_that_are_no_text_are_named(write_run: RunWriter) -> None:
    """A file in another encoding is an error of its line."""
    folder = write_run()
    (folder / "turns.jsonl").write_bytes(b"\xff\xfe{}\n")
    with pytest.raises(FormatError, match=r"turns\.jsonl:1: expected one JSON object"):
        load_run(folder)


@pytest.mark.parametrize("name", ["manifest.json", "turns.jsonl", "ledger.jsonl"])
def test_a_missing_file_is_named(write_run: RunWriter, name: str) -> None:
    """A folder that lacks a file is no run."""
    folder = write_run()
    (folder / name).unlink()
    with pytest.raises(FormatError, match=f"{name}: there is no such file"):
        load_run(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A path that is no folder is said to be none."""
    with pytest.raises(FormatError, match="there is no such folder"):
        load_run(tmp_path / "nowhere")


def test_an_empty_run_is_a_run(write_run: RunWriter) -> None:
    """A run whose first turn is not finished has no turns."""
    folder = write_run()
    for name in ("turns.jsonl", "ledger.jsonl"):
        (folder / name).write_bytes(b"")
    run = load_run(folder)
    assert (run.turns, run.rows, run.notices) == ((), (), ())


def test_the_manifest_may_have_no_plan(write_run: RunWriter) -> None:
    """A run of an app that plans nothing is read all the same."""
    folder = write_run()
    (folder / "manifest.json").write_text(json.dumps({"callwise_run": 1}), encoding="utf-8")
    assert load_run(folder).plan is None
