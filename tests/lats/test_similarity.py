"""Similarity of texts and of strategy tags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.similarity import (
    distinct_tags,
    identity_key,
    jaccard,
    missing_strategies,
    ngrams,
    tag_similarity,
    text_key,
)


@given(st.text(max_size=40), st.text(max_size=40))
def test_likeness_is_symmetric_and_in_range(left, right):
    """For any two texts, Chinese, emoji and control characters included."""
    for measure in (lambda a, b: jaccard(ngrams(a, 2), ngrams(b, 2)), tag_similarity):
        assert 0 <= measure(left, right) <= 1
        assert measure(left, right) == measure(right, left)


def test_case_width_and_punctuation_do_not_matter():
    """Full-width and half-width are the same text."""
    assert text_key("Ｈello, World！") == text_key("hello world")
    assert ngrams("今天好累。", 2) == ngrams("今天 好累", 2)


def test_texts_of_marks_alone_keep_them():
    """Two different emoji are two replies."""
    assert text_key("🙂") != text_key("…")
    assert text_key("🙂") == "🙂"


@pytest.mark.parametrize(
    ("left", "right", "is_alike"),
    [
        ("share_own_story", "Share-Own Story", True),
        ("warm_empathy", "warm_empathetic", True),
        ("tease_gently", "ask_a_question", False),
        ("共情安慰", "共情，安慰", True),
        ("共情安慰", "轻松调侃", False),
        ("", "", False),
    ],
)
def test_tags_that_mean_one_strategy_are_alike(left, right, is_alike):
    """At the default threshold; a blank tag is like none."""
    assert (tag_similarity(left, right) >= 0.6) is is_alike


def test_a_long_run_of_marks_is_passed_over_once():
    """A match does not begin at each of its marks."""
    text = "So" + "." * 200_000 + "x"
    assert identity_key(text) == text.lower()
    assert identity_key("so...' x") == "so x"


def _missing(*tags):
    return missing_strategies(tags, similarity=0.6)


def test_different_strategies_lack_nothing():
    """Nor does a single candidate, or none."""
    assert _missing("joke", "comfort") == 0
    assert _missing("joke") == _missing("") == _missing() == 0


def test_alike_and_blank_tags_lack_one_each():
    """The first of a kind counts; a blank tag names no strategy."""
    assert _missing("warm_empathy", "Warm-Empathy") == 1
    assert _missing("", "") == 2
    assert _missing("joke", "", "comfort") == 1


def test_distinct_tags_keep_the_first_of_each():
    """In their order."""
    assert distinct_tags(["a_b", "c_d", "A B", ""], similarity=1.0) == ["a_b", "c_d"]
