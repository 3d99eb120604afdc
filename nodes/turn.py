"""`TurnView`, which every node is handed whole, and how a prompt shows each of its fields.

A prompt field is declared here and named in a node's `Question`; nothing between them lists it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from callwise.calls import Message
from nodes.phrases import detection_shown, mood_phrase, relationship_phrase
from nodes.prompt import MAX_CHARS, PreparedMaterial, clip, material_json, prepared, prompt
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

__all__ = ["PROMPT_FIELDS", "TurnView", "chat", "lines_shown", "material"]


class TurnView(BaseModel):
    """What nodes read of a turn. Defaults are those of two strangers' first turn."""

    model_config = ConfigDict(extra="forbid")

    user_text: str = ""
    """What the user wrote. Untrusted; any length, clipped in prompts."""
    persona: Persona = Persona()
    """Who answers."""
    language: Language = "en"
    """Of the prompts, and so of the answers and of the reply."""
    history: list[DialogueLine] = []
    """The latest lines before `user_text`, oldest first."""
    summary: str = ""
    """Of the whole conversation before this turn; blank when there is none."""
    version: int = Field(default=0, ge=0)
    """The memory's version at the turn's start."""
    shown_turns: int = Field(default=0, ge=0)
    """How many of the memory's last turns `history` shows."""
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
    """What the user is shown: `bubbles` joined. Empty until the final validation."""

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
        reply: what the agent answered; None before it has.
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
) -> PreparedMaterial | None:
    shown = [{role: clip(text, MAX_CHARS["line"])} for role, text in history]
    return prepared("chat", [*shown, *lines_shown((), user_text, reply)])


def _chat(view: TurnView) -> PreparedMaterial | None:
    """Return the chat, made once for all calls that show the same."""
    history = tuple((line.role, line.text) for line in view.history)
    return _chat_json(history, view.user_text, view.reply or None)


@lru_cache(maxsize=32)
def _persona_json(persona: tuple[tuple[str, str], ...]) -> PreparedMaterial | None:
    return prepared("persona", dict(persona))


def _persona(view: TurnView) -> PreparedMaterial | None:
    return _persona_json(tuple((name, text) for name, text in view.persona if text))


def _asked(_view: TurnView) -> None:
    """Return nothing: the field is of a call and not of a turn, and given with the call."""


PROMPT_FIELDS: Mapping[str, Callable[[TurnView], Any]] = MappingProxyType(
    {
        "persona": _persona,
        "chat": _chat,
        # What changes each turn.
        "summary": lambda view: view.earlier,
        "memories": lambda view: [memory.shown() for memory in view.memories],
        "stage": lambda view: view.relationship.stage,
        "relationship": lambda view: relationship_phrase(view.relationship, view.language),
        "mood": lambda view: mood_phrase(view.mood, view.language),
        "mode": lambda view: view.mode,
        "detection": lambda view: detection_shown(view.detection, view.language),
        "monologue": lambda view: view.monologue,
        "task": _asked,
        # What changes each call.
        "parent": _asked,
        "parents": _asked,
        "candidates": _asked,
        "reply": lambda view: view.draft,
    }
)
"""How prompts show each field, in the order in which they are sent: the steadier, the earlier."""

_ORDER = {name: place for place, name in enumerate(PROMPT_FIELDS)}


def material(**fields: Any) -> str:
    """Return the fields as one JSON object, in the order of `PROMPT_FIELDS`, empty ones left out.

    Pydantic models, enums, sequences and mappings are dumped, long text is clipped, lone
    surrogates become U+FFFD, so the result can always be sent. Equal fields give equal
    bytes. `chat` is what `lines_shown` returns.

    Raises:
        ValueError: for a field without a place in `PROMPT_FIELDS`.
        TypeError: when a value is nothing that JSON knows.
    """
    unknown = fields.keys() - _ORDER.keys()
    if unknown:
        raise ValueError(f"{sorted(unknown)} has no place in PROMPT_FIELDS. Add it there")
    return material_json({name: fields[name] for name in sorted(fields, key=_ORDER.__getitem__)})


def chat(name: str, language: Language, /, **fields: Any) -> tuple[Message, Message]:
    """Return the two messages of a node's call: its instructions and its material.

    Args:
        name: name of the prompt.
        language: language of the prompt, and so of the answer.
        fields: the material, see `material`.

    Raises:
        ConfigError: when there is no such prompt.
    """
    return Message("system", prompt(name, language)), Message("user", material(**fields))
