"""A referee's two messages: standing instructions, then one JSON object of material.

All that a user or a model wrote stands inside that JSON object and nowhere else, so it
cannot pass for an instruction by its place. No setting, no conversation id and no reply id
is in it: the referee cannot know whose reply it reads.
"""

import re
from typing import Any

import orjson

from turnwise.calls.call import Message
from turnwise.calls.payload import mended, without_template_marks
from turnwise.tune.quality.items import ReplyItem
from turnwise.tune.quality.rubric import LANGUAGES, Rubric

__all__ = ["clipped", "language_of", "messages_of"]

MAX_USER_CHARS = 6000
MAX_REPLY_CHARS = 4000
MAX_HISTORY_CHARS = 800
"""Of each line."""
MAX_PERSONA_CHARS = 2000
"""Of each field."""

_HEAD_SHARE = 0.7
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")


def clipped(text: str, max_chars: int) -> str:
    """Return a text's head and tail with a mark between, where it is longer than `max_chars`.

    The mark says how long it was, and is counted.
    """
    if len(text) <= max_chars:
        return text
    mark = f" […{len(text)}…] "
    room = max_chars - len(mark)
    head = int(room * _HEAD_SHARE)
    return f"{text[:head]}{mark}{text[len(text) - (room - head) :]}"


def language_of(item: ReplyItem) -> str:
    """Return the language that the referee is addressed in: the item's, or by its script."""
    named = (item.language or "")[:2].lower()
    if named in LANGUAGES:
        return named
    return "zh" if _WIDE.search(item.user_text or item.reply) else "en"


def messages_of(rubric: Rubric, item: ReplyItem, **judged: Any) -> tuple[Message, Message]:
    """Return the messages of one question.

    Args:
        rubric: the instructions.
        item: what is judged; its turn is shown, its own reply is not.
        judged: what to show of replies, as JSON values.
    """
    language = language_of(item)
    material: dict[str, Any] = {
        "language": language,
        "user_text": clipped(item.user_text, MAX_USER_CHARS),
        **judged,
    }
    if item.history:
        material["history"] = [
            {"role": line.role, "text": clipped(line.text, MAX_HISTORY_CHARS)}
            for line in item.history
        ]
    if item.persona:
        material["persona"] = {
            name: clipped(text, MAX_PERSONA_CHARS) for name, text in item.persona.items()
        }
    content = orjson.dumps(mended(material), option=orjson.OPT_SORT_KEYS)
    user = Message("user", without_template_marks(content).decode())
    return Message("system", rubric.text(language)), user
