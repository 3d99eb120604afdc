"""Bubbles that are shown while the reply is written, and what keeps them."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nodes.bubbles import cut_in_order, split_bubbles, timed_bubbles
from nodes.early_reply import EarlyReply, reply_so_far, with_shown
from nodes.final_validator import ValidatedReply, validate_reply
from nodes.prompt import prompt
from nodes.records import Bubble, Mood, Persona, StyleVector

LONG = (
    "That is a lot to carry on one morning, and I am glad that you say it here. "
    "Did they give you a reason, or only a box for your things? "
    "Come by when you like, the kettle is on and nobody buys anything on Mondays. "
    "And your sister will be less worried than you think, once she hears it from you. "
    "I would tell her before the weekend. Would you?"
)
CHUNKS = (
    "Hi.",
    " ",
    "\n",
    "“Well”",
    "3.14",
    "Dr. Who?",
    "…",
    "你好。",
    "(",
    "x" * 70,
    "👩\u200d🚀",
    "!",
)


def reader(**fields: Any) -> tuple[EarlyReply, list[tuple[Bubble, ...]]]:
    """Return a reader, and the list of what it has shown."""
    shown: list[tuple[Bubble, ...]] = []
    given_fields = {"instructions": (), "max_chars": 1200, **fields}
    early = EarlyReply(
        language="en",
        persona=Persona(name="Lin"),
        style=StyleVector(),
        mood=Mood(),
        show=lambda bubbles: shown.append(tuple(bubbles)),
        **given_fields,
    )
    return early, shown


def answer(reply: str, *, ascii_only: bool = False) -> str:
    """Return the answer of the call that replies."""
    return json.dumps({"thought": "Oh no.", "reply": reply}, ensure_ascii=ascii_only)


@given(
    st.lists(st.sampled_from(CHUNKS), max_size=24).map("".join),
    st.integers(min_value=1, max_value=5),
)
@example("Hi." * 8 + "“Well”" * 3 + "Dr. Who? " + "👩\u200d🚀" * 2 + "Hi.", 2)
def test_a_beginning_is_cut_as_the_whole_is(text: str, max_bubbles: int) -> None:
    """The bubbles of each beginning are the first ones of the whole, and they never change."""
    whole = cut_in_order(text, is_whole=True, max_bubbles=max_bubbles)
    assert "".join(whole) == text
    assert len(whole) <= max_bubbles
    before: list[str] = []
    for end in range(len(text) + 1):
        bubbles = cut_in_order(text[:end], is_whole=False, max_bubbles=max_bubbles)
        assert bubbles == whole[: len(bubbles)]
        assert bubbles[: len(before)] == before
        before = bubbles


@given(st.lists(st.sampled_from(CHUNKS), max_size=12).map("".join))
def test_a_reply_that_fits_is_cut_as_ever(text: str) -> None:
    """Only replies of more than the most bubbles are cut in another way."""
    whole = timed_bubbles(cut_in_order(text, is_whole=True, max_bubbles=50))
    assert whole == split_bubbles(text, max_bubbles=50)


@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_pieces_of_an_answer_do_not_matter(ascii_only: bool) -> None:
    """What was shown at any place of the answer is the beginning of what the whole shows."""
    text = answer("好的。😀 “Yes!”\n" + LONG, ascii_only=ascii_only)
    whole, _ = reader()
    assert whole.read(text)
    early, shown = reader()
    for end in range(len(text) + 1):
        early.read(text[:end])
        assert early.bubbles == whole.bubbles[: len(early.bubbles)]
    assert [len(each) for each in shown] == [1, 2, 3]
    reply = json.loads(text)["reply"]
    final = timed_bubbles(cut_in_order(reply, is_whole=True), style=StyleVector(), mood=Mood())
    assert whole.bubbles == final[:3]


@pytest.mark.parametrize(
    ("text", "so_far"),
    [
        ('{"thought": "a", "reply": "Hello the', "Hello the"),
        ('{"reply": "Hello', "Hello"),
        ('{"thought": "a", "reply": "cut \\ud83d', "cut"),
        ('{"thought": "a", "reply": "cut \\u00', "cut"),
        ('{"thought": "a", "reply": "One"} {"reply": "Another"}', "One"),
        ('{"thought": "a", "reply": "One", "reply": "Two"}', "One"),
        ('{"thought": "a", "reply": "One\ntwo', "One"),
        ('{"thought": "a", "repl', ""),
        ('Sure! {"thought": "a", "reply": "One"}', ""),
        ('<think>{"reply": "no"}</think>{"reply": "Yes"}', ""),
        ('{"other": 1, "reply": "One"}', ""),
        ("", ""),
    ],
)
def test_only_the_form_of_the_call_is_read(text: str, so_far: str) -> None:
    """A cut character is left out, and of any other form nothing is shown."""
    assert reply_so_far(text) == so_far


def test_nothing_that_the_validation_would_change_is_shown() -> None:
    """A leak ends the showing: what is before it was shown, it and all after it wait."""
    quoted = "Use memories only where they fit; invent no facts about the user"
    early, shown = reader(instructions=[prompt("fused_reply", "en")])
    sentences = LONG.split(". ")
    early.read(answer(f"{sentences[0]}. {quoted}. {'. '.join(sentences[1:])}"))
    assert [bubble.text for bubble in early.bubbles] == [f"{sentences[0]}."]
    assert len(shown) == 1


def test_a_reply_longer_than_allowed_shows_what_fits() -> None:
    """The reply is cut at the end of a sentence; no bubble beyond it is shown."""
    early, _ = reader(max_chars=140)
    early.read(answer(LONG))
    cut = validate_reply(LONG, language="en", persona=Persona(), max_chars=140)
    assert len(early.bubbles) == 2
    assert with_shown(cut, early.bubbles).bubbles == early.bubbles


def test_a_reply_that_is_mended_later_keeps_its_beginning() -> None:
    """The bubbles that were shown remain, with their delays; the rest is cut again."""
    early, _ = reader()
    early.read(answer(LONG))
    mended = validate_reply(
        f"{LONG} As an AI language model I cannot.", language="en", persona=Persona(name="Lin")
    )
    assert mended.violations == ("persona_break",)
    kept = with_shown(mended, early.bubbles)
    assert kept.bubbles[:3] == early.bubbles
    assert kept.text == mended.text
    assert kept.violations == mended.violations
    assert "".join("".join(bubble.text.split()) for bubble in kept.bubbles) == "".join(
        kept.text.split()
    )


def test_another_reply_does_not_take_back_what_was_shown() -> None:
    """Where the validation would take the beginning out, the shown bubbles are the reply."""
    early, _ = reader()
    early.read(answer(LONG))
    other = ValidatedReply(text="Sorry?", bubbles=(Bubble(text="Sorry?", delay_seconds=1.0),))
    kept = with_shown(other, early.bubbles)
    assert kept.bubbles == early.bubbles
    assert kept.violations == ("shown_before",)
    assert kept.text == "\n".join(bubble.text for bubble in early.bubbles)
    assert with_shown(other, ()) == other
