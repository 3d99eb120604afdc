"""Bodies as bytes and back, whatever text is in them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.calls.payload import (
    body_bytes,
    document_of,
    well_formed,
    well_formed_id,
    whole_number,
)

any_text = st.text(st.characters())


@given(any_text)
def test_every_text_can_be_sent_and_read_back(text):
    """Lone surrogates become U+FFFD, all else stays."""
    sent = body_bytes({"content": text})
    assert document_of(sent) == {"content": well_formed(text)}


@given(any_text)
def test_a_well_formed_text_stays_the_same(text):
    """Mending twice is mending once."""
    mended = well_formed(text)
    assert well_formed(mended) is mended
    mended.encode()


@given(any_text)
def test_every_escaped_text_can_be_read(text):
    """As servers write it with escapes."""
    content = json.dumps({text: [text]}).encode()
    assert document_of(content) == {well_formed(text): [well_formed(text)]}


@pytest.mark.parametrize("content", [b"", b"<html>", b"{", b"\xff\xfe", b"[" * 200_000])
def test_what_is_not_json_is_a_value_error(content):
    """Nested too deeply included."""
    with pytest.raises(ValueError, match=r"."):
        document_of(content)


def test_what_json_cannot_hold_is_a_type_error():
    """An object of Python's own."""
    with pytest.raises(TypeError):
        body_bytes({"tool": object()})
    assert body_bytes({"big": 2**70}) == b'{"big": 1180591620717411303424}'


@given(st.lists(st.text(st.characters(codec=None), max_size=3), unique=True, max_size=6))
def test_ids_that_differ_still_differ_when_they_are_whole(ids: list[str]) -> None:
    """An id with half a character is told from others of its kind; a whole one stays."""
    pairs_joined = {each.encode("utf-16", "surrogatepass") for each in ids}
    made = [well_formed_id(each) for each in ids]
    assert len(set(made)) == len(pairs_joined)
    assert [well_formed_id(each) for each in made] == made
    assert all(each == well_formed(each) for each in made)
    assert well_formed_id("a\ud83d\ude00") == "a\U0001f600"
    assert well_formed_id("a\ud83d") != well_formed_id("a\ud83e") != well_formed_id("a\ufffd")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (429, 429),
        ("429", 429),
        (" 429 ", 429),
        (429.0, 429),
        ("429.0", 429),
        (True, None),
        (429.5, None),
        (float("nan"), None),
        ("rate_limit_exceeded", None),
        ("4e2", None),
        ("\u0664\u0662\u0669", None),
        ("9" * 5000, None),
        ("", None),
        (None, None),
        (["429"], None),
    ],
)
def test_a_whole_number_may_be_written_as_a_text(value, number):
    """What is something else, or too long to be a status, is none."""
    assert whole_number(value) == number
