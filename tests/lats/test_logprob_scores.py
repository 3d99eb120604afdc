"""Expected scores from log-probabilities, and numbers of a JSON text."""

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.logprob_scores import MAX_DEPTH, NumberAt, expected_scores, numbers_at

LOGPROB = st.floats(max_value=0.5) | st.sampled_from([math.nan, -math.inf, math.inf])
WRITTEN = st.floats(0, 10).map(lambda value: json.dumps(round(value, 2)))
TEXT = WRITTEN | st.text(alphabet='0123456789.-e ,}"', max_size=6)
ALTERNATIVES = st.lists(st.tuples(TEXT, LOGPROB), max_size=6)


def odds(**chances):
    """Return alternatives by their probabilities; a leading `_` is cut off."""
    return [(text.lstrip("_"), math.log(chance)) for text, chance in chances.items()]


def certain(*texts):
    """Return tokens without alternatives."""
    return [(text, []) for text in texts]


def score_of(tokens, *, low=0.0, high=1.0, path=("s",)):
    """Return the expected score at a path of the tokens' own text."""
    text = "".join(token for token, _ in tokens)
    return expected_scores(text, tokens, low=low, high=high)[path]


def test_a_score_is_the_mean_of_what_might_have_stood_there():
    """Each readable alternative by its probability, renormalised."""
    token = ("7", [*odds(_7=0.5, _8=0.3, _9=0.1), ('"', math.log(0.1))])
    tokens = [*certain('{"s":'), token, *certain("}")]
    assert score_of(tokens, high=10) == pytest.approx((7 * 0.5 + 8 * 0.3 + 9 * 0.1) / 0.9)


def test_every_number_has_its_path():
    """In lists and objects; strings and words are none."""
    one = ("1", [("1", 0.0)])
    tokens = [*certain('{"a":['), one, *certain(',{"b c":'), one, *certain('}],"d":"1","e":null}')]
    text = "".join(token for token, _ in tokens)
    assert expected_scores(text, tokens, low=0, high=1) == {("a", 0): 1.0, ("a", 1, "b c"): 1.0}


def test_a_number_over_several_tokens_is_varied_where_its_value_is():
    """In [0, 1] behind the point, in [0, 10] before it; the other tokens stay."""
    tokens = [
        *certain('{"s":'),
        ("0", odds(_0=0.6, _1=0.4)),
        (".", odds(_=1.0)),
        ("73", [("73", math.log(0.5)), ("8", math.log(0.5))]),
        *certain("}"),
    ]
    assert score_of(tokens) == pytest.approx((0.73 + 0.8) / 2)
    assert score_of(tokens, high=10) == pytest.approx(0.73 + 0.4)


def test_single_digits_are_varied_at_the_first_that_counts():
    """As tokenizers have it that never join two digits."""
    seven, three = ("7", odds(_7=0.5, _8=0.5)), ("3", odds(_3=1.0))
    tokens = [*certain("["), seven, three, *certain("]")]
    assert score_of(tokens, high=100, path=(0,)) == pytest.approx(78)
    full = [*certain("["), ("1", odds(_1=0.9, _9=0.1)), ("0", odds(_0=1.0)), *certain("]")]
    assert score_of(full, high=10, path=(0,)) == 10
    exponent = [*certain("["), ("5", odds(_5=0.5, _6=0.5)), *certain("e-1", "]")]
    assert score_of(exponent, path=(0,)) == pytest.approx(0.55)


def test_tokens_may_hold_more_than_the_number():
    """Quote, colon and space before it, a bracket behind it, here and not there."""
    chances = [('": 7}', 0.5), ('": 8', 0.25), ('":9,', 0.25), ("7", 0.0)]
    alternatives = [(text, math.log(chance or 1e-9)) for text, chance in chances]
    tokens = [*certain('{"s'), ('": 7}', alternatives)]
    assert score_of(tokens, high=10) == pytest.approx(7.75)
    spaced = [*certain('{"s":'), (" 7", [(" 7", math.log(0.5)), ("9", math.log(0.5))])]
    assert score_of([*spaced, *certain("}")], high=10) == pytest.approx(8)


@pytest.mark.parametrize(
    ("alternatives", "expected"),
    [
        ([], None),
        ([("7", math.log(0.49))], None),
        ([("7", math.log(0.51))], 7.0),
        ([("7", math.log(0.4)), ("null", math.log(0.6))], None),
        ([("7", math.log(0.4)), ("70", math.log(0.6))], None),
        ([("7", -math.inf)], None),
        ([("7", math.nan), ("8", 0.0)], 8.0),
        ([("7", math.inf)], 7.0),
        ([("07", 0.0)], None),
        ([("7.", 0.0)], None),
        ([("1e999", 0.0), ("7", -0.5)], None),
    ],
)
def test_too_little_that_can_be_read_is_no_score(alternatives, expected):
    """Less than half of the probability; what is out of range is not readable."""
    tokens = [*certain('{"s":'), ("7", alternatives), *certain("}")]
    assert score_of(tokens, high=10) == expected


def test_a_number_out_of_range_is_no_score():
    """A rank among scores has none, whatever else might have stood there."""
    assert score_of([*certain('{"s":'), ("3", odds(_3=0.2, _1=0.8)), *certain("}")]) is None


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("[7]", certain("[", "8", "]")),
        ("[7]", []),
        ("", []),
        ("[7]", certain("[7]", "[7]")),
        ("[7", certain("[", "7")),
        ("7" * 9 + "x", certain("7" * 9 + "x")),
    ],
)
def test_what_does_not_fit_has_no_scores(text, tokens):
    """Other tokens, ambiguous ones, and no document."""
    assert expected_scores(text, tokens, low=0, high=10) == {}


def test_tokens_around_the_text_do_no_harm():
    """A thought before the answer, an end token behind it."""
    tokens = [*certain("<think>7</think>", ' {"s":'), ("7", odds(_7=1.0)), *certain("}<|end|>", "")]
    assert expected_scores('{"s":7}', tokens, low=0, high=10) == {("s",): 7.0}


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (math.nan, 1), (0, math.inf)])
def test_an_empty_range_is_an_error(low, high):
    """The error has the given figures."""
    with pytest.raises(ValueError, match="finite low < high"):
        expected_scores("[1]", certain("[1]"), low=low, high=high)


@given(WRITTEN, ALTERNATIVES, st.randoms())
def test_means_stay_in_range_and_know_no_order(written, alternatives, random):
    """Permuting any alternatives changes nothing."""
    tokens = [*certain('{"s":'), (written, alternatives), *certain("}")]
    mean = score_of(tokens, high=10.0)
    assert mean is None or 0.0 <= mean <= 10.0
    shuffled = random.sample(alternatives, len(alternatives))
    assert score_of([tokens[0], (written, shuffled), tokens[2]], high=10.0) == mean


@given(WRITTEN, st.floats(-0.69, 0.0))
def test_one_certain_alternative_is_the_number(written, logprob):
    """Exactly, to the last bit."""
    tokens = [*certain('{"s":'), (written, [(written, logprob)]), *certain("}")]
    assert score_of(tokens, high=10.0) == float(written)


@given(WRITTEN, st.lists(st.integers(1, 8), max_size=5), st.sampled_from([1.0, 10.0, 100.0]))
def test_certain_tokens_give_the_number_however_it_is_cut(written, cuts, high):
    """Also where tokens begin before it and end behind it."""
    text = f'{{"s": {written}}}'
    marks = sorted({0, len(text), *(4 + cut for cut in cuts if 4 + cut < len(text))})
    pieces = [text[start:end] for start, end in pairwise(marks)]
    tokens = [(piece, [(piece, 0.0)]) for piece in pieces]
    expected = float(written) if float(written) <= high else None
    assert expected_scores(text, tokens, low=0.0, high=high) == {("s",): expected}


@pytest.mark.parametrize("text", ["[" + "1," * 25_000 + "1]", "[0." + "7" * 50_000 + "]"])
def test_long_answers_are_read(text):
    """50,000 characters, a token each, in a number or in as many numbers."""
    tokens = [(character, [(character, 0.0)]) for character in text]
    scores = expected_scores(text, tokens, low=0, high=1)
    assert len(scores) == text.count(",") + 1
    assert None not in scores.values()


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
def test_every_number_is_found_at_its_place(document, indent, ascii_only):
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
