"""The last look at a reply before the user sees it. It always leaves one to send.

Rules in order: control characters, template marks, role prefixes, JSON, leaked
prompts, persona breaks, repetitions, length, emptiness. What breaks a rule is mended by taking it
out; when nothing is left, a neutral line stands in, the same for the same reply.

Invariants, for any text: the reply is not empty and no longer than allowed, and its
bubbles join to it, white space aside. A reply that was sent once passes unchanged.
"""

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pydantic import Field

from nodes.bubbles import split_bubbles
from nodes.records import Bubble, FrozenRecord, Language, Persona
from nodes.reply_json import unwrap_json
from nodes.reply_leaks import (
    drop_control_characters,
    drop_persona_breaks,
    drop_prompt_leaks,
    drop_repetitions,
    drop_role_prefixes,
    drop_template_marks,
)
from nodes.text import cut_at_sentence

__all__ = ["MIN_MAX_CHARS", "ValidatedReply", "validate_reply"]

MIN_MAX_CHARS = 20
"""Smallest limit that every language has a neutral line for, in characters."""

MAX_PASSES = 4
"""Taking one thing out may bare another; after this many passes the line stands in."""

_NEUTRAL_LINES: Mapping[Language, tuple[str, ...]] = MappingProxyType(
    {
        "en": (
            "Sorry, say it again?",
            "Give me a second to think about that.",
            "I lost my thread there. What were you saying?",
            "Hm, let me come back to that.",
        ),
        "zh": (
            "不好意思，你再说一遍？",
            "让我想一想哈。",
            "我刚才走神了，你说到哪儿了？",
            "嗯，这个我等会儿再说。",
        ),
    }
)


class ValidatedReply(FrozenRecord):
    """A reply that may be sent."""

    text: str
    bubbles: tuple[Bubble, ...]
    violations: tuple[str, ...] = Field(default=())
    """Names of the rules that were broken, each once, in the order they were found."""


def _neutral_line(language: Language, seed: str, max_chars: int) -> str:
    """Return a neutral line that fits, always the same for the same seed text."""
    lines = [line for line in _NEUTRAL_LINES[language] if len(line) <= max_chars]
    digest = hashlib.sha256(seed.encode("utf-8", "surrogatepass")).digest()
    return lines[digest[0] % len(lines)]


def _one_pass(
    text: str, persona: Persona, instructions: Sequence[str], max_chars: int
) -> tuple[str, list[str]]:
    """Return the text after all rules once, stripped, and the rules that it broke."""
    rules = (
        ("control_characters", drop_control_characters),
        ("template_mark", drop_template_marks),
        ("role_prefix", lambda rest: drop_role_prefixes(rest, persona)),
        ("json", unwrap_json),
        ("prompt_leak", lambda rest: drop_prompt_leaks(rest, instructions)),
        ("persona_break", lambda rest: drop_persona_breaks(rest, persona)),
        ("repetition", drop_repetitions),
    )
    broken: list[str] = []
    for name, rule in rules:
        text, was_broken = rule(text)
        if was_broken:
            broken.append(name)
    text = text.strip()
    if len(text) > max_chars:
        broken.append("too_long")
        text = cut_at_sentence(text, max_chars)
    return text, broken


def _mended(
    text: str, persona: Persona, instructions: Sequence[str], max_chars: int
) -> tuple[str, list[str]]:
    """Return the text that no rule changes any more, or nothing, and the broken rules."""
    broken: list[str] = []
    for _ in range(MAX_PASSES):
        mended, found = _one_pass(text, persona, instructions, max_chars)
        broken.extend(name for name in found if name not in broken)
        if mended == text:
            return text, broken
        text = mended
    return "", broken


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
    """Return a reply that may be sent, whatever came in.

    Args:
        text: the reply; where it is blank, the bubbles' texts are taken.
        bubbles: how it is cut so far; kept when the text passes unchanged, cut anew
            when it does not.
        language: what a neutral line is in.
        persona: who the agent is.
        instructions: texts that the reply must not quote, such as the prompt files.
        max_chars: longest reply, in characters; at least `MIN_MAX_CHARS`.

    Raises:
        ValueError: when `max_chars` is too small. Never for what the reply says.
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
