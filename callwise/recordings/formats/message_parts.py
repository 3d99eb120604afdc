"""Text of one message, and the branch of messages that was shown.

Services keep what was edited or asked again next to what came of it: Claude's export, Open
WebUI and LibreChat list all of it. Read in order of the list, an answer that the user threw
away would be part of the reply. Read is the branch of the leaf that the record names, else
that of the last message in the list.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from callwise.recordings.formats import vocabulary
from callwise.recordings.formats.message_list import is_message, known_id, unwrap
from callwise.recordings.formats.speakers import role_word
from callwise.recordings.formats.vocabulary import keys
from callwise.recordings.source_records import RecordProblems, SourceRecord, named_type

__all__ = [
    "LEAF_KEYS",
    "MESSAGE_IDS",
    "MessageContent",
    "last_below",
    "parent_of",
    "read_content",
    "shown_branch",
    "unfolded",
]

_MAX_DEPTH = 6
_TWO_FOR_ONE = re.compile("[\u00c2-\u00f4][\u0080-\u00bf]")


@dataclass(slots=True)
class MessageContent:
    """Texts and other parts of a message.

    Args:
        texts: its pieces of text, in order.
        is_joined: whether the pieces are parts of one line, as in a chat with links.
        has_act: whether the agent called a tool or function in it.
        has_tool_result: whether a tool's result is in it.
        left_out: other pieces, by their kind, such as `image_url part`; and a text that was
            encoded twice, which is read as it is.
    """

    texts: list[str] = field(default_factory=list)
    is_joined: bool = False
    has_act: bool = False
    has_tool_result: bool = False
    left_out: list[str] = field(default_factory=list)

    @property
    def text(self) -> str | None:
        """The whole text; None where there is none or only blanks."""
        whole = ("" if self.is_joined else "\n").join(self.texts)
        return whole if whole.strip() else None


def read_content(message: SourceRecord) -> MessageContent:
    """Return what a message has in it.

    Raises:
        FormatError: when its text is of a type that no text has.
    """
    content = MessageContent()
    fields = message.fields
    for name in ("tool_calls", "function_call", "tool_use"):
        content.has_act = content.has_act or bool(fields.get(name))
    kind = str(fields.get("type") or "").lower()
    content.has_act = content.has_act or kind in vocabulary.ACT_TYPES
    content.has_tool_result = kind in vocabulary.TOOL_RESULT_TYPES
    for name in vocabulary.TEXT_KEYS:
        value = fields.get(name)
        if value is None or value in ("", []):
            continue
        if isinstance(value, str):
            content.texts.append(value)
        elif isinstance(value, list):
            content.is_joined = name == "text"
            _read_parts(message, value, content)
        elif isinstance(value, dict):
            _read_parts(message, [value], content)
        else:
            raise message.problem(f"expected `{name}` to be a string, got {named_type(value)}")
        if content.text is not None:
            break
    content.left_out += [name for name in vocabulary.MEDIA_KEYS if fields.get(name)]
    if _is_twice_encoded("".join(content.texts)):
        content.left_out.append("text with letters such as \u00c3\u00a9 in place of \u00e9")
    return content


def _is_twice_encoded(text: str) -> bool:
    """Return whether a text is UTF-8 that was read as Latin-1, as Messenger exports it."""
    if _TWO_FOR_ONE.search(text) is None:
        return False
    try:
        return len(text.encode("latin-1").decode()) < len(text)
    except UnicodeError:
        return False


def _read_parts(message: SourceRecord, parts: Sequence[Any], content: MessageContent) -> None:
    for number, part in enumerate(parts, start=1):
        if isinstance(part, str):
            content.texts.append(part)
        elif isinstance(part, dict):
            _read_part(part, content, depth=0)
        elif part is not None:
            raise message.problem(
                f"part {number}: expected a text or an object, got {named_type(part)}"
            )


def _read_part(part: Mapping[str, Any], content: MessageContent, depth: int) -> None:
    stated = str(part.get("type") or part.get("content_type") or "")
    kind = stated.lower()
    if kind in vocabulary.ACT_TYPES or part.get("functionCall") or part.get("function_call"):
        content.has_act = True
    elif kind in vocabulary.TOOL_RESULT_TYPES or any(part.get(key) for key in _TOOL_RESULT_KEYS):
        content.has_tool_result = True
    elif kind in vocabulary.THOUGHT_TYPES or part.get("thought") is True:
        content.left_out.append("thought")
    elif kind.startswith(_NOT_TEXT) or not _read_text(part, content, depth):
        content.left_out.append(f"{stated or 'other'} part")


_TEXT_OF_PART = ("text", "value", "content", "parts", "refusal")
_TOOL_RESULT_KEYS = ("functionResponse", "function_response")
_NOT_TEXT = ("image", "audio", "video", "file", "document", "input_image", "input_file", "media")


def _read_text(part: Mapping[str, Any], content: MessageContent, depth: int) -> bool:
    """Add the text of a part, and return whether it has any; parts may have parts."""
    for name in _TEXT_OF_PART:
        value = part.get(name)
        if isinstance(value, str) and value:
            content.texts.append(value)
            return True
        if isinstance(value, dict):
            value = [value]
        if isinstance(value, list) and value and depth < _MAX_DEPTH:
            for each in value:
                if isinstance(each, str):
                    content.texts.append(each)
                elif isinstance(each, dict):
                    _read_part(each, content, depth + 1)
            return True
    return False


MESSAGE_IDS = ("message_id", "messageId", "uuid", "id", "user_message_id")
_PARENT_IDS = keys(
    "parent_id parentId parentUuid parent_uuid parent_message_uuid parent_message_id "
    "parentMessageId parent"
)
LEAF_KEYS = keys(
    "current_leaf_message_uuid current_leaf currentId current_id current_node currentMessageId"
)
"""Fields of a record that name the last message of the branch that was shown."""

_FOLDS = ("children", "replies")
_NOTE = "message of a branch that was not read"


def parent_of(fields: Mapping[str, Any]) -> str | None:
    """Return the name of the message that a message answers; None where it names none."""
    return known_id(fields, _PARENT_IDS)


def _parents(messages: Sequence[SourceRecord]) -> tuple[list[str | None], list[str | None]]:
    """Return each message's name, in the field that parents are named by, and its parent."""
    parents = [parent_of(message.fields) for message in messages]
    for key in MESSAGE_IDS:
        names = [known_id(message.fields, (key,)) for message in messages]
        if {*parents} & {*names} - {None}:
            return names, parents
    return [None] * len(messages), parents


def last_below(names: Sequence[str | None], parents: Sequence[str | None]) -> list[int]:
    """Return for each message the place of the last one that descends from it, or its own."""
    places: dict[str | None, int] = {
        name: place for place, name in enumerate(names) if name is not None
    }
    last: list[int | None] = [None] * len(names)
    for place in reversed(range(len(names))):
        here: int | None = place
        while here is not None and last[here] is None:
            last[here] = place
            here = places.get(parents[here])
    return [place if found is None else found for place, found in enumerate(last)]


def _word(message: SourceRecord) -> str | None:
    return next(
        filter(None, (role_word(message.fields, key) for key in vocabulary.ROLE_KEYS)), None
    )


def shown_branch(
    messages: Sequence[SourceRecord], leaf: str | None, problems: RecordProblems
) -> Sequence[SourceRecord]:
    """Return the messages without those of branches that were not shown.

    Messages that name no parent among the others are left as they are.

    Args:
        leaf: the name of the last message of the branch; None takes the last of the list.
        problems: where the others are noted.

    Raises:
        FormatError: when a message is its own ancestor.
    """
    names, parents = _parents(messages)
    places: dict[str | None, int] = {
        name: place for place, name in enumerate(names) if name is not None
    }
    if not places or len(places) != len([name for name in names if name is not None]):
        return messages
    here: int | None = places.get(leaf, max(places.values()))
    path: list[int] = []
    while here is not None:
        if here in path[-1:] or len(path) > len(messages):
            raise messages[here].problem("expected a tree of messages; it is its own ancestor")
        path.append(here)
        here = places.get(parents[here])
    left_out = _aside(messages, path, names, parents)
    problems.notes[_NOTE] += len(left_out)
    if not left_out:
        del problems.notes[_NOTE]
    kept = [place for place in range(len(messages)) if place not in left_out]
    if {*kept} == {*path}:
        kept = path[::-1]
    return [messages[place] for place in kept]


def _aside(
    messages: Sequence[SourceRecord],
    path: Sequence[int],
    names: Sequence[str | None],
    parents: Sequence[str | None],
) -> set[int]:
    """Return the places of messages that are alternatives to the path's, and what follows them."""
    children: dict[str | None, list[int]] = {}
    for place, parent in enumerate(parents):
        children.setdefault(parent, []).append(place)
    on_path = {*path}
    top = path[-1]
    pending = [*children.get(names[path[0]], [])]  # what follows the leaf that was named
    for place in path:
        siblings = children[parents[place]]
        if parents[place] is None:  # a system message next to the first one is no alternative
            siblings = [
                each
                for each in siblings
                if names[each] is not None and _word(messages[each]) == _word(messages[top])
            ]
        pending += [each for each in siblings if each not in on_path]
    left_out: set[int] = set()
    while pending:
        place = pending.pop()
        if place not in left_out and place not in on_path:
            left_out.add(place)
            pending += children.get(names[place], []) if names[place] is not None else []
    return left_out


def unfolded(messages: Sequence[SourceRecord], problems: RecordProblems) -> Sequence[SourceRecord]:
    """Return messages that have the next ones inside them as a list, the last of each.

    Raises:
        FormatError: when messages of several speakers have others inside them.
    """
    if not any(_inside(message) for message in messages):
        return messages
    if len({_word(message) for message in messages}) > 1:
        raise messages[0].problem(
            "expected messages one after another, got some that have others inside them"
        )
    branch: list[SourceRecord] = []
    level = messages
    while level:
        if len(level) > 1:
            problems.notes["branch that was not read"] += len(level) - 1
        branch.append(level[-1])
        level = _inside(level[-1])
    return branch


def _inside(message: SourceRecord) -> list[SourceRecord]:
    for key in _FOLDS:
        value = message.fields.get(key)
        if isinstance(value, list) and value and all(map(is_message, value)):
            return [message.inside(unwrap(each), "") for each in value]
    return []
