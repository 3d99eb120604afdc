"""`TurnView`, which every node is given whole, and how a prompt shows each of its fields.

A prompt field is declared here and named in a node's `Question`; nothing between them lists it.
The numbers of the state are shown as short phrases (`words/phrases.yaml`), since a model follows
"rather formal, few jokes", and guesses at .6323. A scale has phrases for its four outer
ranges and none for its middle: what is ordinary takes no tokens, and a number that changes a
little leaves the prompt as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from callwise.calls import Message
from nodes.prompt import MAX_CHARS, clip, material_json, prepared, prompt, words
from nodes.records import (
    Bubble,
    Detection,
    DialogueLine,
    Language,
    MemoryLine,
    Mode,
    Monologue,
    Mood,
    Persona,
    Relationship,
    ResponsePlan,
    StyleVector,
)

__all__ = [
    "PROMPT_FIELDS",
    "TurnView",
    "chat",
    "detection_shown",
    "lines_shown",
    "material",
    "phrase_of",
]


class TurnView(BaseModel):
    """A turn as nodes read it. Defaults are those of two strangers' first turn."""

    model_config = ConfigDict(extra="forbid")

    user_text: str = ""
    """The user's message. Untrusted; any length, clipped in prompts."""
    persona: Persona = Persona()
    language: Language = "en"
    """Of the prompts, and so of the answers and of the reply."""
    history: list[DialogueLine] = []
    """The latest lines before `user_text`, oldest first."""
    summary: str = ""
    """Of the whole conversation before this turn; blank when there is none."""
    version: int = Field(default=0, ge=0)
    """The memory's version at the turn's start."""
    shown_turns: int = Field(default=0, ge=0)
    """Number of the memory's last turns that `history` shows."""
    relationship: Relationship = Relationship()
    """As it was before this turn, until the evolver has run."""
    mood: Mood = Mood()
    """As it was before this turn, until emotion_update has run."""
    mode: Mode = Mode.NORMAL
    """As it was in the turn before, until mode_manager has run."""

    detection: Detection = Detection()
    monologue: Monologue = Monologue()
    plan: ResponsePlan = ResponsePlan()
    memories: list[MemoryLine] = []
    style: StyleVector = StyleVector()

    draft: str = ""
    """The reply that the search chose or a fused call wrote; empty when there is none."""
    planned_bubbles: list[Bubble] = []
    """The bubbles that the search left, so that the processor need not ask."""
    bubbles: list[Bubble] = []
    reply: str = ""
    """The reply as the user sees it: `bubbles` joined. Empty until the final validation."""

    @property
    def earlier(self) -> str:
        """The summary where memory has more than `history` shows; blank otherwise.

        It covers `history` too, so with all turns shown it would only repeat them.
        """
        return self.summary if self.shown_turns < self.version else ""


def lines_shown(
    history: Sequence[DialogueLine], user_text: str, reply: str | None = None
) -> list[dict[str, str]]:
    """Return the chat as a prompt shows it: the lines before this turn, then this turn's.

    The next turn's chat begins with the same lines, so that its prompts share them.

    Args:
        history: the lines before, oldest first.
        user_text: this turn's message. Always the last line of `user`.
        reply: the agent's answer; None before there is one.
    """
    shown: list[dict[str, str]] = [
        {line.role: clip(line.text, MAX_CHARS["line"])} for line in history
    ]
    shown.append({"user": clip(user_text, MAX_CHARS["user_text"])})
    if reply is not None:
        shown.append({"agent": clip(reply, MAX_CHARS["reply"])})
    return shown


@lru_cache(maxsize=32)
def _chat_json(
    history: tuple[tuple[str, str], ...], user_text: str, reply: str | None
) -> orjson.Fragment | None:
    shown = [{role: clip(text, MAX_CHARS["line"])} for role, text in history]
    return prepared("chat", [*shown, *lines_shown((), user_text, reply)])


def _chat(view: TurnView) -> orjson.Fragment | None:
    """Return the chat, made once for all calls that show the same."""
    history = tuple((line.role, line.text) for line in view.history)
    return _chat_json(history, view.user_text, view.reply or None)


@lru_cache(maxsize=32)
def _persona_json(persona: tuple[tuple[str, str], ...]) -> orjson.Fragment | None:
    return prepared("persona", dict(persona))


_SIGNED = frozenset({"pleasure", "arousal", "dominance", "power", "sentiment"})
"""Scales from -1 to 1; the others are from 0 to 1."""


def _phrase(name: str, value: float, phrases: Sequence[str]) -> str:
    lowest, low, high, highest = (
        (-0.6, -0.25, 0.25, 0.6) if name in _SIGNED else (0.15, 0.35, 0.65, 0.85)
    )
    if low <= value <= high:
        return ""
    if value < low:
        return phrases[0] if value < lowest else phrases[1]
    return phrases[3] if value > highest else phrases[2]


def phrase_of(kind: str, record: BaseModel, language: Language) -> str:
    """Return a record's numbers as phrases; empty when all of them are middling.

    Args:
        kind: `style`, `relationship` (without its stage), `mood`, or `user`, of a detection.
    """
    scales = words("phrases")[kind][language]
    found = (_phrase(name, getattr(record, name), phrases) for name, phrases in scales.items())
    return ("、" if language == "zh" else ", ").join(phrase for phrase in found if phrase)


def detection_shown(detection: Detection, language: Language) -> dict[str, object]:
    """Return a detection as a prompt shows it, without the hint, which is for the stage manager."""
    user = phrase_of("user", detection, language)
    fields = {"context": detection.context, "signals": detection.signals, "user": user}
    return {name: value for name, value in fields.items() if value}


def _given_with_the_call(_view: TurnView) -> None:
    """Return nothing: the field is of a call and not of a turn."""


PROMPT_FIELDS: Mapping[str, Callable[[TurnView], Any]] = MappingProxyType(
    {
        "persona": lambda view: _persona_json(tuple(each for each in view.persona if each[1])),
        "chat": _chat,
        # What changes each turn.
        "summary": lambda view: view.earlier,
        "memories": lambda view: [memory.shown() for memory in view.memories],
        "stage": lambda view: view.relationship.stage,
        "relationship": lambda view: phrase_of("relationship", view.relationship, view.language),
        "mood": lambda view: phrase_of("mood", view.mood, view.language),
        "mode": lambda view: view.mode,
        "detection": lambda view: detection_shown(view.detection, view.language),
        "monologue": lambda view: view.monologue,
        "task": _given_with_the_call,
        # What changes each call.
        "parent": _given_with_the_call,
        "parents": _given_with_the_call,
        "candidates": _given_with_the_call,
        "reply": lambda view: view.draft,
    }
)
"""Text of each field in prompts, in the order in which they are sent: the steadier, the earlier."""

_ORDER = {name: place for place, name in enumerate(PROMPT_FIELDS)}


def material(**fields: Any) -> str:
    """Return the fields as one JSON object, in the order of `PROMPT_FIELDS`, empty ones left out.

    Pydantic models, enums, sequences and mappings are dumped, long text is clipped, lone
    surrogates become U+FFFD, so the result can always be sent. Equal fields give equal
    bytes. `chat` is what `lines_shown` returns.

    Raises:
        ValueError: for a field without a place in `PROMPT_FIELDS`.
        TypeError: when a value cannot be written as JSON.
    """
    unknown = fields.keys() - _ORDER.keys()
    if unknown:
        raise ValueError(f"{sorted(unknown)} has no place in PROMPT_FIELDS. Add it there")
    return material_json({name: fields[name] for name in sorted(fields, key=_ORDER.__getitem__)})


def chat(name: str, language: Language, /, **fields: Any) -> tuple[Message, Message]:
    """Return the two messages of a node's call: its instructions and its material.

    Raises:
        ConfigError: when there is no such prompt.
    """
    return Message("system", prompt(name, language)), Message("user", material(**fields))
