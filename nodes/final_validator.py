"""Final validator: the last check of a reply. It always leaves one to send.

Rules in order: control characters, template marks, role prefixes, JSON (`reply_json`), leaked
prompts, persona breaks, repetitions, length, emptiness. What breaks a rule is taken out; when
nothing is left, a neutral line takes its place, the same for the same reply.

Invariants, for any text: the reply is not empty and no longer than allowed, and its
bubbles join to it, white space aside. A reply that was sent once passes unchanged. No rule
raises on any text, and each takes time linear in it.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from nodes.bubbles import split_bubbles
from nodes.prompt import words
from nodes.records import Bubble, FrozenRecord, Language, Persona
from nodes.reply_json import unwrap_json
from nodes.text import cut_at_sentence, is_wide, split_sentences, text_size

__all__ = [
    "MIN_MAX_CHARS",
    "ValidatedReply",
    "drop_control_characters",
    "drop_persona_breaks",
    "drop_prompt_leaks",
    "drop_repetitions",
    "drop_role_prefixes",
    "drop_template_marks",
    "validate_reply",
]

MIN_MAX_CHARS = 20
"""Smallest limit that every language has a neutral line for, in characters."""

MAX_PASSES = 4
"""Taking one thing out may bare another; after this many passes a neutral line is sent."""

_KEPT_CONTROLS = frozenset("\n\t\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u08e2")
"""Joiners are kept: emoji and some scripts are written with them. So are the number signs of
Arabic and Syriac, which are drawn."""

_TAGGED_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e007a]{1,6}\U000e007f")
"""A flag such as Scotland's; elsewhere tags are text that is not drawn."""

_MARKERS = re.compile(
    r"<\|[^|<>\n]{0,40}\|>|\[/?INST\]|<</?SYS>>|</?(?:system|assistant|user|instructions)>",
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"^#{1,6}[ \t]*(?:system|instructions?|persona|系统|指令|人设)\b.*$",
    re.IGNORECASE | re.MULTILINE,
)
_CODE = re.compile(r"(```.*?(?:```|\Z))", re.DOTALL)

_PROMPT_TALK = re.compile(
    r"\bmy system prompt|\b(?:here is|here's|according to|as per) (?:the|this) system prompt"
    r"|\b(?:the|this) system prompt (?:say|tell|ask|require|instruct)s"
    r"|\bmy (?:instructions|prompt) (?:say|tell|are)|\bmy guidelines (?:say|tell)"
    r"|(?:answer|respond|reply) with (?:one|a single|only) (?:valid )?json"
    r"|系统提示词|我的系统提示(?:说|里|中|是|要求)|系统指令|我的(?:指令|提示词)(?:是|要求)"
    r"|(?:必须|只能?|请|要求我?)(?:输出|返回)(?:一个)?\s*json",
    re.IGNORECASE,
)

# A person may work on machines ("an AI safety researcher", "人工智能专业") or live with them
# ("作为AI时代的打工人").
_MACHINE = (
    r"(?:ai|artificial intelligence)(?!-?\w)(?!(?: (?!for |by |to )[\w-]+){0,2} (?:research"
    r"|engineer|scien|stud|expert|consult|developer|development|compan|artist|professor|enthusiast|fan\b"
    r"|nerd|startup|project|course|lawyer|analyst|designer|manager|skeptic|sceptic|teacher"
    r"|trainer|lead\b|policy|ethic))"
    r"|(?:large )?language model(?! (?:research|engineer|trainer|developer))"
    r"|chatbot|virtual assistant|computer program(?!m)"
)
_MACHINE_ZH = (
    r"(?:(?:ai|人工智能)\s?(?:小?助[手理]|伴侣|程序|系统|机器人|聊天|大?(?:语言)?模型|生成的|训练的)"
    r"|(?:ai|人工智能)(?=\s*(?:[^\w\s]|$)|\s*[我没不无只也是都其并而啊呀哦呢嘛啦吧哈])"
    r"|大?语言模型|聊天机器人|智能助手|虚拟助手)"
)

_MACHINE_TALK = re.compile(
    rf"\bas an? (?:{_MACHINE})\b"
    rf"|\bi(?:'m| am|’m) (?:just |only |merely |actually )?an? (?:{_MACHINE})\b"
    r"|\bi was (?:trained|created|developed|made) by (?:openai|anthropic|google|meta|deepseek"
    r"|alibaba|mistral)\b(?! (?:as|for|in)\b)|\bmy knowledge cutoff\b"
    rf"|作为(?:一?[个名款]|[你您]的)?{_MACHINE_ZH}"
    rf"|我(?:只是|仅仅是|其实是|是)(?:一?[个名款]|[你您]的)?(?:由.{{1,12}}(?:开发|训练|创造)的)?{_MACHINE_ZH}"
    r"|我(?:的名字)?是[^，。！？\n]{0,8}(?:ai|人工智能)(?:伴侣|助手|助理)",
    re.IGNORECASE,
)

_MACHINE_PERSONA = re.compile(
    r"\bai\b|artificial intelligence|language model|\bro?bot\b|chatbot|virtual assistant"
    r"|人工智能|语言模型|机器人|智能助手|虚拟助手",
    re.IGNORECASE,
)

_SPEAKERS = ("assistant", "agent", "bot", "ai", "助手", "机器人")
_OTHER_SPEAKERS = re.compile(
    r"^[ \t]*(?:user|human|system|用户|系统)[ \t]?[:：]", re.IGNORECASE | re.MULTILINE
)

_THOUGHTS = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_END_OF_THOUGHTS = re.compile(r"</think(?:ing)?>", re.IGNORECASE)

MIN_LEAKED_CHARS = 16
"""Shortest sentence of a prompt that is taken as a leak, in letters and digits; one of a wide
script counts as two."""

LEAKED_RUN_CHARS = 32
"""Letters and digits in a row that are a leak when a prompt has them; counted likewise."""

MIN_REPEATED_CHARS = 12
"""A shorter line may come again later in a reply ("Haha."), but not right after itself."""


def drop_control_characters(text: str) -> tuple[str, bool]:
    """Return the text without characters that draw nothing or reverse what is drawn."""
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    unified = unified.replace("\u2028", "\n").replace("\u2029", "\n")
    parts: list[str] = []
    place = 0
    for flag in _TAGGED_FLAG.finditer(unified):
        parts += [_drawn(unified[place : flag.start()]), flag[0]]
        place = flag.end()
    kept = "".join([*parts, _drawn(unified[place:])])
    return kept, kept != unified


def _drawn(text: str) -> str:
    return "".join(
        char
        for char in text
        if char in _KEPT_CONTROLS or unicodedata.category(char) not in {"Cc", "Cf", "Cs"}
    )


def drop_role_prefixes(text: str, persona: Persona) -> tuple[str, bool]:
    """Return the text without `Assistant:` before it, and without lines of other speakers.

    Where the reply goes on with a line of the user's, it ends before that line.
    """
    names = [*_SPEAKERS, persona.name.strip()]
    speakers = "|".join(re.escape(name) for name in names if name)
    prefix = re.compile(
        rf"^[ \t]*(?:\*\*)?(?:{speakers})(?:\*\*)?\s?[:：](?:\*\*)?[ \t]*",
        re.IGNORECASE | re.MULTILINE,
    )
    kept = prefix.sub("", text)
    other = _OTHER_SPEAKERS.search(kept)
    if other is not None:
        kept = kept[: other.start()] or kept[other.end() :]
    return kept, kept != text


def drop_template_marks(text: str) -> tuple[str, bool]:
    """Return the text without thoughts, chat template marks and prompt headings.

    Thoughts that a reasoning model left open run to the end of the text.
    """
    spoken = _END_OF_THOUGHTS.split(_THOUGHTS.sub("", text))[-1]
    marked = _MARKERS.sub("", spoken)
    # In code, such a heading is a comment.
    kept = "".join(
        part if part.startswith("```") else _HEADING.sub("", part) for part in _CODE.split(marked)
    )
    return kept, kept != text


def _plain(text: str) -> str:
    """Return a text as it reads: without markup and signs that draw nothing."""
    unified = unicodedata.normalize("NFKC", text)
    return "".join(
        char
        for char in unified
        if char not in "*_`~" and (char.isascii() or unicodedata.category(char) != "Cf")
    )


def _compact(text: str) -> str:
    """Return the letters and digits of a text, without case."""
    unified = unicodedata.normalize("NFKC", text).casefold()
    return "".join(char for char in unified if char.isalnum())


def _runs(compact: str) -> Iterator[str]:
    """Yield the runs of letters that are too long to be the same by chance."""
    for start in range(len(compact) - LEAKED_RUN_CHARS + 1):
        yield compact[start : start + LEAKED_RUN_CHARS]
    if compact.isascii():
        return
    chars = LEAKED_RUN_CHARS // 2
    wide = 0
    for end, char in enumerate(compact, start=1):
        wide = wide + 1 if is_wide(char) else 0
        if wide >= chars:
            yield compact[end - chars : end]


class _Secret(NamedTuple):
    """A prompt as the parts that a reply is searched for."""

    compact: str
    sentences: frozenset[str]
    runs: frozenset[str]


@lru_cache(maxsize=64)
def _secret(prompt: str) -> _Secret:
    parts = (part for line in prompt.splitlines() for part in split_sentences(line))
    sentences = {
        compact for part in parts if text_size(compact := _compact(part)) >= MIN_LEAKED_CHARS
    }
    compact = _compact(prompt)
    return _Secret(compact, frozenset(sentences), frozenset(_runs(compact)))


def drop_prompt_leaks(text: str, instructions: Sequence[str] = ()) -> tuple[str, bool]:
    """Return the text without sentences of the prompts, or about them.

    Marks, quotation signs and invisible characters in a sentence do not hide what it repeats,
    nor do words before or after it.

    Args:
        instructions: texts that must not be quoted, such as the prompt files.
    """
    secrets = [_secret(prompt) for prompt in instructions]

    def is_leaked(sentence: str) -> bool:
        if _PROMPT_TALK.search(_plain(sentence)):
            return True
        compact = _compact(sentence)
        if text_size(compact) < MIN_LEAKED_CHARS:
            return False
        return any(
            compact in secret.compact
            or any(part in compact for part in secret.sentences)
            or not secret.runs.isdisjoint(_runs(compact))
            for secret in secrets
        )

    kept = "".join(part for part in split_sentences(text) if not is_leaked(part))
    return kept, kept != text


def drop_persona_breaks(text: str, persona: Persona) -> tuple[str, bool]:
    """Return the text without sentences in which the agent claims to be a model.

    A persona that is described as a machine breaks nothing by such a sentence.
    """
    if _MACHINE_PERSONA.search(f"{persona.name} {persona.background}"):
        return text, False
    kept = "".join(part for part in split_sentences(text) if not _MACHINE_TALK.search(_plain(part)))
    return kept, kept != text


def drop_repetitions(text: str) -> tuple[str, bool]:
    """Return the text without lines that repeat the line before, or long ones that come again.

    Lines of code may: what is fenced or indented, and what has no letter, such as a bracket.
    """
    seen: set[str] = set()
    previous = ""
    kept: list[str] = []
    is_code = False
    for line in text.split("\n"):
        plain = line.strip().casefold()
        is_fence = plain.startswith("```")
        is_code ^= is_fence
        if is_code or is_fence or line[:1].isspace() or not any(map(str.isalnum, plain)):
            kept.append(line)
            previous = plain or previous
            continue
        is_repeated = plain == previous or (plain in seen and len(plain) >= MIN_REPEATED_CHARS)
        if plain and is_repeated:
            continue
        kept.append(line)
        if plain:
            previous = plain
            seen.add(plain)
    return "\n".join(kept), len(kept) != text.count("\n") + 1


class ValidatedReply(FrozenRecord):
    """A reply that may be sent."""

    text: str
    bubbles: tuple[Bubble, ...]
    violations: tuple[str, ...] = ()
    """Names of the rules that were broken, each once, in the order they were found."""


def _neutral_line(language: Language, seed: str, max_chars: int) -> str:
    """Return a neutral line that fits, always the same for the same seed text."""
    known = words("rules")["neutral_lines"][language]
    lines: list[str] = [line for line in known if len(line) <= max_chars]
    digest = hashlib.sha256(seed.encode("utf-8", "surrogatepass")).digest()
    return lines[digest[0] % len(lines)]


def _mended(
    text: str, persona: Persona, instructions: Sequence[str], max_chars: int
) -> tuple[str, list[str]]:
    """Return the text that no rule changes any more, or nothing, and the broken rules."""
    rules = {
        "control_characters": drop_control_characters,
        "template_mark": drop_template_marks,
        "role_prefix": lambda rest: drop_role_prefixes(rest, persona),
        "json": unwrap_json,
        "prompt_leak": lambda rest: drop_prompt_leaks(rest, instructions),
        "persona_break": lambda rest: drop_persona_breaks(rest, persona),
        "repetition": drop_repetitions,
    }
    broken: dict[str, None] = {}
    for _ in range(MAX_PASSES):
        before = text
        for name, rule in rules.items():
            text, was_broken = rule(text)
            if was_broken:
                broken[name] = None
        text = text.strip()
        if len(text) > max_chars:
            broken["too_long"] = None
            text = cut_at_sentence(text, max_chars)
        if text == before:
            return text, list(broken)
    return "", list(broken)


def _joins_to(bubbles: Sequence[Bubble], text: str) -> bool:
    """Return whether the bubbles are the text, white space aside, and none is empty."""
    joined = "".join("".join(bubble.text.split()) for bubble in bubbles)
    return joined == "".join(text.split()) and all(bubble.text.strip() for bubble in bubbles)


def validate_reply(
    text: str,
    bubbles: Sequence[Bubble] = (),
    *,
    language: Language,
    persona: Persona,
    instructions: Sequence[str] = (),
    max_chars: int = 1200,
) -> ValidatedReply:
    """Return a reply that may be sent, whatever the text.

    Args:
        text: the reply; where it is blank, the bubbles' texts are taken.
        bubbles: its bubbles so far; kept when the text passes unchanged, cut again
            when it does not.
        instructions: texts that the reply must not quote, such as the prompt files.
        max_chars: longest reply, in characters; at least `MIN_MAX_CHARS`.

    Raises:
        ValueError: when `max_chars` is too small. Never for a text.
    """
    if max_chars < MIN_MAX_CHARS:
        raise ValueError(f"max_chars is at least {MIN_MAX_CHARS}, got {max_chars}")
    draft = text if text.strip() else "\n".join(bubble.text for bubble in bubbles)
    reply, violations = _mended(draft.strip(), persona, instructions, max_chars)
    if not reply:
        violations.append("empty")
        reply = _neutral_line(language, draft, max_chars)
    kept = tuple(bubbles)
    if not kept or not _joins_to(kept, reply):
        kept = tuple(split_bubbles(reply))
    if not _joins_to(kept, reply):
        kept = (Bubble(text=reply, delay_seconds=0.0),)
    return ValidatedReply(text=reply, bubbles=kept, violations=tuple(violations))
