"""Untrusted text in figures."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnwise.tune.figures.shown_text import plain_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("two\nlines\t and\x00 a null", "two lines and a null"),
        ("turned \u202eback", "turned back"),
        ("half \ud800 a sign", "half \ufffd a sign"),
        ("x" * 50, "x" * 39 + "…"),
        ("好" * 20, "好" * 20),
        ("好" * 21, "好" * 19 + "…"),
        ("", ""),
    ],
)
def test_a_text_becomes_one_line(text: str, line: str) -> None:
    """Nothing in it moves the cursor, turns the text, or breaks a file."""
    assert plain_line(text) == line


def test_what_is_cut_is_said_even_where_the_rest_is_blank() -> None:
    """A text that goes on far to the right ends in an ellipsis."""
    assert plain_line("a" + " " * 5000 + "b", 10) == "a…"


@settings(deadline=None)
@given(st.text(), st.integers(1, 30))
def test_a_line_is_never_wider_than_it_may_be(text: str, width: int) -> None:
    """One line, no wider, whatever it was; and every file can hold it."""
    line = plain_line(text, width)
    assert len(line) <= width
    assert len(line.splitlines()) <= 1
    line.encode("utf-8")
