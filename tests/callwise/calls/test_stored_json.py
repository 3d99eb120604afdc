"""JSON that is stored and read again: exactly as it was, whatever text is in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.calls.payload import json_bytes, json_object

any_text = st.text(st.characters())


integers = st.integers(-(2**63), 2**64 - 1)
finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(any_text, any_text | integers | finite))
def test_what_is_stored_is_read_back_exactly(document):
    """Lone surrogates among it."""
    assert json_object(json_bytes(document)) == document


@given(st.integers(2**64, 2**70))
def test_a_larger_integer_comes_back_as_a_float(number):
    """It costs no answer."""
    assert json_object(json_bytes({"a": number})) == {"a": float(number)}


@pytest.mark.parametrize("document", [{"a": {1}}, {1: "a"}, {"a": object()}])
def test_what_cannot_be_json_is_not_stored(document):
    """A key that is no string would be read back as one."""
    with pytest.raises(TypeError):
        json_bytes(document)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b"\xff{}"])
def test_stored_bytes_that_are_no_object_are_an_error(data):
    """Whatever else they are."""
    with pytest.raises(ValueError, match=r"JSON|column|decode"):
        json_object(data)
