"""Callwise's own format: JSON Lines, one turn per line."""

from collections.abc import Iterable
from typing import Any

from callwise.recordings.conversation import PERSONA_FIELDS, Conversation, Persona, RecordedTurn
from callwise.recordings.formats.conversation_format import (
    Collector,
    ConversationFormat,
    DetectedRecord,
    Pending,
    Reading,
)
from callwise.recordings.source_records import SourceRecord

__all__ = ["NATIVE"]


def _persona(record: SourceRecord) -> Persona | None:
    """Return the agent's persona: an object of known fields, or one free text."""
    value = record.fields.get("persona")
    if isinstance(value, str):
        text = record.optional_text("persona")
        return {"background": text} if text else None
    if value is None:
        return None
    persona = record.inside(value, "persona")
    unknown = [name for name in persona.fields if name not in PERSONA_FIELDS]
    if unknown:
        known = ", ".join(PERSONA_FIELDS)
        raise persona.problem(f"expected only {known}; got {unknown[0]!r}")
    texts = ((name, persona.optional_text(name)) for name in PERSONA_FIELDS)
    return {name: text for name, text in texts if text} or None


class _Draft:
    """A conversation whose lines are still coming in. Lines may be interleaved."""

    def __init__(self, record: SourceRecord) -> None:
        self._first = record
        self._lines: dict[int, SourceRecord] = {}
        self._turns: list[RecordedTurn] = []
        self._user_id: str | None = None
        self._persona: Persona | None = None
        self._is_numbered = record.fields.get("turn") is not None

    def add(self, record: SourceRecord) -> None:
        """Add one line.

        Raises:
            FormatError: when it does not fit, alone or after those before it.
        """
        number = record.optional_count("turn")
        if (number is not None) != self._is_numbered:
            raise record.problem("expected `turn` on every line of a conversation, or on none")
        if number is None:
            number = len(self._turns)
        user_id = record.optional_text("user_id")
        if self._user_id and user_id and user_id != self._user_id:
            raise record.problem(
                f"expected one user per conversation: `user_id` was {self._user_id!r}, "
                f"here it is {user_id!r}. Give conversations of two users two ids"
            )
        if number in self._lines:
            other = self._lines[number]
            where = f"line {other.line}" if other.line else other.place
            raise record.problem(f"expected turn {number} once; it is on {where} too")
        turn = RecordedTurn(
            conversation_id=record.text("conversation_id"),
            turn=number,
            user_text=record.text("user_text"),
            time=record.optional_time("time"),
            user_id=user_id,
            reply=record.optional_text("reply"),
            persona=_persona(record),
        )
        self._user_id = self._user_id or turn.user_id
        self._persona = self._persona or turn.persona
        self._lines[number] = record
        self._turns.append(turn)

    def finish(self) -> DetectedRecord:
        """Return the conversation, its turns in order of their numbers."""
        turns = tuple(sorted(self._turns, key=lambda turn: turn.turn))
        name = turns[0].conversation_id
        return DetectedRecord(Conversation(name, self._user_id, self._persona, turns), self._first)


class _Turns(Collector):
    """The turns of one file, by conversation."""

    def __init__(self, reading: Reading) -> None:
        super().__init__(reading)
        self._drafts: dict[str, _Draft] = {}

    def add(self, record: SourceRecord) -> Iterable[Pending]:
        """Take one turn; conversations are complete when the file has ended."""
        conversation_id = record.text("conversation_id")
        draft = self._drafts.get(conversation_id) or _Draft(record)
        draft.add(record)
        self._drafts.setdefault(conversation_id, draft)
        return ()

    def finish(self) -> Iterable[Pending]:
        """Return the conversations, in the order in which they begin."""
        return [draft.finish for draft in self._drafts.values()]


def _recognises(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    if "user_text" in document:
        return True
    # Rows of other data sets have an id and a number of turns as well, next to their messages.
    has_list = any(isinstance(value, list) for value in document.values())
    return "conversation_id" in document and "turn" in document and not has_list


NATIVE = ConversationFormat(
    name="callwise",
    about="our own: one turn per line; see below",
    example='{"conversation_id": "c1", "turn": 0, "user_text": "Hi.", "reply": "Hello."}',
    recognises=_recognises,
    open=_Turns,
)
