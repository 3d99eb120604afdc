"""Which language a message is in, and so which language the prompts are in.

Only English and Chinese have prompts; any other script is answered in the
conversation's language, and in English when there is none yet.
"""

import re
from collections.abc import Iterable, Sequence

from nodes.records import Language

__all__ = ["detect_language", "han_share"]

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
_LATIN_WORD = re.compile(r"[A-Za-z\u00c0-\u024f]+")

SWITCH_TO_CHINESE_SHARE = 0.6
"""A conversation in English turns Chinese at this share of Han characters."""

SWITCH_TO_ENGLISH_SHARE = 0.1
"""A conversation in Chinese turns English at or below this share: Chinese chat mixes
in English words far more often than the other way round."""

MIN_SWITCH_UNITS = 3
"""Fewer words and characters than this ("ok", "haha", a name) never switch."""

MAX_HISTORY_TEXTS = 6
"""How many of the latest texts say which language the conversation is in."""


def _units(text: str) -> tuple[int, int]:
    """Return the Han characters and the Latin words of a text."""
    return len(_HAN.findall(text)), len(_LATIN_WORD.findall(text))


def han_share(texts: Iterable[str]) -> float | None:
    """Return the share of Han characters among Han characters and Latin words.

    A Han character carries about as much as a short word, so a word counts as one.

    Returns:
        A share in [0, 1]; None when there is neither.
    """
    counts = [_units(text) for text in texts]
    han = sum(count for count, _ in counts)
    words = sum(count for _, count in counts)
    return han / (han + words) if han + words else None


def detect_language(text: str, history_texts: Sequence[str] = ()) -> Language:
    """Return the language to answer a message in.

    Sticky: once a conversation has a language, a message must be clearly in the
    other one, and long enough to tell, to switch it.

    Args:
        text: the user's message.
        history_texts: the conversation's earlier texts, oldest first.
    """
    share = han_share((text,))
    before = han_share(history_texts[-MAX_HISTORY_TEXTS:])
    if before is None:
        return "zh" if share is not None and share >= 0.5 else "en"
    current: Language = "zh" if before >= 0.5 else "en"
    if share is None or sum(_units(text)) < MIN_SWITCH_UNITS:
        return current
    if current == "en":
        return "zh" if share >= SWITCH_TO_CHINESE_SHARE else "en"
    return "en" if share <= SWITCH_TO_ENGLISH_SHARE else "zh"
