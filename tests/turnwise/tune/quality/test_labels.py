"""People's labels from a CSV file."""

from pathlib import Path
from typing import Any

import pytest

from turnwise.calls import FormatError
from turnwise.tune.quality.labels import read_labels
from turnwise.tune.row import TurnRow, reply_id

TEXT = 'Hm, "really"?\nTell me.'


@pytest.fixture
def rows(row_of: Any) -> list[TurnRow]:
    """Two settings on two turns; on turn 1 both give the same reply."""
    odd = reply_id(TEXT)
    return [
        row_of("frugal", "a" * 16, 0),
        row_of("classic", "b" * 16, 0),
        row_of("frugal", odd, 1),
        row_of("classic", odd, 1),
        row_of("frugal", "c" * 16, 0, conversation="=1+1"),
    ]


def _write(folder: Path, text: str, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_labels_join_by_reply_id(tmp_path: Path, rows: list[TurnRow]) -> None:
    """One score a reply and rater, under the file's name, on the file's scale."""
    path = _write(
        tmp_path,
        "conversation,turn,reply_id,value,rater,scale,note\n"
        f"talk,0,{'a' * 16},4,bo,1-5,good\n"
        f"talk,0,{'a' * 16},5,al,1-5,\n"
        f"talk,0,{'B' * 16},2,al,1-5,=HYPERLINK()\n"
        f"=1+1,0,{'c' * 16},3,al,,\n",
    )
    labels = read_labels(path, rows)
    assert labels.by == "human:labels.csv"
    assert [(s.conversation, s.reply_id[0], s.repeat, s.value) for s in labels.scores] == [
        ("=1+1", "c", 0, 3.0),
        ("talk", "a", 0, 5.0),
        ("talk", "a", 1, 4.0),
        ("talk", "b", 0, 2.0),
    ]
    assert {(s.scale_low, s.scale_high, s.kind) for s in labels.scores} == {(1.0, 5.0, "label")}
    assert labels.agreement is not None
    assert (labels.agreement.raters, labels.agreement.shared_replies) == (2, 1)
    assert (labels.unknown_turns, labels.unknown_replies) == (0, 0)
    assert len(labels.notices) == 1


def test_labels_join_by_setting(tmp_path: Path, rows: list[TurnRow]) -> None:
    """Two settings with one reply are one reply: what one rater said of both is averaged."""
    path = _write(
        tmp_path,
        "setting;turn;conversation;value;rater\r\n"
        "frugal;1;talk;4;al\r\nclassic;1;talk;2;al\r\nfrugal;0;talk;1;al\r\n",
    )
    labels = read_labels(path, rows, scale=(1, 5))
    assert [(score.turn, score.value) for score in labels.scores] == [(0, 1.0), (1, 3.0)]
    assert labels.agreement is None


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("\n", "\r\n"), f"  {TEXT}\n"])
def test_labels_join_by_text(tmp_path: Path, rows: list[TurnRow], text: str) -> None:
    """Also after a spreadsheet has changed its line ends and edges."""
    quoted = text.replace('"', '""')
    path = _write(tmp_path, f'\ufeffconversation,turn,reply,value\ntalk,1,"{quoted}",3\n')
    labels = read_labels(path, rows, scale=(1, 5))
    assert [score.reply_id for score in labels.scores] == [reply_id(TEXT)]


def test_unnamed_raters_are_several(tmp_path: Path, rows: list[TurnRow]) -> None:
    """Two labels of one reply without a rater are two people's."""
    path = _write(
        tmp_path,
        f"conversation,turn,reply_id,value\ntalk,0,{'a' * 16},4\ntalk,0,{'a' * 16},2",
    )
    labels = read_labels(path, rows)
    assert [(score.repeat, score.value) for score in labels.scores] == [(0, 4.0), (1, 2.0)]
    assert labels.agreement is not None
    assert labels.agreement.mean_distance == 2.0
    assert "states no scale" in labels.notices[0]
    assert (labels.scores[0].scale_low, labels.scores[0].scale_high) == (2.0, 4.0)


def test_what_the_sweep_does_not_have_is_counted_and_said(
    tmp_path: Path, rows: list[TurnRow]
) -> None:
    """Unknown turns apart from unknown replies of known ones."""
    path = _write(
        tmp_path,
        f"conversation,turn,reply_id,value\ntalk,7,{'a' * 16},4\nchat,0,{'a' * 16},4\n"
        f"talk,0,{'d' * 16},2\n",
    )
    labels = read_labels(path, rows, scale=(1, 5))
    assert (labels.scores, labels.unknown_turns, labels.unknown_replies) == ((), 2, 1)
    said = " ".join(labels.notices)
    assert "2 rows are of turns" in said
    assert "1 rows are of replies" in said
    assert "no row is of a reply" in said


HEAD = "conversation,turn,reply_id,value,scale\n"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "is empty"),
        ("conversation,turn,value\ntalk,0,3\n", 1, "reply_id, reply"),
        ("conversation,reply_id,value\n", 1, "'turn' is missing"),
        ("conversation,turn,turn,reply_id,value\n", 1, "stands twice"),
        (f"{HEAD}talk,0,{'a' * 16},=1+1,\n", 2, "expected a number"),
        (f"{HEAD}\ntalk,0,{'a' * 16},,\n", 3, "expected a number"),
        (f"{HEAD}talk,0,{'a' * 16},inf,\n", 2, "expected a number"),
        (f"{HEAD}talk,first,{'a' * 16},3,\n", 2, "whole number"),
        (f"{HEAD}talk,0.5,{'a' * 16},3,\n", 2, "whole number"),
        (f"{HEAD}talk,0,{'a' * 16}\n", 2, "expected 5 cells"),
        (f"{HEAD}talk,0,{'a' * 16},6,1-5\n", 2, "off the scale"),
        (f"{HEAD}talk,0,{'a' * 16},3,five\n", 2, "scale: expected"),
        (f"{HEAD}talk,0,{'a' * 16},3,5-1\n", 2, "scale: expected"),
        (f"{HEAD}talk,0,{'a' * 16},3,1-5\ntalk,0,{'b' * 16},3,1-7\n", 3, "differs from 1-5"),
        (f'{HEAD}talk,0,"{"a" * 16},3,1-5\n', 2, "row of CSV"),
    ],
)
def test_a_bad_cell_is_named_by_its_line(
    tmp_path: Path, rows: list[TurnRow], text: str, line: int | None, words: str
) -> None:
    """And nothing in a cell is ever run."""
    with pytest.raises(FormatError, match=words) as caught:
        read_labels(_write(tmp_path, text), rows)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("scale", "expected"),
    [("-2..2", (-2, 2)), ("0-1", (0, 1)), (" 1 – 7 ", (1, 7)), ("1:3", (1, 3))],
)
def test_scales_may_be_written_as_people_do(
    tmp_path: Path, rows: list[TurnRow], scale: str, expected: tuple[float, float]
) -> None:
    """With a dash, dots or a colon."""
    labels = read_labels(_write(tmp_path, f"{HEAD}talk,0,{'a' * 16},1,{scale}\n"), rows)
    assert (labels.scores[0].scale_low, labels.scores[0].scale_high) == expected


def test_a_file_that_is_no_text_is_named(tmp_path: Path, rows: list[TurnRow]) -> None:
    """Missing, a folder, or a spreadsheet's own format."""
    (tmp_path / "labels.xlsx").write_bytes(b"PK\x03\x04\n\xff\xfe")
    for name in ("gone.csv", ".", "labels.xlsx"):
        with pytest.raises(FormatError):
            read_labels(tmp_path / name, rows)
