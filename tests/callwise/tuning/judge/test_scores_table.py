"""The table of scores on disk."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.calls import ConfigError, FormatError
from callwise.tuning.judge.scores import COLUMNS, Score, in_order, read_scores, write_scores

A = Score("referee:m", "talk", 0, "a" * 16, 5.2, 1.0, 10.0)
B = Score("referee:m:pairwise", "talk", 1, "b" * 16, 1.0, 0.0, 1.0, 2, "first", "pairwise", "a")
C = Score("truth:simulated", "=cmd()|' /C calc'!A0", 1, "", -0.5, -2.0, 2.0, kind="truth")

SCORES = st.builds(
    Score,
    by=st.text(max_size=8),
    conversation=st.text(max_size=8),
    turn=st.integers(0, 9),
    reply_id=st.text(max_size=4),
    value=st.floats(allow_nan=False, allow_infinity=False),
    scale_low=st.floats(-9, 0),
    scale_high=st.floats(1, 9),
    repeat=st.integers(0, 3),
    order=st.sampled_from(["", "first", "second"]),
    kind=st.sampled_from(["pointwise", "pairwise", "label", "truth"]),
    against=st.text(max_size=4),
)


@settings(deadline=None)
@given(scores=st.lists(SCORES, max_size=6))
def test_whatever_is_written_reads_back(
    scores: list[Score], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Quotes, line ends, formulas, broken emoji: the table gives back what went in."""
    path = tmp_path_factory.mktemp("scores") / "scores.csv"
    write_scores(path, scores)
    assert list(read_scores(path).scores) == in_order(scores)


def test_a_table_is_in_order(tmp_path: Path) -> None:
    """The same scores give the same bytes, whatever the order they came in."""
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    write_scores(first, [C, A, B, A])
    write_scores(second, [A, B, C])
    assert first.read_bytes() == second.read_bytes()
    assert first.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert len(first.read_text().splitlines()) == 4


def test_no_cell_starts_as_a_formula(tmp_path: Path) -> None:
    """A conversation's id is untrusted; a spreadsheet would run it."""
    write_scores(tmp_path / "scores.csv", [C])
    assert (
        "\"'=cmd" in (tmp_path / "scores.csv").read_text()
        or ",'=cmd" in (tmp_path / "scores.csv").read_text()
    )


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_half_written_last_row_is_dropped_with_a_notice(tmp_path: Path, cut: int) -> None:
    """The rows before it are read."""
    path = tmp_path / "scores.csv"
    odd = Score("referee:m", 'a "quoted"\nid 在', 3, "c" * 16, 4.0, 1.0, 10.0)
    write_scores(path, [A, B, odd])
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    read = read_scores(path)
    assert len(read.scores) == 2
    assert "cut off" in read.notices[0]


@pytest.mark.parametrize("content", [b"", b"by,conver", b"\xef\xbb\xbf"])
def test_a_table_that_was_not_begun_is_empty(tmp_path: Path, content: bytes) -> None:
    """Killed before its first line was whole, it has no scores."""
    path = tmp_path / "scores.csv"
    path.write_bytes(content)
    assert read_scores(path).scores == ()


def test_a_table_that_a_spreadsheet_saved_is_read(tmp_path: Path) -> None:
    """Other columns first, a byte order mark, semicolons, CRLF."""
    path = tmp_path / "scores.csv"
    columns = list(reversed(COLUMNS))
    row = [str(getattr(A, name)) for name in columns]
    path.write_bytes(f"\ufeff{';'.join(columns)}\r\n{';'.join(row)}\r\n".encode())
    assert read_scores(path).scores == (A,)


@pytest.mark.parametrize(
    ("row", "line", "words"),
    [
        ("referee:m,talk,0,a,high,1,10,0,,pointwise,", 3, "value: expected a number"),
        ("referee:m,talk,0,a,nan,1,10,0,,pointwise,", 3, "value: expected a number"),
        ("referee:m,talk,zero,a,5,1,10,0,,pointwise,", 3, "turn: expected a whole number"),
        ("referee:m,talk,-1,a,5,1,10,0,,pointwise,", 3, "turn: expected a whole number"),
        ("referee:m,talk,0,a,5,10,1,0,,pointwise,", 3, "scale runs from"),
        ("referee:m,talk,0,a,5,1,10,0,third,pointwise,", 3, "order"),
        ("referee:m,talk,0,a,5,1,10,0,,guess,", 3, "kind"),
        ("referee:m,talk,0,a,5", 3, "expected 11 cells"),
    ],
)
def test_a_row_that_is_no_score_is_named_by_its_line(
    tmp_path: Path, row: str, line: int, words: str
) -> None:
    """A whole row is not dropped: its writer has to know."""
    path = tmp_path / "scores.csv"
    write_scores(path, [A])
    path.write_text(f"{path.read_text()}{row}\n")
    with pytest.raises(FormatError, match=words) as caught:
        read_scores(path)
    assert caught.value.line == line


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\x89PNG\r\n\x1a\n", b"some words"])
def test_another_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    """It is no table of scores."""
    path = tmp_path / "scores.csv"
    path.write_bytes(content)
    with pytest.raises(FormatError):
        read_scores(path)


def test_a_missing_file_is_an_error_when_read(tmp_path: Path) -> None:
    """And a missing folder when written."""
    with pytest.raises(FormatError, match=r"scores\.csv: there is no such file"):
        read_scores(tmp_path / "scores.csv")
    with pytest.raises(ConfigError, match=r"cannot write .*scores\.csv"):
        write_scores(tmp_path / "gone" / "scores.csv", [A])
