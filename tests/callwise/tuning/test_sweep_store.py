"""A sweep's file loses no finished setting, and reads back the same whatever happened."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.calls.errors import ConfigError, FormatError
from callwise.recordings.run_folder import DiskFull
from callwise.tuning.judge.scores import Score, read_scores, write_scores
from callwise.tuning.row import FIELDS, TurnRow
from callwise.tuning.setting import Setting, SettingResult, make_setting
from callwise.tuning.sweep_record import STORE, ReplyText, load_sweep
from callwise.tuning.sweep_store import SweepScores, SweepStore
from callwise.tuning.sweep_workers import run_sweep
from tests.callwise.tuning.scripted_evaluator import ScriptedEvaluator

SETTINGS = tuple(make_setting("balanced", {}, {"search.max_calls": calls}) for calls in (3, 6))
NAMES = tuple(setting.name for setting in SETTINGS)
SMALL = ScriptedEvaluator(conversations=1, turns=1)
SCORE = Score("referee:m", "talk", 0, "a" * 16, 5.2, 1.0, 10.0)
OTHER = Score("human:labels.csv", "=talk\ud800", 1, "b" * 16, 1.0, 0.0, 1.0, kind="label")

Content = tuple[tuple[Setting, ...], tuple[TurnRow, ...], tuple[ReplyText, ...]]


def _open(path: Path, **identity: object) -> SweepStore:
    return SweepStore(path, identity={"sweep": "one", **identity})


def _content(path: Path) -> Content:
    """Return all that a sweep reads back as."""
    record = load_sweep(path)
    return record.settings, tuple(record.rows), tuple(record.replies())


def _finish(path: Path, wanted: Iterable[Setting] = SETTINGS) -> Content:
    """Evaluate what is missing, end the sweep, and return what it reads back as."""
    wanted = tuple(wanted)
    with _open(path) as store:
        run_sweep(wanted, SMALL, store, jobs=1)
        store.finish([setting.name for setting in wanted])
    return _content(path)


def _result(setting: Setting, evaluator: ScriptedEvaluator = SMALL) -> SettingResult:
    return evaluator.evaluate([setting])[0]


def _change(path: Path, query: str, *values: object) -> None:
    """Change a sweep's file by hand."""
    with closing(sqlite3.connect(path / STORE)) as connection, connection:
        connection.execute(query, values)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.callwise.tuning.scripted_evaluator import ScriptedEvaluator
from callwise.tuning.sweep_store import SweepStore
from callwise.tuning.setting import make_setting

first, second = (make_setting("balanced", {}, {"search.max_calls": calls}) for calls in (3, 6))
evaluator = ScriptedEvaluator(conversations=1, turns=1)
store = SweepStore(Path(sys.argv[1]), identity={"sweep": "one"})
store.add(first, evaluator.evaluate([first])[0])
steps = int(sys.argv[2])

def kill() -> int:
    global steps
    steps -= 1
    if not steps:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0

store._connection.set_progress_handler(kill, 1)
store.add(second, evaluator.evaluate([second])[0])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("steps", [pytest.param(1, marks=pytest.mark.slow), 60])
def test_a_killed_process_leaves_whole_settings_only(tmp_path: Path, steps: int) -> None:
    """Killed so many steps of SQLite's machine into a setting, it leaves those before it."""
    path = tmp_path / "sweep"
    whole = _finish(tmp_path / "whole")
    command = [sys.executable, "-c", KILLED, str(path), str(steps)]
    done = subprocess.run(command, check=False, cwd=Path(__file__).parents[3])  # noqa: S603
    assert done.returncode == -signal.SIGKILL
    assert load_sweep(path).settings == SETTINGS[:1]
    assert tuple(load_sweep(path).rows) == _result(SETTINGS[0]).rows
    with _open(path) as store:
        assert store.was_resumed
        assert store.finished == {NAMES[0]}
    assert _finish(path) == whole


class _Interrupting(str):
    """A text during whose writing Ctrl-C arrives."""

    __slots__ = ()

    def encode(self, *_: str) -> bytes:
        raise KeyboardInterrupt


def test_an_interrupt_inside_of_a_setting_drops_that_setting_only(tmp_path: Path) -> None:
    """It arrives in the transaction, after the setting and its rows were written."""
    result = _result(SETTINGS[1])
    interrupting = {name: _Interrupting(text) for name, text in result.replies.items()}
    with _open(tmp_path / "sweep") as store:
        store.add(SETTINGS[0], _result(SETTINGS[0]))
        with pytest.raises(KeyboardInterrupt):
            store.add(SETTINGS[1], replace(result, replies=interrupting))
        assert store.finished == {NAMES[0]}
        assert tuple(store.rows()) == _result(SETTINGS[0]).rows
        store.add(SETTINGS[1], result)
        assert store.finished == set(NAMES)


@settings(deadline=None, derandomize=True, max_examples=20)
@given(order=st.permutations(range(4)), again=st.sets(st.integers(0, 3)))
def test_the_order_in_which_settings_came_does_not_show(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], again: set[int]
) -> None:
    """Nor does a setting that was written twice."""
    four = [make_setting("frugal", {}, {"search.max_calls": calls}) for calls in range(3, 7)]
    path = tmp_path_factory.mktemp("sweep") / "one"
    with _open(path) as store:
        for place in [*order, *sorted(again)]:
            store.add(four[place], _result(four[place]))
        store.finish([setting.name for setting in four])
        assert list(store.settings) == four
    assert _finish(path, four) == _finish(tmp_path_factory.mktemp("sweep") / "two", four)


@pytest.mark.parametrize(
    ("figures", "problem"),
    [
        ("{oops", "row 0 of setting 'search.max_calls=3'"),
        ("[]", "expected .* figures"),
        ('["a", "b"]', "expected .* figures"),
    ],
)
def test_a_row_that_was_changed_is_an_error_with_its_place(
    tmp_path: Path, figures: str, problem: str
) -> None:
    """Nothing is dropped."""
    path = tmp_path / "sweep"
    _finish(path)
    _change(path, "UPDATE row SET figures = ? WHERE setting = 1", figures)
    with pytest.raises(FormatError, match=rf"{STORE}: row 0 of .*{problem}|{problem}"):
        tuple(load_sweep(path).rows)
    with _open(path) as store, pytest.raises(FormatError, match=problem):
        tuple(store.rows())


def test_a_figure_of_another_type_is_named(tmp_path: Path) -> None:
    """The error names the field and the value."""
    path = tmp_path / "sweep"
    _finish(path)
    _change(path, "UPDATE row SET figures = json_set(figures, '$[2]', 'one')")
    with pytest.raises(FormatError, match="turn is 'one', expected int"):
        tuple(load_sweep(path).rows)


def test_knobs_that_were_changed_are_an_error(tmp_path: Path) -> None:
    """The setting is named."""
    path = tmp_path / "sweep"
    _finish(path)
    _change(path, "UPDATE setting SET knobs = '{oops'")
    with pytest.raises(FormatError, match=r"the knobs of 'search.max_calls=3' are not JSON"):
        load_sweep(path)


@pytest.mark.parametrize("content", [b"not a data base at all, but long enough to be one", b"\0"])
def test_another_file_of_that_name_is_an_error(tmp_path: Path, content: bytes) -> None:
    """It is left alone; starting over deletes it."""
    path = tmp_path / "sweep"
    path.mkdir()
    (path / STORE).write_bytes(content * 40)
    for opened in (_open, load_sweep):
        with pytest.raises(FormatError, match=rf"{STORE}: expected"):
            opened(path)
    assert (path / STORE).read_bytes() == content * 40
    SweepStore.clear(path)
    assert not path.exists()


def test_a_damaged_header_is_an_error_that_starting_over_ends(tmp_path: Path) -> None:
    """SQLite takes the file for one that may not be written; --fresh is the way out of it."""
    path = tmp_path / "sweep"
    _finish(path)
    data = bytearray((path / STORE).read_bytes())
    data[18] ^= 0xFF  # the version of the file's format for writing
    (path / STORE).write_bytes(data)
    with pytest.raises(FormatError, match=r"Restore it from a copy, or .* --fresh"):
        _open(path)
    SweepStore.clear(path)
    _finish(path)


def test_a_file_that_was_not_begun_is_begun(tmp_path: Path) -> None:
    """Killed before the first transaction ended, a process leaves an empty file."""
    path = tmp_path / "sweep"
    path.mkdir()
    (path / STORE).touch()
    assert _finish(path) == _finish(tmp_path / "whole")


def test_another_sweep_in_the_folder_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """The error names what differs, and nothing is changed."""
    path = tmp_path / "sweep"
    whole = _finish(path)
    with pytest.raises(ConfigError, match=r"sweep was 'one' and is now 'two'.*--out.*--fresh"):
        _open(path, sweep="two")
    assert _finish(path) == whole


def test_a_folder_that_is_no_sweep_is_refused(tmp_path: Path) -> None:
    """A run, a file, or a folder of photographs."""
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ConfigError, match=r"is not a sweep \(it has 'photo.jpg'"):
        _open(tmp_path)
    with pytest.raises(ConfigError, match="cannot make the folder"):
        _open(tmp_path / "photo.jpg")
    with pytest.raises(ConfigError, match="is not a sweep; nothing was deleted"):
        SweepStore.clear(tmp_path)
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
    with (
        _open(tmp_path / "sweep"),
        pytest.raises(ConfigError, match="is being written by another process"),
    ):
        SweepStore.clear(tmp_path / "sweep")
    assert (tmp_path / "sweep" / STORE).exists()


@pytest.mark.parametrize(
    ("manifest", "command"),
    [
        ("{", "callwise tune RECORDING --grid SWEEP --out sweep --fresh"),
        (
            {"recording_folder": "my run", "spec": {"knobs": {"a.b": [2, "x, y"]}}},
            "callwise tune 'work/my run' --knob 'a.b=2,\"x, y\"' --out sweep --fresh",
        ),
        (
            {"recording_folder": "gone", "spec": {"sampler": "tpe"}, "past": "own", "turns": 3},
            "callwise tune RECORDING --grid SWEEP --past own --max-turns 3 --out sweep --fresh",
        ),
    ],
)
def test_a_sweep_of_the_first_format_is_refused_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: Any, command: str
) -> None:
    """The command has the path as it is from here, and takes over what was judged."""
    (tmp_path / "work/my run").mkdir(parents=True)
    (tmp_path / "work/my run/manifest.json").touch()
    monkeypatch.chdir(tmp_path)
    path = Path("work/sweep")
    path.mkdir()
    if not isinstance(manifest, str):
        identity = {
            "past": manifest.pop("past", "recorded"),
            "max_turns": manifest.pop("turns", None),
        }
        manifest = json.dumps({"callwise_sweep": 1, "identity": identity, **manifest})
    (path / "sweep.json").write_text(manifest)
    (path / "rows.jsonl").write_text("{}\n")
    write_scores(path / "scores.csv", [SCORE])
    for opened in (_open, load_sweep):
        with pytest.raises(ConfigError) as refused:
            opened(path)
        assert f"`{command.replace('sweep --fresh', 'work/sweep --fresh')}`" in str(refused.value)
        assert ("is not found from here" in str(refused.value)) == ("RECORDING" in command)
    assert (path / "rows.jsonl").exists()
    SweepStore.clear(path)
    assert [item.name for item in path.iterdir()] == ["scores.csv"]
    _finish(path)
    with SweepScores(path) as scores:
        scores.add([OTHER])
    assert read_scores(path / "scores.csv").scores == (OTHER, SCORE)


def test_a_sweep_whose_rows_have_an_earlier_name_is_read(tmp_path: Path) -> None:
    """The column was renamed."""
    path = tmp_path / "sweep"
    _finish(path)
    rows = list(load_sweep(path).rows)
    earlier = json.dumps([{"coverage": "standing"}.get(name, name) for name in FIELDS])
    _change(path, "UPDATE manifest SET value = ? WHERE name = 'row_fields'", earlier)
    assert list(load_sweep(path).rows) == rows
    with _open(path) as store:
        assert list(store.rows()) == rows


@pytest.mark.parametrize("name", ["callwise_sweep", "identity", "row_fields"])
def test_a_manifest_of_another_version_is_an_error_with_the_way_out(
    tmp_path: Path, name: str
) -> None:
    """Its format, its fields or its identity."""
    path = tmp_path / "sweep"
    _finish(path)
    _change(path, "UPDATE manifest SET value = '9' WHERE name = ?", name)
    with pytest.raises(FormatError, match=r"which this version does not read.*--fresh"):
        _open(path)
    _change(path, "DELETE FROM manifest WHERE name = ?", name)
    with pytest.raises(FormatError, match=r"this version does not read|has no manifest"):
        load_sweep(path)


def _judge_and_stop(path: Path) -> None:
    with SweepScores(path) as scores:
        scores.add([SCORE])
        raise KeyboardInterrupt


def test_clearing_keeps_what_was_judged(tmp_path: Path) -> None:
    """Scores were paid for: also those that were not exported, since judging was stopped."""
    path = tmp_path / "sweep"
    _finish(path)
    with pytest.raises(KeyboardInterrupt):
        _judge_and_stop(path)
    assert not (path / "scores.csv").exists()
    SweepStore.clear(path)
    assert [item.name for item in path.iterdir()] == ["scores.csv"]
    assert read_scores(path / "scores.csv").scores == (SCORE,)
    _finish(path)
    (path / "scores.csv").unlink()
    SweepStore.clear(path)
    (path / "scores.csv").unlink()
    path.rmdir()
    SweepStore.clear(path)


def test_scores_are_stored_as_they_come_and_exported_in_order(tmp_path: Path) -> None:
    """Of two with one key the later counts, and the export does not show the order."""
    path = tmp_path / "sweep"
    with _open(path), SweepScores(path) as scores:  # while the sweep is being written
        scores.add([replace(SCORE, value=1.0)])
        scores.add([SCORE])
    with SweepScores(path) as scores:
        scores.add([OTHER])
    assert read_scores(path / "scores.csv").scores == (OTHER, SCORE)
    before = (path / "scores.csv").read_bytes()
    with SweepScores(path) as scores:
        scores.add([OTHER, SCORE])
    assert (path / "scores.csv").read_bytes() == before


def test_a_table_of_scores_that_is_none_is_left_alone(tmp_path: Path) -> None:
    """Nothing is written over it, and starting over does not lose what the store has."""
    path = tmp_path / "sweep"
    _finish(path)
    (path / "scores.csv").write_text("some words")
    with pytest.raises(FormatError, match=r"scores\.csv"):
        SweepScores(path)
    with pytest.raises(FormatError, match=r"scores\.csv"):
        SweepStore.clear(path)
    assert (path / "scores.csv").read_text() == "some words"
    assert (path / STORE).exists()


def test_the_manifest_keeps_its_descriptions(tmp_path: Path) -> None:
    """Descriptions never replace the identity, and survive a restart."""
    path = tmp_path / "sweep"
    with SweepStore(path, identity={"sweep": "one"}, details={"simulated": True}) as store:
        store.describe({"identity": "gone", "settings": 2})
    with SweepStore(path, identity={"sweep": "one"}, details={"started": "now"}) as store:
        store.describe({"ended": "now"})
    manifest = dict(load_sweep(path).manifest)
    assert "asked" in manifest.pop("row_fields")
    assert manifest == {
        "callwise_sweep": 2,
        "identity": {"sweep": "one"},
        "simulated": True,
        "settings": 2,
        "started": "now",
        "ended": "now",
    }


def test_a_record_shows_what_is_stored_without_changing_it(tmp_path: Path) -> None:
    """Also while the sweep is being written, and without what is not committed."""
    path = tmp_path / "sweep"
    failing = ScriptedEvaluator(failing=frozenset(NAMES[1:]))
    with _open(path) as store:
        run_sweep(SETTINGS, failing, store, jobs=1)
        store._connection.execute("DELETE FROM row")  # begins a transaction
        before = (path / STORE).read_bytes()
        record = load_sweep(path)
        assert record.settings == SETTINGS[:1]
        assert record.errors == {NAMES[1]: "scripted: it cannot run"}
        assert tuple(record.rows) == _result(SETTINGS[0], failing).rows
        assert len(record.rows) == 6
        texts = {reply.reply_id: reply.text for reply in record.replies()}
        assert texts == record.texts() == _result(SETTINGS[0], failing).replies
        assert (path / STORE).read_bytes() == before


def test_rows_come_back_as_they_were_and_in_the_order_wanted(tmp_path: Path) -> None:
    """Names that are not stored are left out."""
    with _open(tmp_path / "sweep") as store:
        for setting in SETTINGS:
            store.add(setting, _result(setting))
        rows = store.rows([NAMES[1], "absent", NAMES[0]])
        assert tuple(rows) == (*_result(SETTINGS[1]).rows, *_result(SETTINGS[0]).rows)
        assert tuple(rows) == tuple(rows)
        assert len(rows) == 2


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
    with _open(tmp_path / "sweep") as store:
        with pytest.raises(ValueError, match=r"got rows of|two rows of one turn|is nan"):
            store.add(SETTINGS[0], SettingResult(NAMES[0], rows, replies={row.reply_id: "x"}))
        assert not store.finished
    assert _content(tmp_path / "sweep") == ((), (), ())


def test_equal_replies_are_stored_once_and_named_after_the_first_row(tmp_path: Path) -> None:
    """In the order of the settings, whichever wrote it first. Texts of no row are dropped."""
    path = tmp_path / "sweep"
    rows = [replace(_result(setting).rows[0], reply_id="a" * 16) for setting in SETTINGS]
    rows[0] = replace(rows[0], conversation="first", turn=7)
    with _open(path) as store:
        for place in (1, 0):
            texts = {"a" * 16: "Hm. \ud800", "b" * 16: "of no row"}
            store.add(SETTINGS[place], SettingResult(NAMES[place], (rows[place],), replies=texts))
        store.finish(NAMES)
    (reply,) = load_sweep(path).replies()
    assert reply == ReplyText("a" * 16, "first", 7, "Hm. \ufffd")
    assert json.loads((path / "replies.jsonl").read_bytes()) == asdict(reply)


def test_replies_that_no_row_has_any_more_are_deleted(tmp_path: Path) -> None:
    """A setting that is evaluated again may give others."""
    path = tmp_path / "sweep"
    (row,) = _result(SETTINGS[0]).rows
    with _open(path) as store:
        for name in ("a" * 16, "b" * 16):
            changed = (replace(row, reply_id=name),)
            store.add(SETTINGS[0], SettingResult(NAMES[0], changed, replies={name: name[0]}))
        store.finish(NAMES)
    assert load_sweep(path).texts() == {"b" * 16: "b"}


def test_rows_are_put_in_order_of_conversation_and_turn(tmp_path: Path) -> None:
    """Conversations as they first appear, turns by number."""
    setting = SETTINGS[0]
    rows = _result(setting, ScriptedEvaluator(conversations=2, turns=3)).rows
    mixed = (rows[4], rows[1], rows[3], rows[0], rows[5], rows[2])
    with _open(tmp_path / "sweep") as store:
        store.add(setting, SettingResult(setting.name, mixed))
        shown = [(row.conversation, row.turn) for row in store.rows()]
    assert shown == [(name, turn) for name in ("talk-1", "talk-0") for turn in range(3)]


def test_a_full_disk_leaves_whole_settings_only(tmp_path: Path) -> None:
    """The error names the remedy, and the setting is stored once there is space again."""
    path = tmp_path / "sweep"
    large = _result(SETTINGS[1], ScriptedEvaluator(conversations=40, turns=5))
    with _open(path) as store:
        store.add(SETTINGS[0], _result(SETTINGS[0]))
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(DiskFull, match="run the same command again"):
            store.add(SETTINGS[1], large)
        assert store.finished == {NAMES[0]}
        assert tuple(store.rows()) == _result(SETTINGS[0]).rows
        store._connection.execute("PRAGMA max_page_count = 100000")
        store.add(SETTINGS[1], large)
        assert store.finished == set(NAMES)


def test_a_file_that_may_not_be_read_is_a_clear_error(tmp_path: Path) -> None:
    """It names the file; a folder of that name is such a one."""
    (tmp_path / "sweep" / STORE).mkdir(parents=True)
    with pytest.raises(ConfigError, match=rf"cannot read or write .*{STORE}"):
        _open(tmp_path / "sweep")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
def test_only_the_owner_may_read_the_replies(tmp_path: Path) -> None:
    """Replies are in the file."""
    _finish(tmp_path / "sweep")
    assert os.stat(tmp_path / "sweep" / STORE).st_mode & 0o777 == 0o600  # noqa: PTH116
