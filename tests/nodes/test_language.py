"""Language in which a message is answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.text import detect_language, han_share

ENGLISH = ["How was your day?", "Long, but the shop was quiet."]
CHINESE = ["今天过得怎么样？", "挺累的，不过店里很安静。"]


@pytest.mark.parametrize(
    ("text", "history", "expected"),
    [
        ("hello there", [], "en"),
        ("你好", [], "zh"),
        ("", [], "en"),
        ("123 !? 🎉", [], "en"),
        ("ok", CHINESE, "zh"),
        ("哈哈", ENGLISH, "en"),
        ("我们去看电影吧", ENGLISH, "zh"),
        ("let us talk in English now", CHINESE, "en"),
        ("今天 debug 了一个 bug 好烦", CHINESE, "zh"),
        ("I love 北京 very much indeed", ENGLISH, "en"),
        ("🎉🎉🎉", CHINESE, "zh"),
    ],
)
def test_language_of_a_message(text: str, history: list[str], expected: str) -> None:
    """A message has the conversation's language unless it is clearly in the other one."""
    assert detect_language(text, history) == expected


def test_han_share_counts_words_as_characters() -> None:
    """A Latin word weighs as much as a Han character, and nothing at all is None."""
    assert han_share(["我用 python"]) == pytest.approx(2 / 3)
    assert han_share(["?!", ""]) is None


@given(st.text(), st.lists(st.text(), max_size=8))
def test_any_text_has_a_language(text: str, history: list[str]) -> None:
    """No text raises, and the answer is one of the two languages."""
    assert detect_language(text, history) in {"en", "zh"}
