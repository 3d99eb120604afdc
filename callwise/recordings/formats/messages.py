"""The general reader: a record that is a list of messages, whatever its fields are called.

System messages and a `system` next to the messages are the agent's persona. Tool messages,
thoughts and media are left out and noted. A message of the agent without words, such as a
tool call, ends the user's turn all the same. A last reply apart from the messages is added.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from callwise.calls.answer_text import split_thoughts
from callwise.calls.errors import FormatError
from callwise.recordings.conversation import (
    Conversation,
    Persona,
    Utterance,
    in_order_of_time,
    numbered_in_order,
    pair_conversation,
)
from callwise.recordings.formats import vocabulary
from callwise.recordings.formats.conversation_format import Reading
from callwise.recordings.formats.message_list import (
    Spot,
    find_list,
    is_exchange,
    is_message,
    known_id,
    messages_of,
    unwrap,
)
from callwise.recordings.formats.message_parts import (
    LEAF_KEYS,
    read_content,
    shown_branch,
    unfolded,
)
from callwise.recordings.formats.speakers import NamedRole, has_stated_role, is_speaking, roles_of
from callwise.recordings.source_records import SourceRecord, iso_time

__all__ = [
    "background",
    "convert_messages",
    "instructions_in",
    "known_id",
    "note_rejected",
    "note_unread",
    "roles_in",
    "said_in",
    "time_of",
    "utterances_of",
    "without_thoughts",
]

_HIDDEN = ("is_system", "hidden", "is_hidden", "deleted", "isDeleted", "isMeta", "isThought")
_HIDDEN_BY_METADATA = "is_visually_hidden_from_conversation"
_HISTORIES = frozenset({"history", "chat_history"})
_MAX_WRAPPERS = 8
_THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking")
_THOUGHT_MARKS = (
    "<think>",
    "<thinking>",
    "<thought>",
    "<reasoning>",
    "<|begin_of_thought|>",
    "<|channel|>",
    "[think]",
    "\u25c1think\u25b7",
)
"""Beginnings of a reply whose model wrote its thoughts into the text."""

_SAMPLES = ("choices", "candidates", "generations", "responses")
"""Fields whose items are several replies to one message."""

_SERVICE_TYPES = frozenset({"service"})


def time_of(message: SourceRecord, reading: Reading) -> str | None:
    """Return when a message was written, as ISO 8601; one that cannot be read is noted."""
    stated = [
        value
        for key in vocabulary.TIME_KEYS
        if (value := message.fields.get(key)) not in (None, "")
    ]
    for value in stated:
        time = iso_time(value)
        if time is not None:
            return time
    if stated:
        reading.problems.notes["time that could not be read"] += 1
    return None


def _silent_role(fields: Mapping[str, Any]) -> NamedRole | None:
    """Return what an item that is no message of a speaker is; None where it is one."""
    kind = str(fields.get("type") or "").lower()
    if kind in vocabulary.ACT_TYPES:
        return kind, "agent"
    if (
        is_speaking(fields)
        or kind not in vocabulary.TOOL_RESULT_TYPES | vocabulary.THOUGHT_TYPES | _SERVICE_TYPES
    ):
        return None
    return kind, "tool"


def roles_in(
    messages: Sequence[SourceRecord], agent: str | None
) -> tuple[list[NamedRole | None], FormatError | None]:
    """Return each message's speaker and role, and the error where some have none."""
    roles: list[NamedRole | None] = [_silent_role(message.fields) for message in messages]
    speaking = [place for place, role in enumerate(roles) if role is None]
    if not speaking:
        return roles, None
    found, error = roles_of([messages[place] for place in speaking], agent)
    for place, role in zip(speaking, found, strict=True):
        roles[place] = role
    return roles, error


def utterances_of(
    messages: Sequence[SourceRecord],
    roles: Sequence[NamedRole | None],
    reading: Reading,
    *,
    is_chat: bool = False,
) -> tuple[list[Utterance], list[str]]:
    """Return what user and agent said, and the instructions to the agent.

    Args:
        is_chat: whether messages without text are usual, as in chats with pictures; so
            they are where roles follow from names.

    Raises:
        FormatError: when a message of the user has no text.
    """
    utterances: list[Utterance] = []
    instructions: list[str] = []
    for message, named in zip(messages, roles, strict=True):
        said = _said_in(message, named, reading, is_chat=is_chat)
        if isinstance(said, Utterance):
            utterances.append(said)
        elif said is not None:
            instructions.append(said)
    return utterances, instructions


def said_in(
    messages: Sequence[SourceRecord], reading: Reading, *, is_chat: bool = False
) -> tuple[list[Utterance], list[str]]:
    """Return what user and agent said in messages, and the instructions to the agent.

    Raises:
        FormatError: when a role is not known, or as `utterances_of` does.
    """
    roles, error = roles_in(messages, reading.agent)
    if error is not None:
        raise error
    return utterances_of(messages, roles, reading, is_chat=is_chat)


def background(instructions: Sequence[str]) -> Persona | None:
    """Return the agent's persona as its instructions have it; None without any."""
    return {"background": "\n\n".join(instructions)} if instructions else None


def _is_hidden(fields: Mapping[str, Any]) -> bool:
    metadata = fields.get("metadata")
    return any(fields.get(key) is True for key in _HIDDEN) or (
        isinstance(metadata, dict) and metadata.get(_HIDDEN_BY_METADATA) is True
    )


def _said_in(
    message: SourceRecord, named: NamedRole | None, reading: Reading, *, is_chat: bool
) -> Utterance | str | None:
    """Return what user or agent said in a message, or an instruction to the agent.

    None where it is neither, which is noted.
    """
    notes = reading.problems.notes
    content = read_content(message)
    text = content.text
    notes.update(content.left_out)
    if named is None:
        if text is not None:
            raise message.problem("expected a field that names the speaker; there is none")
        notes["message without text"] += 1
        return None
    word, role = named
    reading.problems.roles[word, role] += 1
    if _is_hidden(message.fields):
        notes["hidden message"] += 1
        return None
    if role == "persona":
        return text
    if role == "agent":
        said = _reply_text(
            message, "" if word.lower() in vocabulary.ACT_TYPES else text or "", reading
        )
        return Utterance(is_user=False, text=said, time=time_of(message, reading))
    if role == "tool" or (text is None and content.has_tool_result):
        is_thought, is_service = word in vocabulary.THOUGHT_TYPES, word in _SERVICE_TYPES
        kind = "thought" if is_thought else "service message" if is_service else "tool message"
        notes[kind] += 1
        return None
    if text is None and (is_chat or not has_stated_role(message.fields)):
        notes["message without text"] += 1
        return None
    if text is None:
        name = next((key for key in vocabulary.TEXT_KEYS if key in message.fields), "content")
        raise message.problem(f"expected the user's `{name}` to be a text, it is empty")
    return Utterance(is_user=True, text=text, time=time_of(message, reading))


def _reply_text(message: SourceRecord, text: str, reading: Reading) -> str:
    """Return what the agent said, without thoughts; what it did otherwise is noted."""
    if any(message.fields.get(key) for key in _THOUGHT_KEYS):
        reading.problems.notes["thought"] += 1
    said = without_thoughts(text, reading)
    if not said:
        reading.problems.notes["message of the agent without words"] += 1
    return said


def instructions_in(record: SourceRecord, *objects: Mapping[str, Any]) -> list[str]:
    """Return the instructions to the agent that are apart from the messages."""
    found: list[str] = []
    for fields in objects:
        for key in vocabulary.SYSTEM_KEYS:
            value = fields.get(key)
            if isinstance(value, str | dict) or (isinstance(value, list) and value):
                text = read_content(record.inside({"content": value}, f"`{key}`")).text
                if text is not None and text not in found:
                    found.append(text)
    return found


def without_thoughts(text: str, reading: Reading) -> str:
    """Return a reply without the thoughts that it begins with, which are noted."""
    if not text.lstrip()[:20].lower().startswith(_THOUGHT_MARKS):
        return text
    reading.problems.notes["thought"] += 1
    return split_thoughts(text)[0].strip()


def _final(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the messages of a reply apart from the others, in whatever it is wrapped."""
    if depth > _MAX_WRAPPERS:
        return
    if isinstance(value, str):
        if value.strip():
            yield {"role": "assistant", "content": value}
    elif isinstance(value, list):
        dicts = [each for each in value if isinstance(each, dict)]
        if len(dicts) == len(value) and any(is_speaking(unwrap(each)) for each in dicts):
            for each in dicts:
                yield dict(unwrap(each))
        elif value:  # several samples or accepted answers: the first
            yield from _final(value[0], depth + 1)
    elif isinstance(value, dict):
        yield from _final_in(value, depth)


def _first_sample(samples: Any) -> Any:
    return samples[0] if isinstance(samples, list) and samples else samples


def _final_in(fields: Mapping[str, Any], depth: int) -> Iterator[dict[str, Any]]:
    """Yield the messages of a reply that is an object: one message, or a response with it."""
    wrapped = next((fields[key] for key in _SAMPLES if fields.get(key)), None)
    spot = find_list(fields) if wrapped is None else None
    if wrapped is not None:
        yield from _final(_first_sample(wrapped), depth + 1)
    elif spot is not None and isinstance(spot.items, list):
        yield from _final(spot.items, depth + 1)
    elif is_speaking(unwrap(fields)):
        yield dict(unwrap(fields))
    elif "parts" in fields or isinstance(fields.get("content"), dict | list):
        content = fields["content"] if isinstance(fields.get("content"), dict) else fields
        yield {"role": "assistant", **content}
    else:
        names = (*vocabulary.FINAL_KEYS, *vocabulary.TEXT_KEYS, "result")
        found = next((fields[key] for key in names if fields.get(key)), None)
        yield from _final(found, depth + 1)


def _final_messages(record: SourceRecord, spot: Spot, reading: Reading) -> list[SourceRecord]:
    for fields in (spot.around, record.document if isinstance(record.document, dict) else {}):
        for key in vocabulary.FINAL_KEYS:
            if fields.get(key) and key != spot.key:
                value = _first_sample(fields[key]) if key in _SAMPLES else fields[key]
                messages = [record.inside(each, f"`{key}`") for each in _final(value)]
                if messages:
                    _note_samples({key: fields[key]}, reading)
                    return messages
    return []


def _note_samples(value: Any, reading: Reading) -> None:
    """Note replies to the same message of which the first is read."""
    samples: Any = None
    for _ in range(_MAX_WRAPPERS):
        if not isinstance(value, dict):
            break
        samples = next((value[key] for key in _SAMPLES if value.get(key)), None)
        value = next((value[key] for key in ("response", "body") if value.get(key)), samples)
    if isinstance(samples, list) and len(samples) > 1:
        reading.problems.notes["further reply to the same message"] += len(samples) - 1


def note_unread(fields: Mapping[str, Any], reading: Reading, *read: str) -> None:
    """Note lists of messages of a record, by their fields, other than the ones that are read."""
    for key, value in fields.items():
        name = str(key)
        if name in read or name in vocabulary.FINAL_KEYS or name.startswith("reject"):
            continue
        first = value
        while isinstance(first, list) and first and not is_exchange(first):
            first = first[0]
        if first is not value and (is_message(first) or is_exchange(first)):
            reading.problems.notes[f"list of messages `{name[:40]}`"] += 1


def note_rejected(fields: Mapping[str, Any], reading: Reading) -> None:
    """Note a reply that a record has only to be compared with the one that is read."""
    if any(str(name).startswith("reject") and value for name, value in fields.items()):
        reading.problems.notes["rejected reply"] += 1


def _said(utterances: Sequence[Utterance]) -> list[tuple[bool, str]]:
    return [(each.is_user, each.text) for each in utterances]


def _with_question(utterances: list[Utterance], spot: Spot) -> list[Utterance]:
    """Return what was said with the user's words that are apart from the list, if any.

    They follow a history, and come before a reply that is a list.
    """
    asked = next(
        (
            value
            for key in (*vocabulary.USER_SIDE_KEYS, "message")
            if isinstance(value := spot.around.get(key), str) and value.strip()
        ),
        None,
    )
    if asked is None or spot.key in {"message", *vocabulary.USER_SIDE_KEYS}:
        return utterances
    question = Utterance(is_user=True, text=asked)
    if not any(each.is_user for each in utterances):
        return [question, *utterances]
    if spot.key in _HISTORIES and not utterances[-1].is_user:
        return [*utterances, question]
    return utterances


def _talk_of(record: SourceRecord, spot: Spot, reading: Reading) -> tuple[list[Utterance], Persona]:
    """Return what was said in a record, the final reply included, and the agent's persona.

    Raises:
        FormatError: when the messages are not there, or a role is not known.
    """
    place = record.inside({spot.key or "messages": spot.items}, spot.outer)
    fields = record.document if isinstance(record.document, dict) else {}
    items = [each.document for each in place.items(spot.key or "messages", "message")]
    messages = messages_of(record, items, is_history=spot.key in _HISTORIES)
    messages = list(unfolded(messages, reading.problems))
    messages = list(numbered_in_order(messages, reading.problems))
    leaf = known_id(spot.around, LEAF_KEYS) or known_id(fields, LEAF_KEYS)
    messages = list(shown_branch(messages, leaf, reading.problems))
    if spot.key == "contents":  # where Gemini takes a missing role for the user's
        messages = [each.inside({"role": "user", **each.fields}, "") for each in messages]
    roles, error = roles_in(messages, reading.agent)
    if error is not None:
        raise error
    utterances, instructions = utterances_of(messages, roles, reading)
    utterances = _with_question(in_order_of_time(utterances, reading.problems), spot)
    final = _final_messages(record, spot, reading)
    if final:
        ending, _ = said_in(final, reading)
        if _said(ending)[: len(utterances)] == _said(utterances):
            utterances = ending
        elif utterances and not utterances[-1].is_user and utterances[-1].text:
            reading.problems.notes["final reply after messages that end with a reply"] += 1
        else:
            utterances += ending
    note_rejected(fields, reading)
    note_unread(spot.around, reading, spot.key)
    if fields is not spot.around:
        note_unread(fields, reading, *spot.outer.split("."))
    instructions = instructions_in(record, fields, spot.around) + instructions
    persona = {"background": "\n\n".join(instructions)} if instructions else {}
    if reading.agent is not None and (reading.agent, "agent") in roles:
        persona["name"] = reading.agent
    return utterances, persona


def convert_messages(record: SourceRecord, reading: Reading) -> Conversation:
    """Return the conversation of a record that has a list of messages.

    Raises:
        FormatError: when it has none that can be read.
    """
    spot = find_list(record.document)
    if spot is None:
        keys = ", ".join(map(str, list(record.fields)[:8])) or "none"
        raise record.problem(
            f"expected a list of messages, such as `messages`; there is none, keys are: {keys}"
        )
    utterances, persona = _talk_of(record, spot, reading)
    fields = record.document if isinstance(record.document, dict) else {}
    return pair_conversation(
        record,
        known_id(fields) or known_id(spot.around) or reading.default_id(record),
        utterances,
        user_id=known_id(fields, ("user_id", "user")),
        persona=persona or None,
    )
