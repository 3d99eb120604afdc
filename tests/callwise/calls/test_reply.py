"""Log-probabilities of an answer's tokens: from the wire, to files, and back."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.calls.reply import (
    LEAST_LOGPROB,
    TokenLogprobs,
    document_of_logprobs,
    logprobs_of_document,
    read_token_logprobs,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["content", "token", "logprob", "bytes", "top_logprobs"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
finite = st.floats(allow_nan=False, allow_infinity=False)
tokens = st.builds(
    TokenLogprobs,
    st.text(),
    finite,
    st.lists(st.tuples(st.text(), finite), max_size=3).map(tuple),
)


def entry(token, logprob=-0.5, **more):
    """Return a token as the protocol has it."""
    return {"token": token, "logprob": logprob, **more}


def test_tokens_are_read_with_their_alternatives():
    """In order, each with what might have stood there."""
    top = [entry("7", -0.2), entry("8", -1.7)]
    read = read_token_logprobs({"content": [entry("7", -0.2, top_logprobs=top), entry("}", 0)]})
    assert read == (
        TokenLogprobs("7", -0.2, (("7", -0.2), ("8", -1.7))),
        TokenLogprobs("}", 0.0),
    )


@pytest.mark.parametrize(
    "malformed",
    [
        None,
        7,
        {},
        {"token": "a"},
        {"logprob": -1},
        entry(1),
        entry("a", None),
        entry("a", "-1"),
        entry("a", True),
        entry("a", float("nan")),
        entry("a", float("inf")),
        entry("a", -(10**400)),
    ],
)
def test_a_malformed_token_makes_all_absent(malformed):
    """The others would not join to the answer. An alternative is left out alone."""
    assert read_token_logprobs({"content": [entry("{"), malformed]}) == ()
    top = [malformed, entry("a")]
    (read,) = read_token_logprobs({"content": [entry("a", top_logprobs=top)]})
    assert read.alternatives == (("a", -0.5),)


@pytest.mark.parametrize("absent", [None, [], {}, {"content": None}, {"content": []}, "yes"])
def test_what_is_not_there_is_absent(absent):
    """An endpoint may not give any."""
    assert read_token_logprobs(absent) == ()


def test_minus_infinity_is_what_openai_writes_for_it():
    """Python's JSON reads it, and no file could hold it."""
    (read,) = read_token_logprobs({"content": [entry("a", float("-inf"))]})
    assert read.logprob == LEAST_LOGPROB


@given(st.text(min_size=1), st.lists(st.integers(0, 60), max_size=8))
def test_a_character_over_several_tokens_is_whole_again(text, places):
    """Wherever the tokens cut its bytes, their texts join to the answer."""
    raw = text.encode()
    marks = sorted({0, len(raw), *(place for place in places if place < len(raw))})
    pieces = [raw[start:end] for start, end in pairwise(marks)]
    content = [entry(repr(piece), bytes=list(piece)) for piece in pieces]
    assert "".join(read.token for read in read_token_logprobs({"content": content})) == text


def test_a_token_without_bytes_among_others_keeps_its_text():
    """Special tokens have none. Half a character at the end is shown as such."""
    content = [entry("<s>", bytes=None), entry("?", bytes=[0xE4]), entry("?", bytes=[0xBD])]
    assert [each.token for each in read_token_logprobs({"content": content})] == ["<s>", "", "�"]


@given(json_values)
def test_whatever_an_endpoint_sends_is_no_error(document):
    """And what is read of it can be kept in a file."""
    for logprobs in (document, {"content": document}, {"content": [document]}):
        read = read_token_logprobs(logprobs)
        written = json.loads(json.dumps(document_of_logprobs(read), allow_nan=False))
        assert logprobs_of_document(written) == read


@given(st.lists(tokens, max_size=4).map(tuple))
def test_files_give_back_what_was_written(read):
    """Through JSON."""
    assert logprobs_of_document(json.loads(json.dumps(document_of_logprobs(read)))) == read


@pytest.mark.parametrize(
    "document", [7, [7], ["abc"], [["a", 0]], [["a", "0", []]], [[1, 0, []]], [["a", 0, [["b"]]]]]
)
def test_what_is_no_document_of_them_is_an_error(document):
    """A damaged file is told."""
    with pytest.raises((TypeError, ValueError), match=r"."):
        logprobs_of_document(document)
