"""A sweep's folder loses no finished setting, and ends in the same bytes whatever happened."""

import errno
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnwise.calls.errors import ConfigError, FormatError
from turnwise.replay.run_folder import DiskFull
from turnwise.testing.fake_evaluator import ScriptedEvaluator
from turnwise.tune.sweeps.appended_file import AppendedFile
from turnwise.tune.sweeps.evaluating import Setting, SettingResult
from turnwise.tune.sweeps.reply_file import ReplyFile
from turnwise.tune.sweeps.running import run_sweep
from turnwise.tune.sweeps.setting import make_setting
from turnwise.tune.sweeps.sweep_folder import SweepFolder
from turnwise.tune.sweeps.sweep_record import load_sweep

SETTINGS = tuple(make_setting("balanced", {}, {"search.max_calls": calls}) for calls in (3, 6))
NAMES = tuple(setting.name for setting in SETTINGS)
SMALL = ScriptedEvaluator(conversations=1, turns=1)


def _open(path: Path, **identity: object) -> SweepFolder:
    return SweepFolder(path, identity={"sweep": "one", **identity})


def _finish(path: Path, wanted: Iterable[Setting] = SETTINGS) -> dict[str, bytes]:
    """Evaluate what is missing, end the sweep, and return its bytes."""
    wanted = tuple(wanted)
    with _open(path) as folder:
        run_sweep(wanted, SMALL, folder, jobs=1)
        folder.finish([setting.name for setting in wanted])
    return {name: (path / name).read_bytes() for name in ("rows.jsonl", "replies.jsonl")}


def _result(setting: Setting, evaluator: ScriptedEvaluator = SMALL) -> SettingResult:
    return evaluator.evaluate([setting])[0]


@pytest.mark.parametrize("name", ["rows.jsonl", "replies.jsonl"])
@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 61])
def test_a_file_cut_at_any_byte_is_completed_to_the_same_bytes(
    tmp_path: Path, name: str, step: int
) -> None:
    """Whatever a killed process left behind, nothing that stands is evaluated again.

    The slow one cuts at every byte, the other here and there and around every line's end.
    """
    path = tmp_path / "sweep"
    whole = _finish(path)
    commits = [place + 1 for place, byte in enumerate(whole[name]) if byte == ord("\n")]
    # In the journal every second line is a commit; each reply belongs to one setting.
    ends = commits[1::2] if name == "rows.jsonl" else commits
    size = len(whole[name])
    edges = {edge + by for edge in commits for by in (-1, 0, 1) if edge + by < size}
    for cut in sorted({*range(0, size, step), *edges}):
        (path / name).write_bytes(whole[name][:cut])
        with _open(path) as folder:
            assert len(folder.finished) == sum(end <= cut for end in ends)
        assert _finish(path) == whole


@settings(deadline=None, derandomize=True, max_examples=20)
@given(order=st.permutations(range(4)), again=st.sets(st.integers(0, 3)))
def test_the_order_in_which_settings_came_does_not_show(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], again: set[int]
) -> None:
    """Nor does a setting that was written twice."""
    four = [make_setting("frugal", {}, {"search.max_calls": calls}) for calls in range(3, 7)]
    path = tmp_path_factory.mktemp("sweep") / "one"
    with _open(path) as folder:
        for place in [*order, *sorted(again)]:
            folder.add(four[place], _result(four[place]))
        folder.finish([setting.name for setting in four])
        assert list(folder.settings) == four
    assert _finish(path, four) == _finish(tmp_path_factory.mktemp("sweep") / "two", four)


def test_half_written_settings_are_dropped_and_said(tmp_path: Path) -> None:
    """The note names the file; a whole folder has no notes."""
    path = tmp_path / "sweep"
    whole = _finish(path)
    with _open(path) as folder:
        assert folder.was_resumed
        assert folder.notes == []
    (path / "rows.jsonl").write_bytes(whole["rows.jsonl"][:-5])
    with _open(path) as folder:
        assert len(folder.notes) == 1
        assert "ended in a setting that was not finished" in folder.notes[0]
    assert _finish(path) == whole
    (path / "replies.jsonl").unlink()
    with _open(path) as folder:
        assert not folder.finished
        assert f"lacks replies of setting {NAMES[0]!r}" in folder.notes[0]


@pytest.mark.parametrize("line", [b"{oops}\n", b"[]\n", b'{"setting": "x"}\n', b"\xff\n", b"\n"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_damaged_line_is_an_error_with_its_number(
    tmp_path: Path, line: bytes, place: int
) -> None:
    """A line that ends was not cut off: somebody changed the file, and nothing is dropped."""
    path = tmp_path / "sweep"
    _finish(path)
    lines = (path / "rows.jsonl").read_bytes().splitlines(keepends=True)
    lines[place] = line
    damaged = b"".join(lines)
    (path / "rows.jsonl").write_bytes(damaged)
    for opened in (_open, load_sweep):
        with pytest.raises(FormatError, match=rf"rows\.jsonl:{place + 1}: expected a row"):
            opened(path)
    assert (path / "rows.jsonl").read_bytes() == damaged


def test_a_commit_that_does_not_fit_its_rows_is_an_error(tmp_path: Path) -> None:
    """A row that somebody took out is missed."""
    path = tmp_path / "sweep"
    _finish(path)
    lines = (path / "rows.jsonl").read_bytes().splitlines(keepends=True)
    (path / "rows.jsonl").write_bytes(b"".join(lines[1:]))
    with pytest.raises(FormatError, match=r":1: .*says 1 rows, and 0 stand before it"):
        _open(path)


def test_a_commit_of_another_settings_rows_is_an_error(tmp_path: Path) -> None:
    """The setting would be evaluated again, and its rows would be there twice."""
    path = tmp_path / "sweep"
    _finish(path)
    rows = path / "rows.jsonl"
    rows.write_bytes(re.sub(rb'"committed":"[^"]*"', b'"committed":"other"', rows.read_bytes()))
    with pytest.raises(FormatError, match=r":2: .*'other' has rows of "):
        _open(path)


def test_a_damaged_reply_is_an_error_with_its_line(tmp_path: Path) -> None:
    """As in the journal."""
    path = tmp_path / "sweep"
    _finish(path)
    with (path / "replies.jsonl").open("ab") as file:
        file.write(b'{"reply_id": 1}\n')
    with pytest.raises(FormatError, match=r"replies\.jsonl:3: expected one reply text"):
        _open(path)


def test_another_sweep_in_the_folder_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """The error says what differs, and nothing is changed."""
    path = tmp_path / "sweep"
    whole = _finish(path)
    with pytest.raises(ConfigError, match=r"sweep was 'one' and is now 'two'.*--out.*--fresh"):
        _open(path, sweep="two")
    assert _finish(path) == whole


def test_a_folder_that_is_no_sweep_is_refused(tmp_path: Path) -> None:
    """A run, a file, or somebody's holiday photographs."""
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ConfigError, match=r"is not a sweep \(it holds 'photo.jpg'"):
        _open(tmp_path)
    with pytest.raises(ConfigError, match="cannot make the folder"):
        _open(tmp_path / "photo.jpg")
    with pytest.raises(ConfigError, match="is not a sweep; nothing was deleted"):
        SweepFolder.clear(tmp_path)
    with pytest.raises(ConfigError, match="is not a sweep"):
        load_sweep(tmp_path)
    assert (tmp_path / "photo.jpg").exists()


def test_a_folder_that_is_being_written_is_refused(tmp_path: Path) -> None:
    """One process at a time."""
    with (
        _open(tmp_path / "sweep"),
        pytest.raises(ConfigError, match="is being written by another process"),
    ):
        _open(tmp_path / "sweep")


@pytest.mark.parametrize("manifest", [b"", b"[]", b"{}", b'{"turnwise_sweep": 1, "identity": 3}'])
def test_a_manifest_that_is_none_is_an_error(tmp_path: Path, manifest: bytes) -> None:
    """So is one of another version, which is named."""
    path = tmp_path / "sweep"
    path.mkdir()
    (path / "sweep.json").write_bytes(manifest)
    with pytest.raises(FormatError, match="expected a sweep manifest"):
        _open(path)
    (path / "sweep.json").write_bytes(b'{"turnwise_sweep": 9, "identity": {}}')
    with pytest.raises(FormatError, match="is of format 9, this Turnwise reads 1"):
        _open(path)


def test_clearing_keeps_what_was_judged(tmp_path: Path) -> None:
    """Scores were paid for; a new sweep may begin beside them."""
    path = tmp_path / "sweep"
    _finish(path)
    (path / "scores.csv").write_text("paid for")
    SweepFolder.clear(path)
    assert [item.name for item in path.iterdir()] == ["scores.csv"]
    _finish(path)
    (path / "scores.csv").unlink()
    SweepFolder.clear(path)
    assert not path.exists()
    SweepFolder.clear(path)


def test_the_manifest_says_what_it_was_told(tmp_path: Path) -> None:
    """Descriptions never replace the identity, and survive a restart."""
    path = tmp_path / "sweep"
    with SweepFolder(path, identity={"sweep": "one"}, details={"simulated": True}) as folder:
        folder.describe({"identity": "gone", "settings": 2})
    with SweepFolder(path, identity={"sweep": "one"}, details={"started": "now"}) as folder:
        folder.describe({"ended": "now"})
    assert load_sweep(path).manifest == {
        "turnwise_sweep": 1,
        "identity": {"sweep": "one"},
        "simulated": True,
        "settings": 2,
        "started": "now",
        "ended": "now",
    }


def test_a_record_shows_what_stands_without_changing_it(tmp_path: Path) -> None:
    """Also while the sweep is being written, and also its end that is half-written."""
    path = tmp_path / "sweep"
    failing = ScriptedEvaluator(failing=frozenset(NAMES[1:]))
    with _open(path) as folder:
        run_sweep(SETTINGS, failing, folder, jobs=1)
        with (path / "rows.jsonl").open("ab") as file:
            file.write(b'{"setting": "half')
        record = load_sweep(path)
        assert record.settings == SETTINGS[:1]
        assert record.errors == {NAMES[1]: "scripted: it cannot run"}
        assert tuple(record.rows) == _result(SETTINGS[0], failing).rows
        assert len(record.rows) == 6
        texts = {reply.reply_id: reply.text for reply in record.replies()}
        assert texts == _result(SETTINGS[0], failing).replies
    assert (path / "rows.jsonl").read_bytes().endswith(b'{"setting": "half')


def test_rows_come_back_as_they_were_and_in_the_order_wanted(tmp_path: Path) -> None:
    """Names that do not stand there are left out."""
    with _open(tmp_path / "sweep") as folder:
        for setting in SETTINGS:
            folder.add(setting, _result(setting))
        rows = folder.rows([NAMES[1], "absent", NAMES[0]])
        assert tuple(rows) == (*_result(SETTINGS[1]).rows, *_result(SETTINGS[0]).rows)
        assert tuple(rows) == tuple(rows)


@pytest.mark.parametrize("fault", ["stranger", "twice", "nan"])
def test_rows_that_do_not_fit_are_refused_and_nothing_is_written(
    tmp_path: Path, fault: str
) -> None:
    """Rows of another setting, two of one turn, a figure that is no number."""
    row = _result(SETTINGS[0]).rows[0]
    rows = {
        "stranger": (replace(row, setting="x"),),
        "twice": (row, row),
        "nan": (replace(row, quality=float("nan")),),
    }[fault]
    with _open(tmp_path / "sweep") as folder:
        with pytest.raises(ValueError, match=r"got rows of|two rows of one turn|is nan"):
            folder.add(SETTINGS[0], SettingResult(NAMES[0], rows, replies={row.reply_id: "x"}))
        assert not folder.finished
    assert not (tmp_path / "sweep" / "rows.jsonl").read_bytes()
    assert not (tmp_path / "sweep" / "replies.jsonl").read_bytes()


def test_equal_replies_are_kept_once_and_named_after_the_first_row(tmp_path: Path) -> None:
    """In the order of the settings, whichever wrote it first. Texts nobody has are dropped."""
    rows = [replace(_result(setting).rows[0], reply_id="a" * 16) for setting in SETTINGS]
    rows[0] = replace(rows[0], conversation="first", turn=7)
    with _open(tmp_path / "sweep") as folder:
        for place in (1, 0):
            texts = {"a" * 16: "Hm. \ud800", "b" * 16: "nobody's"}
            folder.add(SETTINGS[place], SettingResult(NAMES[place], (rows[place],), replies=texts))
        folder.finish(NAMES)
        assert folder.replies.text("a" * 16) == "Hm. \ufffd"
        assert folder.replies.text("b" * 16) is None
    lines = (tmp_path / "sweep" / "replies.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line) for line in lines] == [
        {"reply_id": "a" * 16, "conversation": "first", "turn": 7, "text": "Hm. \ufffd"}
    ]


def test_rows_are_put_in_order_of_conversation_and_turn(tmp_path: Path) -> None:
    """Conversations as they first appear, turns by number."""
    setting = SETTINGS[0]
    rows = _result(setting, ScriptedEvaluator(conversations=2, turns=3)).rows
    mixed = (rows[4], rows[1], rows[3], rows[0], rows[5], rows[2])
    with _open(tmp_path / "sweep") as folder:
        folder.add(setting, SettingResult(setting.name, mixed))
        shown = [(row.conversation, row.turn) for row in folder.rows()]
    assert shown == [(name, turn) for name in ("talk-1", "talk-0") for turn in range(3)]


def test_a_full_disk_leaves_whole_pieces_only(tmp_path: Path) -> None:
    """What was written of a piece is cut off again, and the error says what to do."""

    class _Full:
        """Takes three bytes, then has no room."""

        def __init__(self, path: Path) -> None:
            self.path, self.room = path, 3

        def write(self, data: memoryview) -> int:
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            taken, self.room = bytes(data[: self.room]), 0
            with self.path.open("ab") as file:
                return file.write(taken)

    file = AppendedFile(tmp_path / "rows", 0)
    file.append(b"first\n")
    file.close()
    file._file = _Full(tmp_path / "rows")
    with pytest.raises(DiskFull, match="run the same command again"):
        file.append(b"second\n")
    assert (tmp_path / "rows").read_bytes() == b"first\n"
    assert file.end_byte == 6


def test_a_reply_file_goes_on_after_its_last_whole_line(tmp_path: Path) -> None:
    """A torn line is cut off before anything is written behind it."""
    path = tmp_path / "replies.jsonl"
    row = _result(SETTINGS[0]).rows[0]
    replies = ReplyFile(path)
    assert replies.add([row], {row.reply_id: "Hm."}) == 1
    replies.close()
    os.truncate(path, path.stat().st_size - 1)
    replies = ReplyFile(path)
    assert replies.add([row], {}) == 0
    assert replies.add([row], {row.reply_id: "Hm."}) == 1
    assert replies.text(row.reply_id) == "Hm."
    replies.close()
    assert len(path.read_bytes().splitlines()) == 1
