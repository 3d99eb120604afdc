"""The bubbles that came with a reply, where they can be used."""

from collections.abc import Sequence

from lats.answers import MAX_REPLY_CHARS, Draft, clean_text
from lats.similarity import text_key
from nodes.bubbles import timed_bubbles
from nodes.records import Bubble, StyleVector

__all__ = ["MAX_PLANNED_BUBBLES", "planned_bubbles"]

MAX_PLANNED_BUBBLES = 12
"""A reply that was cut into more bubbles is cut by rule."""


def planned_bubbles(draft: Draft, style: StyleVector) -> tuple[Bubble, ...] | None:
    """Return the bubbles that a model cut its reply into, or None where they cannot be used.

    Args:
        draft: the reply; its payload holds what came with it.
        style: sets their delays.
    """
    raw = draft.payload.get("bubbles")
    if not isinstance(raw, list):
        return None
    texts = [text for text in (clean_text(each, MAX_REPLY_CHARS) for each in raw) if text]
    if not _says_the_reply(texts, draft.reply):
        return None
    return timed_bubbles(texts, style=style)


def _says_the_reply(texts: Sequence[str], reply: str) -> bool:
    """Return whether bubbles are few enough and say the reply's own words, in order.

    Marks may differ: a bubble often ends without the full stop that a reply has.
    """
    is_few = 0 < len(texts) <= MAX_PLANNED_BUBBLES
    return is_few and text_key("".join(texts)) == text_key(reply)
