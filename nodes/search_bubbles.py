"""The bubbles that came with a reply, where they can be used."""

from collections.abc import Sequence

from lats.draft import MAX_REPLY_CHARS, Draft, clean_text
from lats.similarity import text_key
from nodes.bubbles import timed_bubbles
from nodes.records import Bubble, StyleVector
from nodes.search_answers import ProcessorPlan

__all__ = ["MAX_PLANNED_BUBBLES", "MAX_PLANNED_DELAY_SECONDS", "planned_bubbles"]

MAX_PLANNED_BUBBLES = 12
"""A processor plan with more bubbles is not used."""

MAX_PLANNED_DELAY_SECONDS = 60.0
"""A processor plan with a longer typing delay is not used."""


def planned_bubbles(draft: Draft, style: StyleVector) -> tuple[Bubble, ...] | None:
    """Return the bubbles that a model cut its reply into, or None where they cannot be used.

    Args:
        draft: the reply; its payload holds what came with it.
        style: sets the delays that a model left out.
    """
    timed = _given_plan(draft)
    if timed and all(bubble.delay_seconds <= MAX_PLANNED_DELAY_SECONDS for bubble in timed):
        return timed
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


def _given_plan(draft: Draft) -> tuple[Bubble, ...]:
    """Return the processor plan that came with a reply, or nothing when it says other words."""
    raw = draft.payload.get("processor_plan")
    if raw is None:
        return ()
    cleaned = [
        bubble.model_copy(update={"text": clean_text(bubble.text, MAX_REPLY_CHARS)})
        for bubble in ProcessorPlan.model_validate(raw).bubbles
    ]
    bubbles = tuple(bubble for bubble in cleaned if bubble.text)
    if not _says_the_reply([bubble.text for bubble in bubbles], draft.reply):
        return ()
    return bubbles
