"""Numbers of a JSON document, with their paths and places."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.logprob_scores import MAX_DEPTH, NumberAt, numbers_at

documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


def leaves(node, path=()):
    """Yield path and value of each number."""
    if isinstance(node, dict):
        for key, item in node.items():
            yield from leaves(item, (*path, key))
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from leaves(item, (*path, index))
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield path, node


@given(documents, st.sampled_from([None, 2]), st.booleans())
def test_every_number_is_found_where_it_stands(document, indent, ascii_only):
    """In any layout, and no number inside a string."""
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    found = numbers_at(text)
    assert found is not None
    read = [(each.path, json.loads(text[each.start : each.end])) for each in found]
    assert read == list(leaves(document))


@given(st.text(alphabet='{}[],:"0123.-eE \\untrfals', max_size=30))
def test_what_is_read_is_json(text):
    """Nothing is accepted that the standard parser refuses."""
    found = numbers_at(text)
    if found is not None and "{" not in text:
        json.loads(text)


def test_words_around_an_object_are_left_out():
    """A code fence, a thought before it, a remark behind it."""
    for before, after in (("```json\n", "\n```"), ("[1] Well: ", " [sic]"), ("", "x")):
        text = f'{before}{{"a": 1}}{after}'
        at = text.index("1}")
        assert numbers_at(text) == (NumberAt(("a",), at, at + 1),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "words",
        '{"a": 1',
        '{"a": 01}',
        '{"a": +1}',
        '{"a": .5}',
        '{"a": 1.}',
        '{"a": NaN}',
        '{"a": 1,}',
        "[1,]",
        "[,1]",
        "[1 2]",
        "1 2",
        '{"a" 1}',
        "{'a': 1}",
        '{"a": "\n"}',
        '{"a": "\\x"}',
        '{"a": 1, "a": 2}',
        '{"a": 1, "\\u0061": 2}',
        '{"a": 1} {"a": 2}',
        '[{"a": 1}] {"a": 2}',
        "[1] and words",
    ],
)
def test_what_is_no_single_document(text):
    """Broken, not strict, a key twice, or two documents: nothing is guessed."""
    assert numbers_at(text) is None


def test_depth_is_bounded():
    """Nesting is no way to exhaust the stack."""
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        deep = opening * MAX_DEPTH + "1" + closing * MAX_DEPTH
        (number,) = numbers_at(deep) or ()
        assert len(number.path) == MAX_DEPTH
        assert numbers_at(f"{opening}{deep}{closing}") is None
        assert numbers_at(opening * 50_000) is None
