"""Layout of text: widths, wrapped cells, folded columns, and which screen there is."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.safe_text import text_width
from callwise.text_layout import Grid, Screen, grid_lines, screen_of, wrapped, wrapped_lines


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


HEADS = ("name", "calls per turn", "quality of it", "a note")
ROWS = (
    ("search.max_calls=11, search.rollouts=3", "1,234", "0.42 (0.21 to 0.61)", "会话" * 30),
    ("total", "5", "unknown", ""),
)
GRID = Grid(HEADS, ROWS, (True, False, True, True))


@pytest.mark.parametrize("width", [40, 60, 80, 132])
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    """Wide characters count twice; texts wrap, and a number is in one line."""
    lines = grid_lines(GRID, Screen(width))
    assert max(map(text_width, lines)) <= width
    assert "1,234" in " ".join(lines)
    assert all(word in "\n".join(lines) for word in ("search.max_calls=11,", "total"))


def test_without_a_width_a_row_is_one_line() -> None:
    """Of all columns: for `grep` and `awk`."""
    lines = grid_lines(GRID, Screen())
    assert len(lines) == 3
    assert "会话" * 30 in lines[1]


@given(st.text(alphabet=st.sampled_from("ab ,;/=_19会话🙂"), max_size=60), st.integers(2, 20))
def test_wrapping_keeps_the_text_and_fits(text: str, width: int) -> None:
    """Only blanks may go, and no line is too wide."""
    lines = wrapped(text, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    if text_width(text) > width:
        assert all(text_width(line) <= width for line in lines)


def test_a_word_that_may_be_copied_is_left_whole() -> None:
    """A path in a sentence; Chinese, which has no blanks, breaks anywhere."""
    screen = Screen(20)
    path = "/a/path/of/many/parts/run"
    assert path in wrapped_lines(f"run: {path}   (see it)", screen).split("\n  ")
    assert "\n" in wrapped_lines("会话" * 10, screen)
    assert wrapped_lines("会话" * 10, Screen()) == "会话" * 10


def test_a_number_and_its_per_cent_stay_together() -> None:
    """In a sentence and in a cell."""
    assert wrapped("ties in 20.8 % of", 13) == ["ties in", "20.8 % of"]
    assert wrapped_lines("ties in 20.8 % of", Screen(13)) == "ties in\n  20.8 % of"


def test_a_screen_has_a_width_where_it_is_a_terminal_or_columns_is_set() -> None:
    """A pipe gets every column."""
    assert screen_of(io.StringIO(), {}).width is None
    assert screen_of(io.StringIO(), {"COLUMNS": "100"}).width == 100
    assert screen_of(io.StringIO(), {"COLUMNS": "x"}).width is None
    assert screen_of(_Terminal(), {"COLUMNS": "2"}).width == 20


@pytest.mark.parametrize(
    ("environ", "of_terminal", "of_pipe"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
    ],
)
def test_colours_go_where_they_are_seen_or_asked_for(
    environ: dict[str, str], of_terminal: bool, of_pipe: bool
) -> None:
    """NO_COLOR before FORCE_COLOR before TERM=dumb, as Python does it."""
    assert screen_of(_Terminal(), environ).is_styled is of_terminal
    assert screen_of(io.StringIO(), environ).is_styled is of_pipe


def test_colours_add_no_width() -> None:
    """With them and without the text is the same."""
    coloured = "\n".join(grid_lines(GRID, Screen(60, is_styled=True)))
    assert re.sub(r"\x1b\[\d*m", "", coloured) == "\n".join(grid_lines(GRID, Screen(60)))
