"""A reply that somebody proposed, and what makes it fit to enter a tree."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lats.similarity import text_key

__all__ = ["MAX_REPLY_CHARS", "MAX_TAG_CHARS", "Draft", "admit_drafts", "clean_draft", "clean_text"]

MAX_REPLY_CHARS = 4000
"""Longest reply that enters a tree, in characters. Longer ones are cut."""

MAX_TAG_CHARS = 80
"""Longest strategy tag, in characters. Longer ones are cut."""

# Lone surrogates cannot be written as UTF-8, control characters break terminals and prompts.
_UNWRITABLE = re.compile("[\ud800-\udfff\x00-\x08\x0b-\x1f\x7f]")


class Draft(BaseModel):
    """A proposed reply. Its text is untrusted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reply: str
    """The text that a user would read."""

    strategy_tag: str = ""
    """The proposer's own word for what the reply tries; blank when it gave none."""

    payload: dict[str, Any] = Field(default_factory=dict)
    """Whatever else the caller wants back with the reply. Plain JSON; never read here."""

    is_step: bool = Field(default=False, exclude_if=lambda is_step: not is_step)
    """Whether it is only a step towards an answer, and can be no answer itself."""


def clean_text(text: str, max_chars: int) -> str:
    """Return a text without unwritable characters and outer space, cut to a length."""
    if len(text) <= max_chars and not _UNWRITABLE.search(text):
        return text.strip()  # as nearly every text is
    return _UNWRITABLE.sub("", text).strip()[:max_chars].rstrip()


def clean_draft(draft: Draft) -> Draft | None:
    """Return a draft fit for a tree, or None when nothing of its reply is left."""
    reply = clean_text(draft.reply, MAX_REPLY_CHARS)
    if not reply:
        return None
    tag = clean_text(draft.strategy_tag, MAX_TAG_CHARS)
    if reply == draft.reply and tag == draft.strategy_tag:
        return draft
    return draft.model_copy(update={"reply": reply, "strategy_tag": tag})


def admit_drafts(
    offered: Iterable[Draft], *, k: int, is_known: Callable[[str], bool]
) -> list[Draft]:
    """Return the drafts that may enter a tree: clean, new, at most `k`, in their order.

    Args:
        offered: what a proposer returned, more or fewer than asked.
        k: how many were asked for.
        is_known: whether a reply with this `text_key` stands in the tree already.
    """
    admitted: list[Draft] = []
    seen: set[str] = set()
    for draft in offered:
        cleaned = clean_draft(draft)
        if cleaned is None:
            continue
        key = text_key(cleaned.reply)
        if key in seen or is_known(key):
            continue
        seen.add(key)
        admitted.append(cleaned)
        if len(admitted) == k:
            break
    return admitted
