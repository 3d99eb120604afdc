"""One message a line (or a row of a table), as chat loggers and SillyTavern write.

Lines that name their conversation are grouped by it, otherwise the file is one
conversation. Lines with a parent are a tree, of which the best-ranked branch is read.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from turnwise.calls.errors import FormatError
from turnwise.replay.conversation import in_order_of_time, numbered_in_order, pair_conversation
from turnwise.replay.formats.conversation_format import Collector, DetectedRecord, Reading
from turnwise.replay.formats.message_list import (
    conversation_of,
    find_list,
    is_message,
    plain_name,
    unwrap,
)
from turnwise.replay.formats.message_parts import parent_of, read_content
from turnwise.replay.formats.messages import known_id, roles_in, utterances_of
from turnwise.replay.formats.speakers import NamedRole, is_speaking, role_word
from turnwise.replay.formats.trees import best_branches
from turnwise.replay.formats.vocabulary import NAME_KEYS
from turnwise.replay.source_records import SourceRecord

__all__ = ["is_line", "is_named_line", "open_lines_of_messages"]

_NO_CONVERSATION = re.compile(
    r"turn|round|exchange|request|run|trace|span|message|msg|repl|response|prompt|parent|pair|index|"
    r"sender|author|speaker|from|bot|user|tool|event"
)
"""What is in the names of ids that tell apart messages, speakers or exchanges."""

_NO_NAME = "unused"
"""What newer versions of SillyTavern write for the names in the first line."""


def _is_header(document: Any) -> bool:
    """Return whether a record is the first line of a SillyTavern chat."""
    return (
        isinstance(document, dict)
        and "mes" not in document
        and ("user_name" in document or "chat_metadata" in document)
        and ("character_name" in document or "create_date" in document)
    )


def is_line(document: Any) -> bool:
    """Return whether a record is one message whose speaker's role it names."""
    if _is_header(document):
        return True
    if not isinstance(document, dict) or find_list(document) is not None:
        return False
    return is_message(document) and is_speaking(unwrap(document))


def is_named_line(document: Any) -> bool:
    """Return whether a record is one message of a speaker who has but a name."""
    if not isinstance(document, dict) or find_list(document) is not None:
        return False
    fields = unwrap(document)
    return is_message(document) and any(role_word(fields, key) for key in NAME_KEYS)


def _unnamed_ids(
    messages: Sequence[SourceRecord], roles: Sequence[NamedRole | None]
) -> tuple[str, int] | None:
    """Return a field that may tell apart several conversations, and how many values it has.

    It is an id, is on every line, and under one of its values user and agent speak.
    """
    for name in messages[0].fields:
        plain = plain_name(name)
        if not plain.endswith("id") or _NO_CONVERSATION.search(plain):
            continue
        values = [known_id(message.fields, (name,)) for message in messages]
        speaking: dict[str | None, set[str]] = {}
        for value, role in zip(values, roles, strict=True):
            speaking.setdefault(value, set()).add(role[1] if role else "")
        is_shared = any({"user", "agent"} <= each for each in speaking.values())
        if is_shared and None not in speaking and len(speaking) > 1:
            return str(name), len(speaking)
    return None


class _Lines:
    """The messages of one file, by conversation."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._messages: dict[str | None, list[SourceRecord]] = {}
        self._agent_name: str | None = None

    def add(self, record: SourceRecord) -> Iterator[DetectedRecord]:
        """Take one line; conversations are complete when the file has ended."""
        if _is_header(record.document):
            name = known_id(record.fields, ("character_name",))
            self._agent_name = None if name == _NO_NAME else name
            return
        message = record.inside(unwrap(record.fields), "")
        read_content(message)
        if not is_message(message.fields):
            keys = ", ".join(map(str, list(message.fields)[:8])) or "none"
            raise record.problem(
                "expected one message, with its speaker and its text, as on the lines before; "
                f"keys are: {keys}"
            )
        conversation_id = conversation_of(message.fields)
        if self._messages and (conversation_id is None) != (None in self._messages):
            raise record.problem(
                "expected the conversation's id, such as `conversation_id`, on every line, or "
                "on none"
            )
        self._messages.setdefault(conversation_id, []).append(message)
        yield from ()

    def finish(self) -> Iterator[DetectedRecord]:
        """Give the conversations, in the order in which they begin."""
        for conversation_id, messages in self._messages.items():
            branches = [messages]
            try:
                if any(parent_of(message.fields) is not None for message in messages):
                    branches = best_branches(messages, self._reading.problems)
            except FormatError as error:
                self._reading.problems.meet(error)
                continue
            for number, branch in enumerate(branches, start=1):
                name = conversation_id or f"{self._reading.file.label}-{number}"
                try:
                    yield self._finished(name, branch, may_be_renamed=number > 1)
                except FormatError as error:
                    self._reading.problems.meet(error)

    def _finished(
        self, conversation_id: str, messages: list[SourceRecord], *, may_be_renamed: bool
    ) -> DetectedRecord:
        reading = self._reading
        messages = list(numbered_in_order(messages, reading.problems))
        first = messages[0]
        roles, error = roles_in(messages, reading.agent)
        if error is not None:
            # Alone, a line with an unknown role is left out; others show that roles are known.
            if not any(roles):
                raise error
            reading.problems.meet(error)
            kept = [(m, role) for m, role in zip(messages, roles, strict=True) if role]
            messages, roles = [each for each, _ in kept], [role for _, role in kept]
        unnamed = _unnamed_ids(messages, roles) if None in self._messages else None
        if unnamed is not None:
            key, count = unnamed
            raise first.problem(
                "expected a field that names the conversation, such as `conversation_id`; "
                f"`{key}` has {count} values under which user and agent speak. Rename it to "
                "`conversation_id` if it distinguishes conversations, else leave it out"
            )
        utterances, instructions = utterances_of(messages, roles, reading)
        persona: dict[str, str] = {}
        if reading.agent is not None and (reading.agent, "agent") in roles:
            persona["name"] = reading.agent
        elif "is_user" in first.fields:  # a SillyTavern chat
            spoken = (known_id(each.fields, ("name",)) for each in messages)
            names = {
                name
                for name, role in zip(spoken, roles, strict=True)
                if name and role and role[1] == "agent"
            }
            name = self._agent_name or (names.pop() if len(names) == 1 else None)
            persona.update({"name": name} if name else {})
        if instructions:
            persona["background"] = "\n\n".join(instructions)
        conversation = pair_conversation(
            first,
            conversation_id,
            in_order_of_time(utterances, reading.problems),
            user_id=self._user_id(first, messages),
            persona=persona or None,
        )
        return DetectedRecord(conversation, first, may_be_renamed)

    def _user_id(self, first: SourceRecord, messages: list[SourceRecord]) -> str | None:
        users = {user for each in messages if (user := known_id(each.fields, ("user_id",)))}
        if len(users) > 1:
            shown = ", ".join(sorted(users)[:4])
            raise first.problem(f"expected one user a conversation, got `user_id` {shown}")
        return users.pop() if users else None


def open_lines_of_messages(reading: Reading) -> Collector:
    """Return the reader of a file with one message a line."""
    return _Lines(reading)
