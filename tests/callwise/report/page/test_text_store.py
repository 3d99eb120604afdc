"""Texts of the page, stored in pieces."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from callwise.report.page.text_store import MIN_STORED_CHARS, TextStore

INSTRUCTIONS = "".join(f"Rule {number}: answer in one sentence. " for number in range(100))
KEY = "sk-" + "a1B2" * 8


def _put_together(stored: Any, document: dict[str, Any]) -> str:
    """Return a text as the page's script puts it together, in units of 16 bits."""
    if isinstance(stored, str):
        return stored
    heap = document["heap"].encode("utf-16-le", "surrogatepass")
    pieces = document["texts"][stored]
    data = b"".join(
        heap[2 * start : 2 * (start + length)]
        for start, length in zip(pieces[::2], pieces[1::2], strict=True)
    )
    return data.decode("utf-16-le", "surrogatepass")


@given(st.lists(st.text(st.characters(exclude_categories=())) | st.sampled_from([
    INSTRUCTIONS, INSTRUCTIONS[300:], f"x{INSTRUCTIONS}", INSTRUCTIONS[:500] + "\U0001f469" * 50,
])))  # fmt: skip
def test_every_text_comes_back(texts: list[str]) -> None:
    """Texts that repeat each other, with characters beyond 16 bits and lone halves of them."""
    store = TextStore()
    stored = [store.add(text) for text in texts]
    document = store.to_json()
    as_units = [text.encode("utf-16-le", "surrogatepass") for text in texts]
    back = [_put_together(each, document) for each in stored]
    assert [each.encode("utf-16-le", "surrogatepass") for each in back] == as_units


def test_what_prompts_have_in_common_is_stored_once() -> None:
    """A hundred prompts with the same beginning and a growing history take little more than one."""
    store = TextStore()
    history = ""
    for turn in range(100):
        history += f"user, turn {turn}: {turn * 7919} boxes and {turn * 104729} labels. "
        store.add(f"{INSTRUCTIONS}{history}What now?")
    document = store.to_json()
    assert len(document["heap"]) < len(INSTRUCTIONS) + 3 * len(history)
    assert len(document["texts"]) == 100


def test_equal_texts_are_one_and_short_ones_stay() -> None:
    """An equal text has the same number; a short text is itself."""
    store = TextStore()
    assert store.add(INSTRUCTIONS) == store.add(INSTRUCTIONS) == 0
    assert store.add("short") == "short"
    assert store.add("x" * MIN_STORED_CHARS) == 1


def test_keys_are_redacted() -> None:
    """What resembles a well-known key is in no text of the page, short or long."""
    store = TextStore()
    assert store.add(f"use {KEY}") == "use [key]"
    long = store.add(f"{INSTRUCTIONS} Authorization: Bearer {KEY} {INSTRUCTIONS}")
    document = store.to_json()
    assert KEY not in _put_together(long, document)
    assert KEY not in document["heap"]


def test_a_long_text_that_repeats_itself_is_stored_fast() -> None:
    """A long text of one word is one piece, and another like it a reference."""
    store = TextStore()
    huge = "word " * 50_000
    store.add(huge)
    store.add(f"Again: {huge}")
    document = store.to_json()
    assert len(document["heap"]) < len(huge) + 100
    assert len(document["texts"][0]) == 2
    assert len(document["texts"][1]) <= 6
