"""Finding the list of messages in a JSON value, and its items as messages of one form."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from callwise.recordings.formats import vocabulary
from callwise.recordings.formats.speakers import field_at, is_speaking, role_word
from callwise.recordings.formats.vocabulary import keys
from callwise.recordings.source_records import SourceRecord

__all__ = [
    "Spot",
    "are_by_speaker",
    "conversation_of",
    "find_list",
    "is_exchange",
    "is_message",
    "known_id",
    "merged",
    "messages_of",
    "plain_name",
    "sides_of",
    "unwrap",
]

_IDENTIFIERS = keys(
    "conversation_id dialogue_id dialog_id conversationId id uuid thread_id session_id "
    "chat_id question_id prompt_id conversation_hash"
)
"""Fields that may name a conversation, the most telling first."""

_ASIDE = ("metadata", "meta")
"""Objects of a line that may have its conversation's id."""

_MAX_NAME = 40
"""Most characters of a speaker's name in a list of pairs."""

_SILENT = vocabulary.ACT_TYPES | vocabulary.TOOL_RESULT_TYPES | vocabulary.THOUGHT_TYPES
_TABLE_KEYS = frozenset({"data", "items", "log", "logs", "input", "inputs", "prompt", "chosen"})
"""Fields whose items may as well be records of their own, so that exchanges are none of it."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Place of the messages in a record.

    Args:
        key: the field; empty where the record itself is the list.
        items: what is in it; not yet known to be a list of messages where `key` is one of
            `MADE_OF_MESSAGES`.
        around: the object that the field is in; empty for a bare list.
        outer: the field of the record that `around` is in; empty where it is the record.
    """

    key: str
    items: Any
    around: Mapping[str, Any]
    outer: str = ""

    @property
    def first(self) -> Any:
        """The first item; None where there is none."""
        return self.items[0] if isinstance(self.items, list) and self.items else None

    @property
    def first_message(self) -> Mapping[str, Any]:
        """The first item as a message's fields; empty where it is no object."""
        return unwrap(self.first) if isinstance(self.first, dict) else {}


def known_id(fields: Mapping[str, Any], names: Sequence[str] = _IDENTIFIERS) -> str | None:
    """Return the first of these fields that is a text or a whole number; None without one."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and value.strip():
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return None


def plain_name(name: object) -> str:
    """Return a field's name in lower case, without `_`, `-` and blanks."""
    return re.sub(r"[\s_-]+", "", str(name)).lower()


def conversation_of(fields: Mapping[str, Any]) -> str | None:
    """Return the id of the conversation that a line or an exchange belongs to, if it names one."""
    for place in (fields, *(fields.get(name) for name in _ASIDE)):
        if isinstance(place, Mapping):
            plain = {plain_name(name): value for name, value in place.items()}
            found = known_id(plain, vocabulary.CONVERSATION_ID_KEYS)
            if found is not None:
                return found
    return None


def unwrap(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message's own fields, taken out of what it was stored in."""
    for name in ("message", "data", "kwargs"):
        inner = fields.get(name)
        if isinstance(inner, dict) and any(key in inner for key in (*vocabulary.TEXT_KEYS, "role")):
            outer = {key: value for key, value in fields.items() if key != name}
            if name == "kwargs" and isinstance(fields.get("id"), list) and fields["id"]:
                return {**outer, "id": None, "type": str(fields["id"][-1]), **inner}
            return {**outer, **inner}
    return fields


def is_message(value: Any, *, needs_speaker: bool = True) -> bool:
    """Return whether a JSON value has the form of one message of a conversation."""
    if not isinstance(value, dict):
        return False
    fields = unwrap(value)
    if any(isinstance(fields.get(key), list | dict) for key in vocabulary.MADE_OF_MESSAGES):
        return False
    if str(fields.get("type") or "").lower() in _SILENT:
        return True
    is_known = is_speaking(fields)
    has_text = any(key in fields for key in vocabulary.TEXT_KEYS)
    if is_known and (has_text or "tool_calls" in fields or "function_call" in fields):
        return True
    is_named = is_known or any(role_word(fields, key) for key in vocabulary.NAME_KEYS)
    return has_text and (is_named or not needs_speaker)


_SIDES = (
    # Where a prompt and a response are there, `user` and `model` are an id and a name.
    (
        [key for key in vocabulary.USER_SIDE_KEYS if key not in vocabulary.USER_NAMED_KEYS],
        [key for key in vocabulary.AGENT_SIDE_KEYS if key not in vocabulary.AGENT_NAMED_KEYS],
    ),
    (vocabulary.USER_NAMED_KEYS, vocabulary.AGENT_NAMED_KEYS),
    (vocabulary.USER_SIDE_KEYS, vocabulary.AGENT_SIDE_KEYS),
)


def sides_of(fields: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """Return the user's and the agent's words of an exchange; None where it is none."""
    lowered = {str(key).lower(): value for key, value in fields.items()}
    for user_keys, agent_keys in _SIDES:
        user = next((key for key in user_keys if _is_said(lowered.get(key))), None)
        agent = next((key for key in agent_keys if _is_said(lowered.get(key))), None)
        if user is not None and agent is not None:
            return lowered[user], lowered[agent]
    return None


def _is_said(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def is_exchange(value: Any) -> bool:
    """Return whether a JSON value has both sides of an exchange and names no speaker."""
    if isinstance(value, list):
        return (
            len(value) == 2
            and all(each is None or isinstance(each, str) for each in value)
            and any(value)
        )
    return isinstance(value, dict) and not is_message(value) and sides_of(value) is not None


def merged(document: Any) -> Any:
    """Return a record with what is in its `inputs` and `outputs` laid together."""
    if isinstance(document, dict):
        sides = [document.get(key) for key in ("inputs", "outputs", "reference_outputs")]
        if isinstance(sides[0], dict):
            whole = dict(document)
            for side in sides:
                whole.update(side if isinstance(side, dict) else {})
            return whole
    return document


def _single_role(value: Any) -> str | None:
    """Return the role word that is the only key of an object with a text under it."""
    if isinstance(value, dict) and len(value) == 1:
        ((key, text),) = value.items()
        if isinstance(text, str) and str(key).strip().lower() in vocabulary.ROLE_OF_WORD:
            return str(key)
    return None


def _is_talk(value: Any, key: str) -> bool:
    """Return whether a value is a list of messages, for a field of this name."""
    if not isinstance(value, list) or not value:
        return False
    first = value[0]
    if isinstance(first, str):
        return key in vocabulary.ALTERNATING_KEYS and all(isinstance(each, str) for each in value)
    if is_message(first, needs_speaker=key not in {*vocabulary.MADE_OF_MESSAGES, "utterances"}):
        return True
    if _single_role(first) is not None:
        return True
    if isinstance(first, list) and len(value) == 1 and first and is_message(first[0]):
        return True
    return key not in _TABLE_KEYS and is_exchange(first)


_NUMBERED = re.compile(r"(?:turn|round|message|utterance)?[_ -]?([0-9]{1,6})")


def _digits(key: str) -> str:
    match = _NUMBERED.fullmatch(key)
    return match[1] if match else "0"


def _listed(value: Any) -> Any:
    """Return a list that was stored as JSON text or by numbers; else the value itself."""
    if isinstance(value, dict) and value and all(_NUMBERED.fullmatch(str(key)) for key in value):
        return [value[key] for key in sorted(value, key=lambda key: int(_digits(str(key))))]
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            parsed = orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
        return parsed if isinstance(parsed, list) else value
    return value


def find_list(document: Any) -> Spot | None:
    """Return where the messages of a record are; None where it is no conversation."""
    if isinstance(document, list):
        return Spot("", document, {}) if _is_bare_talk(document) else None
    if not isinstance(document, dict):
        return None
    is_one_exchange = is_exchange(document)
    spot = _field_in(document, "", is_one_exchange=is_one_exchange)
    for outer in vocabulary.NESTING_KEYS:
        inner = field_at(document, outer)
        if spot is None and isinstance(inner, dict):
            whole = merged(document) if outer == "inputs" else inner
            spot = _field_in(inner, outer, is_one_exchange=is_exchange(whole))
    if spot is not None:
        return spot
    for key in vocabulary.MADE_OF_MESSAGES[:2]:
        if key in document and (document[key] == [] or not isinstance(document[key], list | dict)):
            return Spot(key, document[key], document)
    if is_one_exchange:
        return None
    return _only_list(document)


def _is_bare_talk(items: Sequence[Any]) -> bool:
    if not items or isinstance(items[0], str):
        return False
    if are_by_speaker(items):
        return True
    return all(is_message(each) for each in items) or all(
        _single_role(each) is not None for each in items
    )


def _field_in(fields: Mapping[str, Any], outer: str, *, is_one_exchange: bool) -> Spot | None:
    for key in vocabulary.LIST_KEYS:
        if is_one_exchange and key in {"history", "chat_history", "chosen"}:
            continue
        value = _listed(fields.get(key))
        if _is_talk(value, key):
            return Spot(key, value, fields, outer)
    return None


def _only_list(fields: Mapping[str, Any]) -> Spot | None:
    """Return the one list of messages under a name that is not known, where there is one."""
    found = [
        key
        for key, value in fields.items()
        if isinstance(value, list)
        and value
        and all(is_message(each) and is_speaking(unwrap(each)) for each in value)
    ]
    return Spot(str(found[0]), fields[found[0]], fields) if len(found) == 1 else None


def messages_of(
    record: SourceRecord, items: Sequence[Any], *, is_history: bool = False
) -> list[SourceRecord]:
    """Return the items of a list as messages, each an object with its own fields.

    Args:
        is_history: whether its pairs of texts are exchanges, whatever is in them.

    Raises:
        FormatError: when an item is no message.
    """
    if len(items) == 1 and isinstance(items[0], list) and not is_exchange(items[0]):
        items = items[0]
    if all(isinstance(each, str) for each in items):
        return _alternating(record, [str(each) for each in items])
    is_roled = are_by_speaker(items, may_be_names=not is_history)
    messages: list[SourceRecord] = []
    for number, item in enumerate(items, start=1):
        each = record.inside(item, f"message {number}")
        if isinstance(item, list) and is_exchange(item):
            sides = (("role", item[0]), ("content", item[1]))
            texts = [dict(sides)] if is_roled else list(_exchange(item[0], item[1]))
            messages += [each.inside(text, "") for text in texts]
        elif (word := _single_role(item)) is not None:
            messages.append(each.inside({"role": word, "content": item[word]}, ""))
        elif is_exchange(item):
            user, agent = sides_of(item) or (None, None)
            rest = {name: item[name] for name in item if name in {"timestamp", "time", "date"}}
            messages += [each.inside({**rest, **one}, "") for one in _exchange(user, agent)]
        else:
            messages.append(each.inside(unwrap(each.fields), ""))
    return messages


def are_by_speaker(items: Sequence[Any], *, may_be_names: bool = True) -> bool:
    """Return whether pairs of texts are a speaker and a text, and not what two speakers said.

    Half of their first texts are words for roles, or a few of them come again and again.

    Args:
        may_be_names: whether the latter counts; not so in a `history`, which has exchanges.
    """
    firsts = [item[0] for item in items if isinstance(item, list) and is_exchange(item)]
    if not firsts or len(firsts) < len(items) or not all(isinstance(each, str) for each in firsts):
        return False
    first_words = [each.strip().lower() for each in firsts]
    known = sum(word in vocabulary.ROLE_OF_WORD for word in first_words)
    if known * 2 >= len(first_words):
        return True
    is_short = all(len(word) <= _MAX_NAME for word in first_words)
    return (
        may_be_names
        and is_short
        and len(first_words) >= 4
        and 2 <= len({*first_words}) <= len(first_words) // 2
    )


_MARKED = re.compile(r"\s*<\|[\w ]{1,40}\|>:\s*(.*?)\s*<eo[a-z]>\s*", re.DOTALL)
"""A text with marks for its speaker and its end, as MOSS has them."""


def _unmarked(text: Any) -> Any:
    match = _MARKED.fullmatch(text) if isinstance(text, str) else None
    return text if match is None else match[1]


def _exchange(user: Any, agent: Any) -> Iterator[dict[str, Any]]:
    if _is_said(user):
        yield {"role": "user", "content": _unmarked(user)}
    if agent is not None:
        yield {"role": "assistant", "content": _unmarked(agent)}


def _alternating(record: SourceRecord, texts: Sequence[str]) -> list[SourceRecord]:
    return [
        record.inside(
            {"role": ("user", "assistant")[place % 2], "content": text}, f"message {place + 1}"
        )
        for place, text in enumerate(texts)
    ]
