"""Remembering without a model: the summary grows by a line, plain statements become notes.

The notes' words are the user's own, so each is its own evidence. Only the user's
message is read, and only statements about themself; a question is none.
"""

import re
from typing import Literal

from nodes.prompt import MAX_CHARS, clip
from nodes.records import Language, NoteDraft
from nodes.sentences import split_sentences
from turnwise.calls.payload import well_formed

__all__ = ["MAX_RULE_NOTES", "MAX_SUMMARY_CHARS", "remember_by_rules"]

MAX_SUMMARY_CHARS = 1200
"""Longest summary that rules write, in characters; its oldest lines go first."""

MAX_LINE_CHARS = 80
"""How much of a message and of a reply a line of the summary holds, in characters."""

MAX_RULE_NOTES = 3
"""Most notes of one message."""

MAX_NOTE_CHARS = 160
"""Longest sentence that becomes a note; a longer one says too much at once."""

_Kind = Literal["fact", "preference", "event", "promise", "boundary"]

_STATEMENTS: tuple[tuple[_Kind, re.Pattern[str]], ...] = (
    (
        "boundary",
        re.compile(
            r"\b(?:please )?(?:don't|do not|never) (?:call|ask|text|mention)\b"
            r"|(?:请)?(?:别|不要)再?(?:叫我|问我|提起?)",
            re.IGNORECASE,
        ),
    ),
    (
        "fact",
        re.compile(
            r"\bmy name is\b|\bi (?:work|live|study)\b"
            r"|\bi(?:'m| am) (?:a|an|from)\b|\bi have (?:a|an|two|three)\b"
            r"|我叫|我的名字|我(?:住在?|来自|是一[个名位])|我在[^，。！？]{1,12}(?:工作|上班|上学|读书)"
            r"|我(?:今年)?\d+岁",
            re.IGNORECASE,
        ),
    ),
    (
        "preference",
        re.compile(
            r"\bi (?:really )?(?:like|love|enjoy|prefer|hate|dislike|can't stand)\b"
            r"|\bmy favou?rite\b"
            r"|我(?:很|最|特别|非常|比较)?(?:不)?(?:喜欢|讨厌|爱吃|爱看|偏爱)",
            re.IGNORECASE,
        ),
    ),
    (
        "event",
        re.compile(
            r"\b(?:yesterday|tomorrow|last week|next week|tonight)\b"
            r"|(?:昨天|明天|昨晚|今晚|上周|下周|后天)[^，。！？]{0,4}我|我(?:昨天|明天|昨晚|今晚|上周|下周|后天)",
            re.IGNORECASE,
        ),
    ),
)
"""What a statement worth keeping looks like; the first kind that fits is its kind."""


def _notes(user_text: str) -> tuple[NoteDraft, ...]:
    notes: dict[str, NoteDraft] = {}
    for sentence in split_sentences(user_text[: MAX_CHARS["user_text"]]):
        said = sentence.strip()
        if len(said) > MAX_NOTE_CHARS or said.endswith(("?", "？")):
            continue
        if said != well_formed(said):
            continue  # such a note could not be written to disk
        kind = next((kind for kind, pattern in _STATEMENTS if pattern.search(said)), None)
        if kind is not None:
            notes.setdefault(said, NoteDraft(text=said, kind=kind, evidence=said))
    return tuple(notes.values())[:MAX_RULE_NOTES]


def _line(user_text: str, reply: str, language: Language) -> str:
    said, answered = (
        clip(" ".join(well_formed(text).split()), MAX_LINE_CHARS) for text in (user_text, reply)
    )
    if language == "zh":
        return f"对方：“{_unquoted(said, '“”')}”；我：“{_unquoted(answered, '“”')}”"
    return f'User: "{_unquoted(said, chr(34))}" | Me: "{_unquoted(answered, chr(34))}"'


def _unquoted(text: str, marks: str) -> str:
    """Return a text that no mark in it can end, where it stands between such marks."""
    return "".join("'" if char in marks else char for char in text)


def remember_by_rules(
    *, user_text: str, reply: str, summary: str, language: Language
) -> tuple[str, tuple[NoteDraft, ...]]:
    """Return the summary with this turn's line added, and the notes of plain statements.

    Args:
        user_text: the turn's message.
        reply: the turn's reply.
        summary: the summary so far.
        language: language of the line's labels.

    Returns:
        A summary of at most `MAX_SUMMARY_CHARS`, and notes that quote the message.
    """
    lines = [*summary.splitlines(), _line(user_text, reply, language)]
    carried = "\n".join(line for line in lines if line.strip())
    while len(carried) > MAX_SUMMARY_CHARS and "\n" in carried:
        carried = carried.partition("\n")[2]
    return clip(carried, MAX_SUMMARY_CHARS), _notes(user_text)
