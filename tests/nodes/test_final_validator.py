"""The last look at a reply."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.final_validator import MIN_MAX_CHARS, ValidatedReply, validate_reply
from nodes.prompt import words
from nodes.records import Bubble, Persona

LIN = Persona(name="Lin", background="runs a bookshop")


def _validated(text: str, max_chars: int = 200) -> ValidatedReply:
    return validate_reply(text, language="en", persona=LIN, max_chars=max_chars)


def _squeezed(text: str) -> str:
    return "".join(text.split())


def test_a_good_reply_passes_with_its_bubbles() -> None:
    """Nothing is changed where nothing is wrong."""
    bubbles = (
        Bubble(text="Morning.", delay_seconds=0.5),
        Bubble(text="Coffee?", delay_seconds=1.0),
    )
    reply = validate_reply("Morning.\nCoffee?", bubbles, language="en", persona=LIN)
    assert reply == ValidatedReply(text="Morning.\nCoffee?", bubbles=bubbles)


def test_bubbles_are_cut_again_when_the_reply_changes() -> None:
    """Bubbles never show what the reply no longer says."""
    bubbles = (Bubble(text="As an AI, no. Tea?", delay_seconds=0.0),)
    reply = validate_reply("As an AI, no. Tea?", bubbles, language="en", persona=LIN)
    assert reply.text == "Tea?"
    assert [bubble.text for bubble in reply.bubbles] == ["Tea?"]
    assert reply.violations == ("persona_break",)


@pytest.mark.parametrize("text", ["", "  \n", "\x00", '{"a": 1}', "As an AI language model, no."])
def test_nothing_left_is_a_neutral_line(text: str) -> None:
    """An empty reply is replaced, always by the same line, and said to be empty."""
    reply = _validated(text)
    assert reply.text in words("rules")["neutral_lines"]["en"]
    assert reply.violations[-1] == "empty"
    assert reply == _validated(text)


def test_the_neutral_line_is_in_the_conversations_language() -> None:
    """A Chinese conversation gets a Chinese line."""
    reply = validate_reply("", language="zh", persona=LIN)
    assert reply.text in words("rules")["neutral_lines"]["zh"]


def test_blank_text_takes_the_bubbles() -> None:
    """Bubbles alone are a reply."""
    bubbles = (Bubble(text="One.", delay_seconds=0.0), Bubble(text="Two.", delay_seconds=0.0))
    reply = validate_reply(" ", bubbles, language="en", persona=LIN)
    assert (reply.text, reply.bubbles) == ("One.\nTwo.", bubbles)


def test_layers_are_taken_off_one_by_one() -> None:
    """JSON in a fence in a role prefix in a chat template ends as its reply."""
    reply = _validated('<|im_start|>Assistant: ```json\n{"reply": "Lin: Hello."}\n```')
    assert reply.text == "Hello."
    assert reply.violations == ("template_mark", "role_prefix", "json")


def test_a_long_reply_ends_with_a_sentence() -> None:
    """The cut falls between sentences."""
    reply = _validated("This is a sentence. " * 50, max_chars=105)
    assert reply.text == ("This is a sentence. " * 5).strip()
    assert reply.violations == ("too_long",)


def test_too_small_a_limit_is_refused() -> None:
    """A limit that no neutral line fits in is a mistake of the caller's."""
    with pytest.raises(ValueError, match="at least 20"):
        _validated("Hello.", max_chars=MIN_MAX_CHARS - 1)
    for lines in words("rules")["neutral_lines"].values():
        assert min(map(len, lines)) <= MIN_MAX_CHARS


PIECES = st.sampled_from(
    [
        '{"reply": "',
        '"}',
        "```json",
        "```",
        "Assistant: ",
        "User: ",
        "<think>",
        "</think>",
        "As an AI, ",
        "我是一个人工智能。",
        "Hello. ",
        "你好。",
        "\n",
        "[",
        "]",
        "\u202e",
        "👩\u200d👧",
        "\ud800",
    ]
)
ANY_TEXT = st.text(st.characters(codec=None), max_size=300) | st.lists(PIECES, max_size=25).map(
    "".join
)


@settings(max_examples=300)
@given(
    ANY_TEXT,
    st.lists(ANY_TEXT.map(lambda text: Bubble(text=text, delay_seconds=0.1)), max_size=3),
    st.sampled_from(["en", "zh"]),
    st.integers(MIN_MAX_CHARS, 120),
)
def test_any_text_ends_in_a_reply(
    text: str, bubbles: list[Bubble], language: str, max_chars: int
) -> None:
    """A reply is never empty or too long, its bubbles are it, and it passes a second time."""
    reply = validate_reply(text, bubbles, language=language, persona=LIN, max_chars=max_chars)
    assert reply.text.strip()
    assert len(reply.text) <= max_chars
    assert _squeezed("".join(bubble.text for bubble in reply.bubbles)) == _squeezed(reply.text)
    again = validate_reply(
        reply.text, reply.bubbles, language=language, persona=LIN, max_chars=max_chars
    )
    assert again == ValidatedReply(text=reply.text, bubbles=reply.bubbles)


@pytest.mark.parametrize(
    "text", ["." * 100_000 + "x", "\n" * 100_000, '{"reply": "' + "a" * 100_000]
)
def test_a_huge_reply_is_quick(text: str) -> None:
    """Each rule reads a text once, however it is made."""
    assert len(_validated(text).text) <= 200
