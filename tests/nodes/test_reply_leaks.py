"""Parts that are removed from a reply."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes import final_validator
from nodes.prompt import prompt
from nodes.records import Language, Persona
from nodes.reply_json import unwrap_json

LANGUAGES: tuple[Language, ...] = get_args(Language)
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
    assert unwrap_json(text) == (expected, text != expected)


NO_REPLY = "{'reason': 'It fits.', 'score': 0.9, 'mode_fit': None}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{'reply': 'Hi there.', 'bubbles': ['Hi there.'], 'more': None}", "Hi there."),
        ("{'reply': \"It's fine.\", 'strategy_tag': 'calm'}", "It's fine."),
        ("{\u201creply\u201d: \u201cHi there.\u201d}", "Hi there."),
        ('{reply: "Hi there.", strategy_tag: "calm"}', "Hi there."),
        ('Here is the JSON: {"reply": "Hi there."}', "Hi there."),
        ("Here you go:\n\n{'reply': 'Hi there.'}\n\nAnything else?", "Hi there."),
        ("```python\n{'reply': 'Hi there.', 'yes': True}\n```", "Hi there."),
        ('Sure!\n```\n{"strategy_tag": "calm", "reply": "Hi there.",}\n```', "Hi there."),
        ('{"answer": {"strategy_tag": "calm", "reply": "Hi there."}}', "Hi there."),
        ('Here: {"answer": {"reply": "Hi there."}} ok', "Hi there."),
        ("['Hi there.', 'You?']", "Hi there.\nYou?"),
        ("goal: comfort\nstrategy_tag: calm\nreply: Hi there.", "Hi there."),
        ('- strategy_tag: calm\n- reply: "Hi there."\n- goal: comfort', "Hi there."),
        ("**goal:** comfort\n**strategy_tag:** calm\n**reply:** Hi there.", "Hi there."),
        ("strategy_tag: calm\nbubbles:\n- Hi there.\n- You?", "Hi there.\nYou?"),
        ("goal：安慰他\nstrategy_tag：calm\nreply：“抱抱你。”", "抱抱你。"),
        ('{"Reply": "Hi there."}', "Hi there."),
        ("Sure: {'Reply': 'Hi there.'}", "Hi there."),
        ('"{\\"reply\\": \\"Hi there.\\"}"', "Hi there."),
        ('{"bubbles": "Hi there."}', "Hi there."),
        ('{"score": 8}\nHi there, how are you?', "\nHi there, how are you?"),
        ('{"reason": "x", "score": 8} Hi there.', " Hi there."),
        ('{"reply": "Hi there."} {"reply": "You?"}', "Hi there."),
        (NO_REPLY, ""),
        (f"Here is my verdict: {NO_REPLY}", ""),
        (f"Hello. Here is my verdict:\n```json\n{NO_REPLY}\n```", "Hello."),
        (f"It rains. {NO_REPLY} Bring a coat.", "It rains.  Bring a coat."),
        ("context: small talk\nstage_hint: null\nhostility: 0", ""),
        ('Here: {"strategy_tag": "calm", "reply": "It broke off', "It broke off"),
    ],
)
def test_a_document_of_our_forms_is_found_however_it_is_written(text: str, expected: str) -> None:
    """In Python's spelling, with words around it, in a fence, or as lines of keys."""
    assert unwrap_json(text) == (expected, True)


ORDINARY = (
    'He said "reply to me" and left.',
    "I like {curly} braces and f(x) = {x | x > 0}.",
    'Send {"text": "hi", "n": 1} to the server, then wait.',
    'Try this: {"name": "Lin", "age": 3}. Then tell me what it prints.',
    "In Python: d = {'a': 1, 'b': [2, 3]} and then print(d).",
    "Here:\n```python\nx = {'message': 'hi'}\nprint(x)\n```\nDoes it run?",
    "Note: bring milk.\nGoal: be home by six.",
    "Plan: tea first.\nTone: gentle, please.",
    "My reply: no.",
    "Well: I thought so.\nAnyway: tea?",
    "[laughs] ok [1] and (2)",
    "*shrugs* 'tis fine, \u201creally\u201d.",
    "他说：“回复我”，然后走了。",
    "计划：先喝茶。\n语气：随意。",
    "Between us, what you need comes before what I would like.",
    'Try this:\n```json\n{"name": "app", "message": "hi", "port": 80}\n```\nand restart it.',
    '好的，把这个放进配置文件就行了。\n```json\n{"strict": true}\n```',
    "```python\n# system call follows\nos.getpid()\n```",
    "```js\nif (a) {\n  if (b) {\n    run(a);\n    run(a);\n  }\n}\n}\n```",
    "def f(x):\n    if x:\n        return None\n    g(x)\n    return None",
    "| a | b |\n| --- | --- |\n| 1 | 2 |\n\n| c | d |\n| --- | --- |\n| 3 | 4 |",
    '{"a": 1} is valid JSON, but {a: 1} is not.',
    '{"name": "Lin"} is what I would send.',
    '"He said {x} to me," she wrote.',
    "这个接口会返回 JSON，你用 json.loads 解析就行。",
    "手机系统提示内存不足，烦死了。",
    "I spent the day tuning the system prompt of our bot.",
    "My guidelines are simple: sleep, eat, walk.",
    "作为AI时代的打工人，我们都挺累的。",
    "作为一个AI小白，我建议先看视频。",
    "我是AI绘画师，平时接点稿。",
    "我是人工智能博士。",
    "I'm an AI safety researcher.",
    "As an AI and robotics nerd, I love it.",
    "I was trained by Google for sales.",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f won!",
    "\u06dd ٣",
    "می\u200cخواهم بروم خانه.",
    "Das ist ja schön! Wie war's denn? „Gut“, sagte er: { und }.",
    "Bonjour ! « Très bien », dit-il.",
    "今日はどうだった？ゆっくり休んでね。",
    "오늘 하루는 어땠어? 푹 쉬어.",
    "Привет! Как дела? Расскажи: что случилось.",
    "كيف حالك اليوم؟ احكِ لي.",
)


@pytest.mark.parametrize("text", ORDINARY)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_ordinary_replies_pass(text: str, language: Language) -> None:
    """Quotes, code, braces, lists and lines with colons are no leak."""
    prompts = [prompt(name, language) for name in ("lats_generate", "processor", "fused_reply")]
    assert unwrap_json(text) == (text, False)
    assert final_validator.drop_prompt_leaks(text, prompts) == (text, False)
    assert final_validator.drop_persona_breaks(text, LIN) == (text, False)
    assert final_validator.drop_control_characters(text) == (text, False)
    assert final_validator.drop_template_marks(text) == (text, False)
    assert final_validator.drop_repetitions(text) == (text, False)
    assert final_validator.drop_role_prefixes(text, LIN) == (text, False)


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from _texts(child)


def test_the_shipped_conversations_pass() -> None:
    """What people write there, and who answers, is taken for no document and no prompt."""
    path = Path(__file__).parents[2] / "notebooks" / "data" / "small_talks.jsonl"
    _check_no_alarm(path)


@pytest.mark.data
@pytest.mark.parametrize("name", ["sample_kdconv_zh/dialogues", "sample_memorybank_cn/turns"])
def test_recorded_conversations_pass(name: str) -> None:
    """Nor in conversations that other people recorded."""
    default = Path(__file__).parents[2] / ".." / "shared" / "data"
    path = Path(os.environ.get("CALLWISE_DATA", default)) / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"the recorded conversations are not at {path}")
    _check_no_alarm(path)


def _check_no_alarm(path: Path) -> None:
    texts = [
        text
        for line in path.read_text(encoding="utf-8").splitlines()[:300]
        for text in _texts(json.loads(line))
    ]
    assert len(texts) > 100
    prompts = [prompt("lats_generate", "en"), prompt("lats_generate", "zh")]
    for text in texts:
        assert unwrap_json(text) == (text, False)
        assert final_validator.drop_prompt_leaks(text, prompts) == (text, False)


def test_deep_json_does_not_raise() -> None:
    """JSON nested past the parser's depth is no reply and no error."""
    assert unwrap_json("[" * 100_000) == ("[" * 100_000, False)
    deep = '{"bubbles": [' * 300 + "1" + "]}" * 300
    assert unwrap_json(deep) == ("", True)


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
    assert final_validator.drop_role_prefixes(text, LIN)[0] == expected


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
        ("I'm an AI and I can't feel.", ""),
        ("As an AI developed by OpenAI, I can't.", ""),
        ("I am an AI made for research.", ""),
        ("我是AI，没有感情。作为AI我不会累。", ""),
        ("我只是个AI聊天机器人。我是AI啦！", ""),
        ("我是AI生成的。作为AI大模型，我不懂。", ""),
        ("I'm an AI engineer by day.", "I'm an AI engineer by day."),
        ("As an air hostess I travel.", "As an air hostess I travel."),
        ("我是你的聊天陪伴AI伴侣。", ""),
        ("我是人工智能专业的学生。", "我是人工智能专业的学生。"),
        ("我觉得人工智能挺有意思。", "我觉得人工智能挺有意思。"),
    ],
)
def test_persona_breaks(text: str, expected: str) -> None:
    """Sentences that say it is a model go; sentences about models stay."""
    assert final_validator.drop_persona_breaks(text, LIN) == (expected, text != expected)


def test_a_machine_may_say_that_it_is_one() -> None:
    """A persona that is a machine breaks nothing."""
    robot = Persona(name="Bolt", background="a robot in a museum")
    assert final_validator.drop_persona_breaks("As an AI, I rust.", robot) == (
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
        ("```\n# system\n```\n# System\nHello.", "```\n# system\n```\n\nHello."),
        ("I <3 you", "I <3 you"),
    ],
)
def test_template_marks(text: str, expected: str) -> None:
    """Thoughts and the marks of chat templates go."""
    assert final_validator.drop_template_marks(text) == (expected, text != expected)


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
    assert final_validator.drop_prompt_leaks(text, instructions)[0] == expected


SECRET = "Think of the whole range of ways in which this person might, the unlikely ones too"
SECRET_ZH = "记忆只在合适时才用，不编造关于用户的事实"
DISGUISES: tuple[Callable[[str], str], ...] = (
    lambda text: f'"{text}."',
    lambda text: f"\u201c{text}\u201d, it says.",
    lambda text: f"**{text}.**",
    lambda text: f"*{text}*: that is what I do.",
    lambda text: f"As I was told, {text.lower()}.",
    lambda text: f"{text}, and so on.",
    "\u200d".join,
    lambda text: text.replace("o", "o\u200b").replace("的", "的\u2060"),
    lambda text: text.upper(),
    lambda text: text.replace(" ", "_").replace("，", "、"),
    lambda text: f"> {text}",
    lambda text: "".join(chr(ord(c) + 0xFEE0) if c.isascii() and c.isalpha() else c for c in text),
)


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("secret", [SECRET, SECRET_ZH])
def test_a_sentence_of_a_prompt_is_found_however_it_is_dressed(
    secret: str, disguise: Callable[[str], str]
) -> None:
    """Quotes, bold, words around it, joiners inside of it, letters of another width."""
    prompts = [prompt("lats_generate", language) for language in LANGUAGES]
    assert any(secret in text for text in prompts)
    text = f"Hello.\n{disguise(secret)}\nTea?"
    assert final_validator.drop_prompt_leaks(text, prompts) == ("Hello.\nTea?", True)


def test_marks_do_not_hide_talk_of_prompts_and_machines() -> None:
    """They are left out before a sentence is looked at; the next sentence stays."""
    assert final_validator.drop_prompt_leaks("**My system** _prompt_ is long. Tea?")[0] == "Tea?"
    assert final_validator.drop_prompt_leaks("My sys\u200btem prompt is long. Tea?")[0] == "Tea?"
    assert final_validator.drop_persona_breaks("**As an** `AI`, I rust.* Tea?", LIN)[0] == "Tea?"


def test_repetitions() -> None:
    """A line repeated directly is dropped, a long one later too, a short one later is kept."""
    long = "See you at the station."
    text = f"Haha.\nHaha.\n{long}\nHaha.\n{long.upper()}"
    assert final_validator.drop_repetitions(text) == (f"Haha.\n{long}\nHaha.", True)


def test_control_characters() -> None:
    """What cannot be seen or turns text around goes; emoji keep their joiners."""
    assert final_validator.drop_control_characters("a\x00b\u202ec\r\nd\ud800") == ("abc\nd", True)
    assert final_validator.drop_control_characters("👩\u200d👧 好\n") == ("👩\u200d👧 好\n", False)


ANY_TEXT = st.text(st.characters(codec=None), max_size=200) | st.text(
    '{}[]"`\\:ab \n<|>.。#*', max_size=80
)


@pytest.mark.parametrize(
    "rule",
    [
        final_validator.drop_control_characters,
        unwrap_json,
        lambda text: final_validator.drop_role_prefixes(text, LIN),
        final_validator.drop_template_marks,
        final_validator.drop_prompt_leaks,
        lambda text: final_validator.drop_persona_breaks(text, LIN),
        final_validator.drop_repetitions,
    ],
)
@given(text=ANY_TEXT)
def test_no_rule_raises(rule: Callable[[str], tuple[str, bool]], text: str) -> None:
    """Any text comes back as text, and says truly whether it changed."""
    kept, was_broken = rule(text)
    assert isinstance(kept, str)
    if not was_broken and rule is not final_validator.drop_control_characters:
        assert kept == text


@pytest.mark.parametrize(
    "unit", ["a", "a: ", "{'reply': ", "```", "goal: a\nreply: b\n", "*_", "“"]
)
def test_a_very_long_reply_is_looked_through(unit: str) -> None:
    """A rule that takes more than linear time would not return from these."""
    text = unit * (50_000 // len(unit)) + "{'score': 1, 'reason': 2}"
    assert isinstance(unwrap_json(text)[0], str)
    assert isinstance(final_validator.drop_prompt_leaks(text, [prompt("lats_plan", "en")])[0], str)
