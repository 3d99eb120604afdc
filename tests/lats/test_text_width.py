"""Columns of a monospaced font."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.text_width import columns_of, cut_to_columns


@pytest.mark.parametrize(
    ("text", "columns"),
    [("", 0), ("plain", 5), ("普鲁斯特", 8), ("Ａ", 2), ("e\u0301", 1), ("😀", 2), ("한국", 4)],
)
def test_wide_characters_take_two_columns(text, columns):
    """And marks on another character take none."""
    assert columns_of(text) == columns


@pytest.mark.parametrize(
    ("text", "cut"),
    [("short", "short"), ("exactly 10", "exactly 10"), ("more than 10", "more than…")],
)
def test_what_does_not_fit_is_cut(text, cut):
    """The ellipsis takes a column of its own."""
    assert cut_to_columns(text, 10) == cut


def test_a_wide_character_is_not_halved():
    """Where one column is left for it, it goes."""
    assert cut_to_columns("普鲁斯特普鲁斯特", 8) == "普鲁斯…"


@given(text=st.text(), max_columns=st.integers(1, 60))
def test_nothing_is_wider_than_asked(text, max_columns):
    """Nor longer than four characters a column, marks included."""
    cut = cut_to_columns(text, max_columns)
    assert columns_of(cut) <= max_columns
    assert len(cut) <= 4 * max_columns + 1
