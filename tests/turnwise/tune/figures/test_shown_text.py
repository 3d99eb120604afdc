"""Untrusted text in figures."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text

from turnwise.tune.figures.shown_text import for_matplotlib, for_plotly, plain_line


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


@settings(deadline=None)
@given(st.text(alphabet="$\\ab^_{}"))
def test_matplotlib_draws_dollars_as_letters(text: str) -> None:
    """What it makes of the escaped text is the text, and no formula."""
    shown, is_formula = Text(0, 0, for_matplotlib(text, 99))._preprocess_math(
        for_matplotlib(text, 99)
    )
    assert is_formula is False
    assert shown == plain_line(text, 99)


def test_plotly_gets_no_tag_no_entity_and_no_formula() -> None:
    """Each mark that plotly would obey is an entity that it knows."""
    assert for_plotly("<b>$x$</b> &lt;") == "&lt;b&gt;&#36;x&#36;&lt;/b&gt; &amp;lt;"
