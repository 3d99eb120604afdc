"""MemoryBank: one turn per line, with a date; all days of one user are one conversation.

A `personas.json` next to the file describes the users: `{user_id: {"name", …}}`. It is
the user's persona, so it never becomes the agent's.

Source: Zhong et al., MemoryBank (AAAI 2024).
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from callwise.calls.errors import FormatError
from callwise.recordings.conversation import (
    Conversation,
    Persona,
    RecordedTurn,
    Utterance,
    pair_conversation,
)
from callwise.recordings.formats.conversation_format import (
    Collector,
    ConversationFormat,
    DetectedRecord,
    Pending,
    Reading,
    read_each,
)
from callwise.recordings.source_records import RecordProblems, SourceRecord, iso_time

__all__ = ["MEMORYBANK", "MEMORYBANK_HISTORY"]

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


def _read_personas(path: Path) -> Mapping[str, Persona]:
    """Return the users' personas by user id; empty when there is no such file.

    Raises:
        FormatError: when the file is there and cannot be read.
    """
    described = path.with_name("personas.json")
    if not described.is_file():
        return {}
    try:
        document = orjson.loads(described.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise FormatError(
            described, None, f"expected a JSON object of personas: {error}"
        ) from error
    record = SourceRecord(described, None, "", document)
    return {
        user_id: _persona(record.inside(persona, f"persona {user_id}"))
        for user_id, persona in record.fields.items()
    }


def _personas(path: Path, problems: RecordProblems) -> Mapping[str, Persona]:
    try:
        return _read_personas(path)
    except FormatError as error:
        problems.meet(error)
        return {}


class _Days(Collector):
    """The turns of one file, by user."""

    def __init__(self, reading: Reading) -> None:
        super().__init__(reading)
        self._firsts: dict[str, SourceRecord] = {}
        self._turns: dict[str, dict[_Key, RecordedTurn]] = {}

    def add(self, record: SourceRecord) -> Iterable[Pending]:
        """Take one turn; a user's conversation is complete when the file has ended."""
        key, turn = _turn(record)
        turns = self._turns.setdefault(turn.conversation_id, {})
        if key in turns:
            raise record.problem(
                f"expected turn {key[1]} of {key[0]} once for user {turn.user_id!r}; it is before"
            )
        turns[key] = turn
        self._firsts.setdefault(turn.conversation_id, record)
        return ()

    def finish(self) -> Iterable[Pending]:
        """Return a conversation for each user, its turns numbered from 0."""
        personas = _personas(self._reading.file.path, self._reading.problems)
        return [partial(self._found, user_id, personas.get(user_id)) for user_id in self._firsts]

    def _found(self, user_id: str, persona: Persona | None) -> DetectedRecord:
        in_order = sorted(self._turns[user_id].items(), key=lambda item: item[0])
        turns = tuple(replace(turn, turn=number) for number, (_, turn) in enumerate(in_order))
        conversation = Conversation(user_id, user_id, None, turns, user_persona=persona)
        return DetectedRecord(conversation, self._firsts[user_id])


def _recognises(document: Any) -> bool:
    return isinstance(document, dict) and "bot_text" in document and "user_text" in document


MEMORYBANK = ConversationFormat(
    name="memorybank",
    about=(
        "MemoryBank, one turn per line; all days of a user are one conversation. A "
        "`personas.json` next to the file describes the users"
    ),
    example=(
        '{"turn_id": "u1/05-01#0", "user_id": "u1", "date": "2023-05-01", "turn": 0, '
        '"user_text": "Morning!", "bot_text": "Morning, Wei."}'
    ),
    recognises=_recognises,
    open=_Days,
)


def _convert_history(record: SourceRecord, reading: Reading) -> Conversation:
    """Return a user's days, as the authors of MemoryBank publish them."""
    user_id = record.optional_text("name") or record.number
    days = record.inside(record.fields.get("history"), "history")
    utterances: list[Utterance] = []
    for session, date in enumerate(sorted(days.fields)):
        if days.fields[date] == []:
            reading.problems.notes["day without a word"] += 1
            continue
        for exchange in days.items(date, f"{date}, exchange"):
            said = exchange.text("query")
            time = iso_time(date)
            utterances.append(Utterance(is_user=True, text=said, time=time, session=session))
            reply = exchange.optional_text("response") or ""
            utterances.append(Utterance(is_user=False, text=reply, time=time, session=session))
            reading.problems.roles["query", "user"] += 1
            reading.problems.roles["response", "agent"] += 1
    for name in ("summary", "personality", "overall_history", "overall_personality"):
        if record.fields.get(name):
            reading.problems.notes[f"`{name}` of a user"] += 1
    return pair_conversation(record, user_id, utterances, user_id=user_id)


def _has_history(document: Any) -> bool:
    history = document.get("history") if isinstance(document, dict) else None
    if not isinstance(history, dict) or not history:
        return False
    return all(isinstance(day, list) for day in history.values()) and all(
        isinstance(exchange, dict) and "query" in exchange
        for day in history.values()
        for exchange in day[:1]
    )


MEMORYBANK_HISTORY = ConversationFormat(
    name="memorybank-history",
    about="MemoryBank as its authors publish it: users by name, their days by date",
    example=(
        '{"Ana": {"name": "Ana", "history": {"2023-04-27": [{"query": "Hi.", "response": '
        '"Hello."}]}}}'
    ),
    recognises=_has_history,
    open=read_each(_convert_history),
)
