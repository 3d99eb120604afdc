"""Tokens are counted by a rule that knows two scripts."""

import pytest

from callwise.simulator.model import count_tokens, prompt_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("今天", 2), ("今天天气好", 4), ("a今", 2)],
)
def test_texts_are_counted_by_script(text, tokens):
    """A quarter a narrow character, four fifths a wide one, rounded up."""
    assert count_tokens(text) == tokens


def test_prompts_count_messages_and_schema():
    """Each message costs four more, a schema a quarter of its JSON."""
    body = {"messages": [{"role": "system", "content": "abcd"}, {"role": "user", "content": None}]}
    assert prompt_tokens(body) == 9
    assert prompt_tokens(body, schema_bytes=10) == 12
