"""Cleaning of what a prompt shows of a turn, by knobs. None of it is on by default.

- `normalise`: Unicode NFC, runs of blanks as one, at most one empty line in a row, no white space
  around a text;
- `dedupe`: of the memories, texts that the chat or an earlier memory shows already are left out,
  and memories of which nothing is left.

Only prompts change: the state, the memory and the record keep what was written. Each text is
cleaned once, and kept by its value, since the calls of a turn, and the turns after it, show the
same lines. A prompt that changes is another question: its calls have other keys.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from types import MappingProxyType

from nodes.records import MemoryLine
from nodes.turn import TurnView

__all__ = ["CLEANINGS", "cleaned", "cleaning", "normal_text"]

_CLEANINGS: ContextVar[tuple[str, ...]] = ContextVar("cleanings", default=())
"""Names of the cleanings of the running node's settings."""

_BLANKS = re.compile(r"[^\S\n]+")
_EMPTY_LINES = re.compile(r" ?\n(?: ?\n)+ ?")


@lru_cache(maxsize=2048)
def normal_text(text: str) -> str:
    """Return a text in NFC, with white space of one form."""
    one_blank = _BLANKS.sub(" ", unicodedata.normalize("NFC", text))
    return _EMPTY_LINES.sub("\n\n", one_blank).strip()


def _normalised(view: TurnView) -> TurnView:
    lines = [line.model_copy(update={"text": normal_text(line.text)}) for line in view.history]
    memories = [
        memory.model_copy(
            update={
                "user": normal_text(memory.user),
                "agent": normal_text(memory.agent),
                "noted": tuple(map(normal_text, memory.noted)),
            }
        )
        for memory in view.memories
    ]
    persona = {name: normal_text(text) for name, text in view.persona}
    texts = {
        "user_text": normal_text(view.user_text),
        "summary": normal_text(view.summary),
        "persona": view.persona.model_copy(update=persona),
    }
    return view.model_copy(update={**texts, "history": lines, "memories": memories})


def _deduplicated(view: TurnView) -> TurnView:
    seen = {_key(line.text) for line in view.history} | {_key(view.user_text), ""}

    def once(text: str) -> str:
        key = _key(text)
        if key in seen:
            return ""
        seen.add(key)
        return text

    memories: list[MemoryLine] = []
    for memory in view.memories:
        user, agent = once(memory.user), once(memory.agent)
        noted = tuple(filter(None, map(once, memory.noted)))
        if user or agent or noted:
            kept = {"user": user, "agent": agent, "noted": noted}
            memories.append(memory.model_copy(update=kept))
    return view.model_copy(update={"memories": memories})


def _key(text: str) -> str:
    """Return a text as it is compared: without case, and with white space of one form."""
    return " ".join(normal_text(text).casefold().split())


CLEANINGS: Mapping[str, Callable[[TurnView], TurnView]] = MappingProxyType(
    {"normalise": _normalised, "dedupe": _deduplicated}
)
"""Cleanings by the name of their knob, in the order in which they are made."""


@contextmanager
def cleaning(names: tuple[str, ...]) -> Iterator[None]:
    """Let prompts show cleaned turns, in this task and those it starts.

    Args:
        names: of `CLEANINGS`.
    """
    token = _CLEANINGS.set(names)
    try:
        yield
    finally:
        _CLEANINGS.reset(token)


def cleaned(view: TurnView) -> TurnView:
    """Return a turn as prompts are to show it; itself where no cleaning is on."""
    for name in _CLEANINGS.get():
        view = CLEANINGS[name](view)
    return view
