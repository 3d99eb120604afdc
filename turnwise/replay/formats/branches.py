"""The branch of a conversation that was shown, where messages name their parents.

Services keep what was edited or asked again beside what came of it: Claude's export, Open
WebUI and LibreChat list all of it. Read in order of the list, an answer that the user threw
away would be part of the reply. Read is the branch of the leaf that the record names, else
that of the last message in the list.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from turnwise.replay.formats.message_list import is_message, known_id, unwrap
from turnwise.replay.formats.speakers import role_word
from turnwise.replay.formats.vocabulary import ROLE_KEYS
from turnwise.replay.record import Problems, SourceRecord

__all__ = ["LEAF_KEYS", "MESSAGE_IDS", "last_below", "parent_of", "shown_branch", "unfolded"]

MESSAGE_IDS = ("message_id", "messageId", "uuid", "id", "user_message_id")
_PARENT_IDS = (
    "parent_id",
    "parentId",
    "parentUuid",
    "parent_uuid",
    "parent_message_uuid",
    "parent_message_id",
    "parentMessageId",
    "parent",
)
LEAF_KEYS = (
    "current_leaf_message_uuid",
    "current_leaf",
    "currentId",
    "current_id",
    "current_node",
    "currentMessageId",
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
    return next(filter(None, (role_word(message.fields, key) for key in ROLE_KEYS)), None)


def shown_branch(
    messages: Sequence[SourceRecord], leaf: str | None, problems: Problems
) -> Sequence[SourceRecord]:
    """Return the messages without those of branches that were not shown.

    Messages that name no parent among the others are left as they are.

    Args:
        messages: of one conversation.
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
        if parents[place] is None:  # a system message beside the first one is no alternative
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


def unfolded(messages: Sequence[SourceRecord], problems: Problems) -> Sequence[SourceRecord]:
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
