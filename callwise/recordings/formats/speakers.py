"""Roles of a conversation's speakers: user, agent, persona or tool.

Roles are taken from the first field that names one in every message. Nothing is guessed: where
no field does, the error lists the speakers, and the user names which of them is the agent.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from callwise.calls.errors import FormatError
from callwise.recordings.formats.vocabulary import (
    NAME_KEYS,
    ROLE_KEYS,
    ROLE_OF_WORD,
    STATED_ROLE_KEYS,
    TEXT_KEYS,
    Role,
)
from callwise.recordings.source_records import SourceRecord

__all__ = ["NamedRole", "field_at", "has_stated_role", "is_speaking", "role_word", "roles_of"]

NamedRole = tuple[str, Role]
"""A speaker as the file names it, and the role that it is read as."""

_BOT_KEYS = frozenset(
    key for key in ROLE_KEYS if key.rpartition(".")[2] in {"is_bot", "isBot", "bot"}
)
_USER_KEYS = frozenset({"is_user", "isUser"})
_MARKS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_ALTERNATING_FIELDS = frozenset({*TEXT_KEYS, "attrs"})
"""Messages with nothing else take turns, the user's first: so KdConv is published."""

_SHOWN_SPEAKERS = 12


def field_at(fields: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path; None where there is none."""
    value: Any = fields
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def role_word(fields: Mapping[str, Any], key: str) -> str | None:
    """Return the word in a field that may name a role; None where there is none."""
    value = field_at(fields, key)
    if key in _USER_KEYS | _BOT_KEYS:  # tables have marks as text or numbers
        value = _MARKS.get(str(value).strip().lower())
    if isinstance(value, bool):
        if key in _USER_KEYS:
            return "user" if value else "assistant"
        if key in _BOT_KEYS:
            return "bot" if value else "user"
        return None
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str) and value.strip():
        return value.strip()
    return None


def _role(word: str | None) -> Role | None:
    return None if word is None else ROLE_OF_WORD.get(word.rstrip(":：").strip().lower())


def is_speaking(fields: Mapping[str, Any]) -> bool:
    """Return whether a message has a field that names its role by a known word."""
    return any(
        _role(role_word(fields, key)) is not None for key in ROLE_KEYS[: ROLE_KEYS.index("source")]
    )


def has_stated_role(fields: Mapping[str, Any]) -> bool:
    """Return whether a message names its role by a word, not by a name or a mark."""
    return any(_role(role_word(fields, key)) is not None for key in (*STATED_ROLE_KEYS, "type"))


def roles_of(
    messages: Sequence[SourceRecord], agent: str | None
) -> tuple[list[NamedRole | None], FormatError | None]:
    """Return each message's speaker and role, and why some have none.

    Args:
        agent: the speaker who is the agent, where a person has said so.

    Returns:
        A role for each message, None where it is not known; and then the error.
    """
    fields = [message.fields for message in messages]
    if agent is not None:
        key = next(
            (key for key in NAME_KEYS if any(role_word(each, key) == agent for each in fields)),
            None,
        )
        if key is not None:
            keys = (key, *NAME_KEYS)  # a speaker without that name may have another
            return [_as_chosen(_name(each, keys), agent) for each in fields], None
    for key in ROLE_KEYS:
        role_words = [role_word(each, key) for each in fields]
        roles = [_role(word) for word in role_words]
        if all(role is not None for role in roles):
            if key in _BOT_KEYS and not _is_one_bot(fields, role_words):
                break
            return _with_dialog_system(key, role_words, roles), None
    if agent is not None:
        return _unknown(messages, agent)
    if all(_ALTERNATING_FIELDS.issuperset(each) for each in fields):
        turns: tuple[NamedRole, NamedRole] = (("first", "user"), ("second", "agent"))
        return [turns[place % 2] for place in range(len(fields))], None
    lettered = _as_lettered(fields)
    if lettered is not None:
        return lettered, None
    return _unknown(messages, agent)


def _name(fields: Mapping[str, Any], keys: Sequence[str] = NAME_KEYS) -> str | None:
    """Return the name of a message's speaker in the first of these fields that has one."""
    return next((name for key in keys if (name := role_word(fields, key))), None)


def _as_chosen(word: str | None, agent: str) -> NamedRole | None:
    if word is None:
        return None
    if word == agent:
        return word, "agent"
    role = _role(word)
    return word, role if role in {"persona", "tool"} else "user"


def _is_one_bot(fields: Sequence[Mapping[str, Any]], role_words: Sequence[str | None]) -> bool:
    """Return whether a chat has people and one bot: with several, a person has to choose."""
    bots = {_name(each) for each, word in zip(fields, role_words, strict=True) if word == "bot"}
    return len(bots) == 1 and "user" in role_words


def _with_dialog_system(
    key: str, role_words: Sequence[str | None], roles: Sequence[Role | None]
) -> list[NamedRole | None]:
    """Return the roles; in a dialog of user and system, the system is the agent.

    So it is in task-oriented corpora, where `speaker` is USER or SYSTEM.
    """
    if key == "speaker" and "agent" not in roles and roles[:1] == ["user"]:
        roles = ["agent" if role == "persona" else role for role in roles]
    return [
        (word or "", role) if role is not None else None
        for word, role in zip(role_words, roles, strict=True)
    ]


def _as_lettered(fields: Sequence[Mapping[str, Any]]) -> list[NamedRole | None] | None:
    """Return the roles of speakers A and B, who are user and agent by convention."""
    role_words = [role_word(each, "speaker") for each in fields]
    if not all(word in {"A", "B"} for word in role_words):
        return None
    return [(word or "", "user" if word == "A" else "agent") for word in role_words]


def _unknown(
    messages: Sequence[SourceRecord], agent: str | None
) -> tuple[list[NamedRole | None], FormatError]:
    """Return the roles that are known, and the error for the first that is not."""
    fields = [message.fields for message in messages]

    def is_used(key: str) -> bool:
        return any(role_word(each, key) is not None for each in fields)

    key = next(filter(is_used, (*STATED_ROLE_KEYS, *NAME_KEYS)), "role")
    role_words = [role_word(each, key) for each in fields]
    roles = [_role(word) for word in role_words]
    place = roles.index(None) if None in roles else 0
    if not any(role_words):
        shown = ", ".join(map(str, list(fields[0])[:8]))
        return [None] * len(fields), messages[0].problem(
            "expected a field that names the speaker, such as `role`; there is none, keys are: "
            f"{shown}"
        )
    got = "none" if role_words[place] is None else repr((role_words[place] or "")[:40])
    unknown = "" if agent is None else f"No speaker is called {agent[:40]!r}. "
    return [
        None if role is None else (word or "", role)
        for word, role in zip(role_words, roles, strict=True)
    ], messages[place].problem(
        f"expected `{key}` to be user, assistant, system, tool or a usual word for them; got "
        f"{got}. {unknown}The speakers are {_listed(fields, key)}; give --agent NAME to choose "
        "which one is the agent"
    )


def _listed(fields: Sequence[Mapping[str, Any]], key: str) -> str:
    """Return the speakers' names for a person who has to choose one, the usual first."""
    named = (each for each in NAME_KEYS if each != "role")
    names_key = next((each for each in named if all(role_word(one, each) for one in fields)), key)
    counts = Counter(role_word(each, names_key) or "no name" for each in fields)
    shown = [f"{word[:40]!r} ({count})" for word, count in counts.most_common(_SHOWN_SPEAKERS)]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
