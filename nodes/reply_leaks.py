"""What must not reach the user: JSON, prompts, other speakers, and the machine behind.

Each function takes a reply apart in one respect, returns what is left, possibly
nothing, and whether it changed anything. None of them raises on any text, and each
takes time linear in it.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from nodes.records import Persona
from nodes.sentences import split_sentences

__all__ = [
    "drop_control_characters",
    "drop_persona_breaks",
    "drop_prompt_leaks",
    "drop_repetitions",
    "drop_role_prefixes",
    "drop_template_marks",
    "unwrap_json",
]

_REPLY_FIELDS = ("reply", "text", "content", "message", "response", "answer")
"""Fields of a JSON object that may hold the reply, best first."""

_OPEN_REPLY = re.compile(r'"(?:reply|text|content|message|response|answer)"\s*:\s*"')
_JSON_STRING_PIECE = re.compile(r'[^"\\]+|\\u[0-9a-fA-F]{4}|\\["\\/bfnrt]')
_FENCE = re.compile(r"```[^\n`]*\n?(.*?)(?:```|\Z)", re.DOTALL)

_KEPT_CONTROLS = frozenset("\n\t\u200c\u200d")
"""Joiners are kept: emoji and some scripts are written with them."""

_MARKERS = re.compile(
    r"<\|[^|<>\n]{0,40}\|>|\[/?INST\]|<</?SYS>>|</?(?:system|assistant|user|instructions)>"
    r"|^#{1,6}[ \t]*(?:system|instructions?|persona|系统|指令|人设)\b.*$",
    re.IGNORECASE | re.MULTILINE,
)

_PROMPT_TALK = re.compile(
    r"system prompt|my (?:instructions|prompt|guidelines) (?:say|tell|are)"
    r"|(?:answer|respond|reply) with (?:one|a single|only) (?:valid )?json"
    r"|系统提示词?|系统指令|我的(?:指令|提示词)(?:是|要求)|(?:输出|返回)(?:一个)?\s*json",
    re.IGNORECASE,
)

# A person may work on machines: "an AI engineer", "人工智能专业".
_MACHINE = (
    r"(?:ai|artificial intelligence)(?!-?\w| (?:research|engineer|scien|stud|expert|consult|develop"
    r"|compan|art|professor|enthusiast|fan|nerd|startup|project|course))"
    r"|(?:large )?language model|chatbot|virtual assistant|computer program"
)
_MACHINE_ZH = (
    r"(?:(?:ai|人工智能)(?!\s?(?:专业|工程|行业|公司|领域|研究|方向|技术|产品|学|课|研发|从业|爱好|迷))"
    r"|大?语言模型|聊天机器人|智能助手|虚拟助手)"
)

_MACHINE_TALK = re.compile(
    rf"\bas an? (?:{_MACHINE})\b"
    rf"|\bi(?:'m| am|’m) (?:just |only |merely |actually )?an? (?:{_MACHINE})\b"
    r"|\bi was (?:trained|created|developed|made) by (?:openai|anthropic|google|meta|deepseek"
    r"|alibaba|mistral)\b|\bmy knowledge cutoff\b"
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
"""Shortest sentence that is taken as a leak when it stands verbatim in a prompt."""

MIN_REPEATED_CHARS = 12
"""A shorter line may come again later in a reply ("Haha."), only not at once."""


def drop_control_characters(text: str) -> tuple[str, bool]:
    """Return the text without characters that draw nothing or reverse what is drawn."""
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    unified = unified.replace("\u2028", "\n").replace("\u2029", "\n")
    kept = "".join(
        char
        for char in unified
        if char in _KEPT_CONTROLS or unicodedata.category(char) not in {"Cc", "Cf", "Cs"}
    )
    return kept, kept != unified


def _loaded(text: str) -> Any:
    """Return a whole text as JSON, or None when it is not an object or an array."""
    if not text.startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _open_reply(text: str) -> str:
    """Return the reply's string in JSON that broke off or does not parse."""
    opening = _OPEN_REPLY.search(text)
    if opening is None:
        return ""
    pieces = []
    place = opening.end()
    while piece := _JSON_STRING_PIECE.match(text, place):
        pieces.append(piece[0])
        place = piece.end()
    # Raw newlines are not valid inside a JSON string; models write them all the same.
    return str(json.loads(f'"{"".join(pieces)}"', strict=False))


def _text_in(part: Any) -> str:
    """Return the text of a JSON string or of a JSON object with one of the reply fields."""
    if isinstance(part, str):
        return part
    if isinstance(part, dict):
        for field in _REPLY_FIELDS:
            if isinstance(value := part.get(field), str) and value.strip():
                return value
    return ""


def _reply_in(document: Any) -> str:
    """Return the reply that a JSON document carries; empty when it carries none."""
    if text := _text_in(document):
        return text
    parts = document.get("bubbles") if isinstance(document, dict) else document
    return "\n".join(map(_text_in, parts)) if isinstance(parts, list) else ""


def unwrap_json(text: str) -> tuple[str, bool]:
    """Return the reply inside a JSON answer, or nothing when JSON is all there is.

    A fenced JSON block among prose is the reply when it carries one, and is dropped
    when it does not. A block of anything else, such as code that was asked for, stays.
    """
    bare = text.strip()
    fence = _FENCE.fullmatch(bare)
    inner = fence[1].strip() if fence else bare
    document = _loaded(inner)
    if document is not None:
        return _reply_in(document), True
    if re.match(r'\{\s*"', inner):
        return _open_reply(inner), True
    if "```" not in text:
        return text, False
    inside = [_loaded(block[1].strip()) for block in _FENCE.finditer(text)]
    for part in inside:
        if isinstance(part, dict) and (reply := _reply_in(part)):
            return reply, True
    kept = _FENCE.sub(lambda block: "" if _loaded(block[1].strip()) is not None else block[0], text)
    return kept, kept != text


def drop_role_prefixes(text: str, persona: Persona) -> tuple[str, bool]:
    """Return the text without `Assistant:` before it, and without lines of others.

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
    kept = _MARKERS.sub("", spoken)
    return kept, kept != text


@lru_cache(maxsize=256)
def _folded(text: str) -> str:
    """Return a text without case and layout."""
    return " ".join(text.casefold().split())


def drop_prompt_leaks(text: str, instructions: Sequence[str] = ()) -> tuple[str, bool]:
    """Return the text without sentences of the prompts, or about them.

    Args:
        text: the reply.
        instructions: texts that must not be quoted, such as the prompt files.
    """
    secrets = [_folded(secret) for secret in instructions]

    def is_leaked(sentence: str) -> bool:
        if _PROMPT_TALK.search(sentence):
            return True
        plain = _folded(sentence)
        return len(plain) >= MIN_LEAKED_CHARS and any(plain in secret for secret in secrets)

    kept = "".join(part for part in split_sentences(text) if not is_leaked(part))
    return kept, kept != text


def drop_persona_breaks(text: str, persona: Persona) -> tuple[str, bool]:
    """Return the text without sentences in which the agent says it is a model.

    A persona that says it is a machine breaks nothing by saying so too.
    """
    if _MACHINE_PERSONA.search(f"{persona.name} {persona.background}"):
        return text, False
    kept = "".join(part for part in split_sentences(text) if not _MACHINE_TALK.search(part))
    return kept, kept != text


def drop_repetitions(text: str) -> tuple[str, bool]:
    """Return the text without lines that come twice at once, or long ones that come again."""
    seen: set[str] = set()
    previous = ""
    kept: list[str] = []
    for line in text.split("\n"):
        plain = line.strip().casefold()
        is_repeated = plain == previous or (plain in seen and len(plain) >= MIN_REPEATED_CHARS)
        if plain and is_repeated:
            continue
        kept.append(line)
        if plain:
            previous = plain
            seen.add(plain)
    return "\n".join(kept), len(kept) != text.count("\n") + 1
