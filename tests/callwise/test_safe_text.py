"""Untrusted text made safe to show, and its width in a terminal."""

import pytest

from callwise.safe_text import (
    clipped,
    cut_to_width,
    escaped_json,
    is_one_line,
    printable,
    printable_lines,
    shown,
    shown_html,
    text_width,
)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("", 0),
        ("plain", 5),
        ("日本語", 6),
        ("ｆｕｌｌ", 8),
        ("e\u0301", 1),
        ("a\u0300\u0323b", 2),
        ("ก็", 1),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467", 2),
        ("\U0001f1e9\U0001f1ea", 2),
        ("\u2600\ufe0f", 2),
        ("\U0001f44d\U0001f3fd", 2),
        ("\u1100\u1161", 2),
        ("ok 👍 日", 8),
    ],
)
def test_width_counts_what_is_drawn(text: str, columns: int) -> None:
    """Wide characters take two columns, combining marks none, joined characters one drawing."""
    assert text_width(text) == columns


@pytest.mark.parametrize(
    ("text", "max_columns", "cut"),
    [
        ("short", 5, "short"),
        ("longer", 5, "long…"),
        ("日本語", 4, "日…"),
        ("日本語", 6, "日本語"),
        ("x", 1, "x"),
        ("xy", 1, "…"),
    ],
)
def test_a_line_is_cut_to_columns(text: str, max_columns: int, cut: str) -> None:
    """The ellipsis counts; a wide character is never cut in half."""
    assert cut_to_width(text, max_columns) == cut


@pytest.mark.parametrize(
    ("name", "is_name"),
    [
        ("Mia", True),
        ("👩\u200d👩\u200d👧", True),
        ("علی\u200cرضا", True),
        ("\u200dMia", False),
        ("Mia\u200c", False),
        ("\u200c", False),
        ("a\nb", False),
        ("a\u200b\u200db", False),
        ("a\u202eb", False),
    ],
)
def test_a_name_is_one_line_with_joiners_within(name: str, is_name: bool) -> None:
    """Nothing else that cannot be seen."""
    assert is_one_line(name) == is_name


def test_a_pile_of_marks_is_cut() -> None:
    """Marks take no column, but a line does not grow without end."""
    assert len(cut_to_width("e" + "\u0301" * 1000, 10)) <= 41


def test_each_form_removes_what_it_must() -> None:
    """One line, several lines, JSON, and what a reader sees on a page."""
    hostile = "a\x1b[2J\u202eb\tc\nd"
    assert printable(hostile) == "a\ufffd[2J\ufffdb\ufffdc\ufffdd"
    assert printable_lines(hostile) == "a\ufffd[2J\ufffdb\tc\nd"
    assert escaped_json('"\x7f"') == '"\\u007f"'
    assert shown("a\u202e\r\n") == "a⟨U+202E⟩\n"
    assert shown_html('<a b="\x00">') == "&lt;a b=&quot;⟨U+0000⟩&quot;&gt;"


@pytest.mark.parametrize("length", [0, 1, 20, 21, 1_000_000])
def test_a_clipped_text_has_its_head_its_length_and_its_tail(length: int) -> None:
    """It is at most as long as asked; one that fits is as it was."""
    text = ("ab" * length)[:length]
    cut = clipped(text, 20)
    assert len(cut) == min(length, 20)
    assert (cut == text) == (length <= 20)
    if length > 20:
        assert f" […{length}…] " in cut
        assert cut.startswith("ab")
        assert cut.endswith(text[-1])
