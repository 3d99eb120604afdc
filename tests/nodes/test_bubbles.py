"""Cutting a reply into chat bubbles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.bubbles import (
    MAX_DELAY_SECONDS,
    MIN_DELAY_SECONDS,
    letters,
    split_bubbles,
    timed_bubbles,
)
from nodes.records import Mood, StyleVector

replies = st.text(st.characters() | st.sampled_from('。！？，.!? \n…”"a好1'), max_size=300)


def compact(text):
    """Return a text without its white space."""
    return "".join(text.split())


@given(
    replies,
    st.builds(StyleVector, formality=st.floats(0, 1), playfulness=st.floats(0, 1)),
    st.builds(Mood, arousal=st.floats(-1, 1), busyness=st.floats(0, 1)),
    st.integers(1, 6),
)
def test_no_character_is_lost(text, style, mood, max_bubbles):
    """The bubbles join to the reply, none is blank, there are few, and delays are in range."""
    bubbles = split_bubbles(text, style=style, mood=mood, max_bubbles=max_bubbles)
    assert compact("".join(bubble.text for bubble in bubbles)) == compact(text)
    assert all(bubble.text.strip() for bubble in bubbles)
    assert len(bubbles) <= max_bubbles
    assert bool(bubbles) == bool(text.strip())
    assert all(MIN_DELAY_SECONDS <= one.delay_seconds <= MAX_DELAY_SECONDS for one in bubbles)
    assert bubbles == split_bubbles(text, style=style, mood=mood, max_bubbles=max_bubbles)


def texts(reply, **options):
    """Return the bubbles' texts."""
    return [bubble.text for bubble in split_bubbles(reply, **options)]


def test_a_reply_is_cut_between_sentences():
    """Short sentences share a bubble, long ones get their own; English and Chinese."""
    assert texts(
        "Hey! How are you? I kept thinking about the interview you had on Friday afternoon. "
        "Did it go well? 😊"
    ) == [
        "Hey! How are you?",
        "I kept thinking about the interview you had on Friday afternoon.",
        "Did it go well? 😊",
    ]
    assert texts("你好呀！今天天气真好。我昨天去了公园，看到了很多花，还拍了照片。你要看吗？") == [
        "你好呀！今天天气真好。",
        "我昨天去了公园，看到了很多花，还拍了照片。",
        "你要看吗？",
    ]


def test_a_line_break_starts_a_bubble_while_bubbles_are_left():
    """What the writer set apart stays apart, up to the maximum."""
    assert texts("one\ntwo\nthree") == ["one", "two", "three"]
    assert texts("1\n2\n3\n4\n5\n6") == ["1\n2\n3\n4\n5\n6"]
    assert len(texts("\n".join(["a line of some length here"] * 20))) <= 4


@pytest.mark.parametrize(
    "reply",
    ["I met Dr. Smith.", "It costs 3.50 now.", "Wait... what?!", "1. Milk 2. Eggs", "好……的。"],
)
def test_a_false_end_is_not_cut(reply):
    """Titles, numbers and trailing dots stay with their sentence."""
    style = StyleVector(formality=0.0, verbosity=0.0, playfulness=1.0)
    assert len(texts(reply, style=style)) == 1


def test_style_and_mood_change_cut_and_delay():
    """A playful writer sends more bubbles; a stirred one types faster, a busy one starts later."""
    reply = "That is good to hear. I was a bit worried about it. Tell me all about the trip."
    formal = split_bubbles(reply, style=StyleVector(formality=1.0, playfulness=0.0))
    playful = split_bubbles(reply, style=StyleVector(formality=0.0, playfulness=1.0))
    assert len(playful) > len(formal)
    calm, stirred, busy = (
        timed_bubbles(["A few words here."], mood=mood)[0].delay_seconds
        for mood in (Mood(arousal=-1.0), Mood(arousal=1.0), Mood(arousal=-1.0, busyness=1.0))
    )
    assert stirred < calm < busy


def test_the_delay_is_the_documented_formula():
    """.5 + busyness + letters / 12 for the first bubble, .3 + letters / 12 for the next."""
    first, second = timed_bubbles(["a" * 24, "b" * 12])
    assert (first.delay_seconds, second.delay_seconds) == (2.7, 1.3)


def test_wide_characters_take_longer():
    """A Chinese character counts as two and a half letters, white space as one."""
    assert letters("ab  cd") == 5.0
    assert letters("你好") == 5.0


def test_a_very_long_reply_is_cut_too():
    """100,000 characters, as one sentence and as many."""
    for reply in ("x" * 100_000, "a. " * 33_000, "好。" * 50_000, "! " * 50_000):
        assert len(split_bubbles(reply)) in range(1, 5)


def test_at_least_one_bubble_must_be_allowed():
    """A maximum of 0 would lose the reply."""
    with pytest.raises(ValueError, match="at least 1"):
        split_bubbles("hi", max_bubbles=0)
