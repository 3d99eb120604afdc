"""MemoryBank: one turn a line, with a date; all days of one user are one conversation.

A `personas.json` beside the file describes the users: `{user_id: {"name", …}}`. It is
the user's persona, so it never becomes the agent's.

Source: Zhong et al., MemoryBank (AAAI 2024).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from turnwise.calls.errors import FormatError
from turnwise.replay.conversation import Conversation, Persona, RecordedTurn
from turnwise.replay.formats.format import ConversationFormat, Found
from turnwise.replay.record import Problems, SourceRecord
from turnwise.replay.source import SourceFile

__all__ = ["MEMORYBANK"]

_Key = tuple[str, int]
"""Date and number within the day: the order of a user's turns."""


def _turn(record: SourceRecord) -> tuple[_Key, RecordedTurn]:
    """Return one line, numbered within its day for now."""
    user_id = record.text("user_id")
    date = record.optional_time("date")
    number = record.optional_count("turn")
    if date is None or number is None:
        missing = "date" if date is None else "turn"
        raise record.problem(f"expected `{missing}`, it is missing")
    turn = RecordedTurn(
        conversation_id=user_id,
        turn=number,
        user_text=record.text("user_text"),
        time=date,
        user_id=user_id,
        reply=record.optional_text("bot_text"),
    )
    return (date, number), turn


def _persona(record: SourceRecord) -> Persona:
    texts = {name: record.optional_text(name) for name in record.fields}
    persona = {name: texts.pop(name, None) for name in ("name", "speaking_style")}
    persona["background"] = "\n".join(f"{name}: {text}" for name, text in texts.items() if text)
    return {name: text for name, text in persona.items() if text}


def _personas_beside(path: Path) -> Mapping[str, Persona]:
    """Return the users' personas by user id; empty when no file tells them.

    Raises:
        FormatError: when the file is there and cannot be read.
    """
    beside = path.with_name("personas.json")
    if not beside.is_file():
        return {}
    try:
        document = orjson.loads(beside.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise FormatError(beside, None, f"expected a JSON object of personas: {error}") from error
    record = SourceRecord(beside, None, "", document)
    return {
        user_id: _persona(record.inside(persona, f"persona {user_id}"))
        for user_id, persona in record.fields.items()
    }


def _personas(path: Path, problems: Problems) -> Mapping[str, Persona]:
    try:
        return _personas_beside(path)
    except FormatError as error:
        problems.meet(error)
        return {}


def _read(file: SourceFile, records: Iterable[SourceRecord], problems: Problems) -> Iterator[Found]:
    firsts: dict[str, SourceRecord] = {}
    turns_of: dict[str, dict[_Key, RecordedTurn]] = {}
    for record in records:
        try:
            key, turn = _turn(record)
            turns = turns_of.setdefault(turn.conversation_id, {})
            if key in turns:
                raise record.problem(
                    f"expected turn {key[1]} of {key[0]} once for user {turn.user_id!r}; "
                    "it stands before"
                )
        except FormatError as error:
            problems.meet(error)
        else:
            turns[key] = turn
            firsts.setdefault(turn.conversation_id, record)
    personas = _personas(file.path, problems)
    for user_id, first in firsts.items():
        in_order = sorted(turns_of[user_id].items(), key=lambda item: item[0])
        numbered = tuple(replace(turn, turn=number) for number, (_, turn) in enumerate(in_order))
        conversation = Conversation(
            user_id, user_id, None, numbered, user_persona=personas.get(user_id)
        )
        yield Found(conversation, first)


def _recognises(document: Mapping[str, Any]) -> bool:
    return "bot_text" in document and "user_text" in document


MEMORYBANK = ConversationFormat(
    name="memorybank",
    shape='{"user_id": …, "date": …, "turn": 0, "user_text": …, "bot_text": …} a line',
    recognises=_recognises,
    read=_read,
)
