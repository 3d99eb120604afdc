"""A prompt with less in it."""

import json

from hypothesis import given
from hypothesis import strategies as st

from nodes.records import DialogueLine, Persona
from nodes.shortening import shortened
from nodes.turn import chat, lines_shown

LONG = {
    "persona": Persona(name="Lin", background="b" * 900),
    "chat": lines_shown(
        [DialogueLine(role="user", text=f"{n} {'x' * 90}") for n in range(10)], "now"
    ),
    "summary": "s" * 500,
    "memories": ["m" * 300, "n" * 300],
    "task": {"count": 2},
    "candidates": {"c1": "keep me"},
}


def _kept(messages):
    return json.loads(messages[-1].content)


def test_the_older_half_of_the_chat_goes_first():
    """Where nothing is known of the context, half of the lines before this turn are left out."""
    messages, left_out = shortened(chat("lats_judge_list", "en", **LONG))
    assert left_out == "5 of 11 lines of chat"
    whole, kept = _kept(chat("lats_judge_list", "en", **LONG)), _kept(messages)
    assert kept["chat"] == whole["chat"][5:]
    assert {**kept, "chat": 0} == {**whole, "chat": 0}
    assert list(kept) == list(whole)


def test_a_known_share_leaves_out_the_least_that_is_needed():
    """Oldest lines, then memories from the least relevant on, then summary and background."""
    messages = chat("lats_judge_list", "en", **LONG)
    total = sum(len(message.content) for message in messages)
    found = []
    for tenth in range(10, 0, -1):
        shorter = shortened(messages, share=tenth / 10)
        if shorter is None:
            continue
        kept_messages, left_out = shorter
        length = sum(len(message.content) for message in kept_messages)
        assert length <= total * tenth / 10
        kept = _kept(kept_messages)
        assert kept["chat"][-1] == {"user": "now"}
        assert (kept["task"], kept["candidates"]) == (LONG["task"], LONG["candidates"])
        assert kept_messages[0] == messages[0]
        found.append(left_out)
    assert "lines of chat" in found[0]
    assert "memories" not in found[0]
    assert "part of the persona's background" in found[-1]


def test_what_cannot_fit_is_not_asked_again():
    """Nothing to leave out, or too little of it: another request would fail as well."""
    assert shortened(chat("detection", "en", chat=lines_shown([], "x" * 5000))) is None
    assert shortened(chat("lats_judge_list", "en", **LONG), share=0.05) is None


def test_a_summary_that_is_to_be_continued_is_kept():
    """The bookkeeping rewrites it: left out, it would be lost."""
    fields = {"summary": "s" * 900, "chat": lines_shown([], "hello", "hi")}
    assert shortened(chat("memory_manager", "en", **fields), share=0.9) is None


@given(st.floats(min_value=0.01, max_value=0.99), st.integers(0, 12), st.booleans())
def test_this_turn_is_never_left_out(share, lines, has_reply):
    """For any share, the user's message and the reply are whole."""
    history = [DialogueLine(role="user", text="y" * 50)] * lines
    shown = lines_shown(history, "message", "answer" if has_reply else None)
    shorter = shortened(chat("evolver", "en", chat=shown), share=share)
    if shorter is not None:
        kept = _kept(shorter[0])["chat"]
        assert kept == shown[len(shown) - len(kept) :]
        assert {"user": "message"} in kept
