"""What is taken out of a reply."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes import reply_leaks
from nodes.records import Persona

LIN = Persona(name="Lin", background="runs a bookshop")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ('{"reply": "Hi there."}', "Hi there."),
        ('```json\n{"reply": "Hi."}\n```', "Hi."),
        ('{"bubbles": ["Hi.", {"text": "You?"}]}', "Hi.\nYou?"),
        ('["Hi.", "You?"]', "Hi.\nYou?"),
        ('{"reply": "It broke \\"off', 'It broke "off'),
        ('{"reply": "raw\nnewline", "x": }', "raw\nnewline"),
        ('{"score": 0.9}', ""),
        ('{"thought": "..."', ""),
        ('Sure.\n```json\n{"a": 1}\n```', "Sure.\n"),
        ('My answer:\n```json\n{"reply": "Hi."}\n```', "Hi."),
        ("Here:\n```python\nx = 1\n```", "Here:\n```python\nx = 1\n```"),
        ("[laughs] no", "[laughs] no"),
        ("{curly} but words", "{curly} but words"),
    ],
)
def test_json_is_unwrapped_or_dropped(text: str, expected: str) -> None:
    """A reply inside JSON comes out, JSON without one goes, and prose stays."""
    assert reply_leaks.unwrap_json(text) == (expected, text != expected)


def test_deep_json_does_not_raise() -> None:
    """JSON nested past the parser's depth is no reply and no error."""
    assert reply_leaks.unwrap_json("[" * 100_000) == ("[" * 100_000, False)
    deep = '{"bubbles": [' * 300 + "1" + "]}" * 300
    assert reply_leaks.unwrap_json(deep) == ("", True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Assistant: hello", "hello"),
        ("**Lin:** hello", "hello"),
        ("助手：你好", "你好"),
        ("Hello.\nUser: and you?\nLin: fine", "Hello.\n"),
        ("User: hello", " hello"),
        ("Linda: a friend of mine", "Linda: a friend of mine"),
    ],
)
def test_role_prefixes(text: str, expected: str) -> None:
    """Its own name before a reply goes, and so does whatever it says for the user."""
    assert reply_leaks.drop_role_prefixes(text, LIN)[0] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sure. As an AI language model, I cannot feel. Tea?", "Sure. Tea?"),
        ("I'm just a language model.", ""),
        ("好的。作为一个人工智能，我没有感情。喝茶吗？", "好的。喝茶吗？"),
        ("我是一个由某公司开发的语言模型。", ""),
        ("你好！我是你的AI伴侣。", "你好！"),
        ("I read about AI in the paper.", "I read about AI in the paper."),
        ("I'm an AI, so I never sleep.", ""),
        ("I'm an AI engineer by day.", "I'm an AI engineer by day."),
        ("As an air hostess I travel.", "As an air hostess I travel."),
        ("我是你的聊天陪伴AI伴侣。", ""),
        ("我是人工智能专业的学生。", "我是人工智能专业的学生。"),
        ("我觉得人工智能挺有意思。", "我觉得人工智能挺有意思。"),
    ],
)
def test_persona_breaks(text: str, expected: str) -> None:
    """Sentences that say it is a model go; sentences about models stay."""
    assert reply_leaks.drop_persona_breaks(text, LIN) == (expected, text != expected)


def test_a_machine_may_say_that_it_is_one() -> None:
    """A persona that is a machine breaks nothing."""
    robot = Persona(name="Bolt", background="a robot in a museum")
    assert reply_leaks.drop_persona_breaks("As an AI, I rust.", robot) == (
        "As an AI, I rust.",
        False,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>plan it</think>Hello.", "Hello."),
        ("half a thought</think>Hello.", "Hello."),
        ("<think>never ends", ""),
        ("<|im_start|>Hello.<|im_end|>", "Hello."),
        ("### System rules\nHello.", "\nHello."),
        ("I <3 you", "I <3 you"),
    ],
)
def test_template_marks(text: str, expected: str) -> None:
    """Thoughts and the marks of chat templates go."""
    assert reply_leaks.drop_template_marks(text) == (expected, text != expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello. My system prompt says hi.", "Hello. "),
        ("You must always keep the persona. Hello.", "Hello."),
        ("You must smile.", "You must smile."),
    ],
)
def test_prompt_leaks(text: str, expected: str) -> None:
    """Sentences of the prompt, or about it, go."""
    instructions = ["Rules:\nYou must always  keep the persona. You must smile. Be short."]
    assert reply_leaks.drop_prompt_leaks(text, instructions)[0] == expected


def test_repetitions() -> None:
    """A line at once again goes, a long one later too, a short one later stays."""
    long = "See you at the station."
    text = f"Haha.\nHaha.\n{long}\nHaha.\n{long.upper()}"
    assert reply_leaks.drop_repetitions(text) == (f"Haha.\n{long}\nHaha.", True)


def test_control_characters() -> None:
    """What cannot be seen or turns text around goes; emoji keep their joiners."""
    assert reply_leaks.drop_control_characters("a\x00b\u202ec\r\nd\ud800") == ("abc\nd", True)
    assert reply_leaks.drop_control_characters("👩\u200d👧 好\n") == ("👩\u200d👧 好\n", False)


ANY_TEXT = st.text(st.characters(codec=None), max_size=200) | st.text(
    '{}[]"`\\:ab \n<|>.。#*', max_size=80
)


@pytest.mark.parametrize(
    "rule",
    [
        reply_leaks.drop_control_characters,
        reply_leaks.unwrap_json,
        lambda text: reply_leaks.drop_role_prefixes(text, LIN),
        reply_leaks.drop_template_marks,
        reply_leaks.drop_prompt_leaks,
        lambda text: reply_leaks.drop_persona_breaks(text, LIN),
        reply_leaks.drop_repetitions,
    ],
)
@given(text=ANY_TEXT)
def test_no_rule_raises(rule: Callable[[str], tuple[str, bool]], text: str) -> None:
    """Any text comes back as text, and says truly whether it changed."""
    kept, was_broken = rule(text)
    assert isinstance(kept, str)
    if not was_broken and rule is not reply_leaks.drop_control_characters:
        assert kept == text
