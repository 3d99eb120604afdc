"""Cutting text into sentences."""

from hypothesis import given
from hypothesis import strategies as st

from nodes.text import cut_at_sentence, split_sentences


def test_sentences_of_both_languages() -> None:
    """Marks stay with their sentence, and a decimal point ends none."""
    assert split_sentences("It is 3.14. Really?! Yes") == ["It is 3.14. ", "Really?! ", "Yes"]
    assert split_sentences("好的。“走吧！”他说…\n嗯") == ["好的。", "“走吧！”", "他说…\n", "嗯"]


@given(st.text())
def test_sentences_join_to_the_text(text: str) -> None:
    """Nothing is lost between sentences, and none is empty."""
    sentences = split_sentences(text)
    assert "".join(sentences) == text
    assert all(sentences)


@given(st.text(), st.integers(1, 40))
def test_a_cut_is_a_beginning_that_fits(text: str, max_chars: int) -> None:
    """What is left is the text's beginning and no longer than allowed."""
    cut = cut_at_sentence(text, max_chars)
    assert text.startswith(cut)
    assert len(cut) <= max_chars or len(text) <= max_chars


def test_a_cut_prefers_sentences_then_words_then_characters() -> None:
    """The cut falls on the best boundary in the second half of the allowed length."""
    assert cut_at_sentence("One two. Three four.", 12) == "One two."
    assert cut_at_sentence("One two three four five", 12) == "One two"
    assert cut_at_sentence("abcdefghijklmnop", 5) == "abcde"
    assert cut_at_sentence("ab👩\u200d👩\u200d👧x", 5) == "ab"
    assert cut_at_sentence("e\u0301" * 5, 5) == "e\u0301" * 2


def test_a_long_run_of_marks_is_quick() -> None:
    """A hundred thousand marks are read once."""
    assert len(split_sentences("." * 100_000 + "x")) == 1
