"""Shorter prompts, for a model whose context the whole prompt does not fit.

It works on the material as `nodes.prompt` wrote it, so it is a pure function of a call's
messages, and a replay leaves out what the run did.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from math import ceil
from typing import Any

import orjson

from callwise.calls import Message
from nodes.prompt import clip, dumped

__all__ = ["MIN_BACKGROUND_CHARS", "shortened"]

MIN_BACKGROUND_CHARS = 100
"""A persona's background is never shortened to less, in characters."""


def shortened(
    messages: Sequence[Message], *, share: float | None = None
) -> tuple[tuple[Message, ...], str] | None:
    """Return a call's messages with less in them, and the description of the parts left out.

    Left out, in this order: the oldest lines of the chat, the memories, the summary, the persona's
    background. Never this turn's lines, the instructions, or what is to be judged or
    improved on; nor a summary that is to be carried on, which would be lost.

    Args:
        messages: as `chat` returns them.
        share: the share of the prompt that fits, where it is known; None leaves out half
            of the first part that there is. Tokens are taken to be as long everywhere.

    Returns:
        Messages, and e.g. `10 of 16 lines of chat`; None where leaving out cannot suffice.
    """
    system, user = messages
    fields: dict[str, Any] = orjson.loads(user.content)
    wanted = None if share is None else ceil((1 - share) * sum(len(m.content) for m in messages))
    left_out: list[str] = []
    for leave_out in (_fewer_lines, _fewer_memories, _no_summary, _less_background):
        length = len(user.content)
        part = leave_out(fields, wanted)
        if part is None:
            continue
        left_out.append(part)
        user = replace(user, content=dumped(fields).decode())
        if wanted is None:
            break
        wanted -= length - len(user.content)
        if wanted <= 0:
            break
    if not left_out or (wanted is not None and wanted > 0):
        return None
    return (system, user), ", ".join(left_out)


def _has_reply(fields: Mapping[str, Any]) -> bool:
    """Return whether the chat has this turn's reply, as it does for the bookkeeping."""
    return "agent" in fields["chat"][-1]


def _fewest(texts: Sequence[str], wanted: int | None) -> int:
    """Return how many texts to leave out: half of them, or as many as have `wanted` characters."""
    if wanted is None:
        return (len(texts) + 1) // 2
    for count, freed in enumerate(accumulate(map(len, texts)), start=1):
        if freed >= wanted:
            return count
    return len(texts)


def _fewer_lines(fields: dict[str, Any], wanted: int | None) -> str | None:
    lines = fields["chat"]
    before = lines[: -2 if _has_reply(fields) else -1]
    if not before:
        return None
    count = _fewest([orjson.dumps(line).decode() for line in before], wanted)
    fields["chat"] = lines[count:]
    return f"{count} of {len(lines)} lines of chat"


def _fewer_memories(fields: dict[str, Any], wanted: int | None) -> str | None:
    memories = fields.pop("memories", None)
    if not memories:
        return None
    texts = [orjson.dumps(memory).decode() for memory in reversed(memories)]
    count = _fewest(texts, wanted)  # the least relevant is the last
    if count < len(memories):
        fields["memories"] = memories[: len(memories) - count]
    return f"{count} of {len(memories)} memories"


def _no_summary(fields: dict[str, Any], _wanted: int | None) -> str | None:
    if "summary" not in fields or _has_reply(fields):
        return None
    del fields["summary"]
    return "the summary"


def _less_background(fields: dict[str, Any], wanted: int | None) -> str | None:
    background = fields.get("persona", {}).get("background", "")
    if len(background) < 2 * MIN_BACKGROUND_CHARS:
        return None
    kept = len(background) // 2 if wanted is None else len(background) - wanted
    fields["persona"]["background"] = clip(background, max(kept, MIN_BACKGROUND_CHARS))
    return "part of the persona's background"
