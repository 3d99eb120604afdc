"""The kind and the topics of a user's message, found by the words in its beginning.

They decide which phrases of the banks fit. No understanding is claimed: a message without any of
the words is of the kind `telling` and has no topic.
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from callwise.simulator.phrases import bank_of

__all__ = ["MessageReading", "read_message"]

MAX_MESSAGE_CHARS = 2000
"""Length of the beginning that is read."""

_ASKED = re.compile(
    r"[?？]\W*$|(?:what do you think|how bad|any idea|should i)\b"
    r"|^(?:what|when|where|which|who|why|how|can|could|do|does|is|are|will|would|should)\b(?!')",
    re.IGNORECASE,
)
_QUESTION, _TELLING, _GREETING = "question", "telling", "greeting"


@dataclass(frozen=True, slots=True)
class MessageReading:
    """A message as the simulated model reads it.

    Args:
        kind: a key of the bank's `kinds`.
        topics: phrases for what it is about, in the bank's order; may be empty.
    """

    kind: str
    topics: tuple[str, ...]


def _pattern(words: str, language: str) -> re.Pattern[str]:
    whole = rf"(?<![a-z])(?:{words})(?![a-z])" if language == "en" else words
    return re.compile(whole, re.IGNORECASE)


@cache
def _patterns(language: str) -> tuple[dict[str, re.Pattern[str]], dict[str, re.Pattern[str]]]:
    """Return the patterns of kinds and of topics."""
    bank = bank_of(language)
    kinds = {
        kind: _pattern("|".join(words), language) for kind, words in bank.message_words.items()
    }
    return kinds, {topic: _pattern(words, language) for topic, words in bank.topics.items()}


@lru_cache(maxsize=256)
def read_message(text: str, language: str) -> MessageReading:
    """Return the reading of a message in a language, `en` or `zh`. The latest 256 are kept."""
    text = text[:MAX_MESSAGE_CHARS].strip()
    kinds, topics = _patterns(language)
    found = [kind for kind, pattern in kinds.items() if pattern.search(text)]
    kind = next(iter(found), _TELLING)
    if kind not in {_GREETING, "anger"} and _ASKED.search(text):
        kind = _QUESTION
    return MessageReading(
        kind, tuple(topic for topic, pattern in topics.items() if pattern.search(text))
    )
