"""One message per line (or row of a table), and trees of messages.

Lines that name their conversation are grouped by it, otherwise the file is one
conversation. Lines with a parent are a tree, and so are conversations that branch inside a
record: the branch that was chosen, or that ranks best, is read.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from callwise.calls.errors import FormatError
from callwise.recordings.conversation import (
    Conversation,
    in_order_of_time,
    numbered_in_order,
    pair_conversation,
)
from callwise.recordings.formats.conversation_format import (
    Collector,
    DetectedRecord,
    Pending,
    Reading,
)
from callwise.recordings.formats.message_list import (
    conversation_of,
    find_list,
    is_message,
    plain_name,
    unwrap,
)
from callwise.recordings.formats.message_parts import (
    MESSAGE_IDS,
    last_below,
    parent_of,
    read_content,
)
from callwise.recordings.formats.messages import (
    background,
    known_id,
    roles_in,
    said_in,
    utterances_of,
)
from callwise.recordings.formats.speakers import NamedRole, is_speaking, role_word
from callwise.recordings.formats.vocabulary import NAME_KEYS, THOUGHT_TYPES
from callwise.recordings.source_records import RecordProblems, SourceRecord

__all__ = [
    "MessageLines",
    "convert_mapping",
    "convert_replies",
    "is_line",
    "is_mapping",
    "is_named_line",
    "is_reply_tree",
]


def is_mapping(document: Any) -> bool:
    """Return whether a record is a conversation of a ChatGPT export."""
    return isinstance(document, dict) and isinstance(document.get("mapping"), dict)


def is_reply_tree(document: Any) -> bool:
    """Return whether a record is a message tree with `replies` in `replies`."""
    if not isinstance(document, dict):
        return False
    root = document.get("prompt") if isinstance(document.get("prompt"), dict) else document
    return isinstance(root, dict) and isinstance(root.get("replies"), list) and "text" in root


def _rank(fields: Mapping[str, Any]) -> float:
    """Return a message's rank: 0 is best; messages that were not ranked come last."""
    rank = fields.get("rank")
    is_number = isinstance(rank, int | float) and not isinstance(rank, bool)
    return float(rank) if is_number and rank == rank else float("inf")  # type: ignore[arg-type]  # noqa: PLR0124 - NaN is no rank


def _best(children: Sequence[SourceRecord], problems: RecordProblems) -> SourceRecord | None:
    kept = [child for child in children if child.fields.get("deleted") is not True]
    if len(kept) > 1:
        problems.notes["branch that was not read"] += len(kept) - 1
    return min(kept, key=lambda child: _rank(child.fields), default=None)


def _best_branches(
    messages: Sequence[SourceRecord], problems: RecordProblems
) -> list[list[SourceRecord]]:
    """Return the best-ranked branch under each message that has no parent.

    Among equals, such as messages without a rank, the one counts that leads to the last
    message of the file: a branch that was left is older. Messages whose parent is missing are
    left out.

    Raises:
        FormatError: when every message has a parent.
    """
    named = [known_id(message.fields, MESSAGE_IDS) for message in messages]
    names = {*named}
    parents = [parent_of(message.fields) for message in messages]
    last = last_below(named, parents)
    roots: list[SourceRecord] = []
    orphans: list[SourceRecord] = []
    children: dict[str | None, list[int]] = {}
    for place, (message, parent) in enumerate(zip(messages, parents, strict=True)):
        if parent is None:
            roots.append(message)
        elif parent in names:
            children.setdefault(parent, []).append(place)
        else:
            orphans.append(message)
    if orphans and not children:
        raise orphans[0].problem("expected its parent among the messages, it is missing")
    if not roots:
        raise messages[0].problem("expected a message without a parent, there is none")
    if orphans:
        problems.notes["message whose parent is missing"] += len(orphans)
    branches = []
    for root in roots:
        branch: list[SourceRecord] = []
        best: SourceRecord | None = root
        while best is not None:
            branch.append(best)
            below = children.pop(known_id(best.fields, MESSAGE_IDS), [])
            below.sort(key=lambda place: -last[place])
            best = _best([messages[place] for place in below], problems)
        branches.append(branch)
    return branches


def convert_replies(record: SourceRecord, reading: Reading) -> Conversation:
    """Return the best-ranked branch of an OASST tree.

    Raises:
        FormatError: when a message cannot be read.
    """
    root = record.fields.get("prompt")
    node: SourceRecord | None = record.inside(root, "prompt") if isinstance(root, dict) else record
    messages: list[SourceRecord] = []
    while node is not None:
        messages.append(node)
        replies = node.fields.get("replies") or []
        if not isinstance(replies, list):
            raise node.problem("expected `replies` to be a list")
        children = [node.inside(each, "") for each in replies]
        node = _best(children, reading.problems)
        if node is not None:
            node = record.inside(node.document, f"message {len(messages) + 1}")
    return _conversation(
        record, messages, reading, ("message_tree_id", "conversation_id", "id", "message_id")
    )


def convert_mapping(record: SourceRecord, reading: Reading) -> Conversation:
    """Return the branch of a ChatGPT export that was last shown.

    Raises:
        FormatError: when the branch is not known, or a message cannot be read.
    """
    nodes = record.inside(record.fields.get("mapping"), "mapping")
    name = record.fields.get("current_node")
    if not isinstance(name, str) or name not in nodes.fields:
        name = _only_leaf(record, nodes.fields)
    messages: list[SourceRecord] = []
    seen: set[str] = set()
    while isinstance(name, str) and name in nodes.fields:
        if name in seen:
            raise nodes.problem(f"expected a tree; node {name[:40]!r} is its own ancestor")
        seen.add(name)
        node = nodes.inside(nodes.fields[name], f"node {name[:40]}")
        message = node.fields.get("message")
        if isinstance(message, dict):
            messages.append(node.inside(_shown(unwrap(message)), ""))
        name = node.fields.get("parent")
    others = len(nodes.fields) - len(seen)
    if others:
        reading.problems.notes["message of a branch that was not read"] += others
    messages.reverse()
    return _conversation(record, messages, reading, ("conversation_id", "id", "uuid"), is_chat=True)


def _only_leaf(record: SourceRecord, nodes: Mapping[str, Any]) -> str:
    parents = {str(node.get("parent")) for node in nodes.values() if isinstance(node, dict)}
    leaves = [name for name in nodes if name not in parents]
    if len(leaves) != 1:
        raise record.problem(
            f"expected `current_node` to name the branch that was chosen; it is missing, and "
            f"there are {len(leaves)} branches"
        )
    return leaves[0]


_NEVER_SHOWN = THOUGHT_TYPES | {"user_editable_context", "model_editable_context"}


def _shown(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message as the user saw it: calls to tools and context are not shown."""
    content = message.get("content")
    kind = content.get("content_type") if isinstance(content, dict) else None
    recipient = message.get("recipient")
    if isinstance(kind, str) and kind in _NEVER_SHOWN:
        return {**message, "hidden": True}
    if isinstance(recipient, str) and recipient not in {"all", ""}:
        return {"author": message.get("author"), "tool_calls": [recipient]}
    return message


def _conversation(
    record: SourceRecord,
    messages: Sequence[SourceRecord],
    reading: Reading,
    identifiers: Sequence[str],
    *,
    is_chat: bool = False,
) -> Conversation:
    if not messages:
        raise record.problem("expected at least one message, there is none")
    utterances, instructions = said_in(messages, reading, is_chat=is_chat)
    return pair_conversation(
        record,
        known_id(record.fields, identifiers) or reading.default_id(record),
        utterances,
        user_id=known_id(record.fields, ("user_id",)),
        persona=background(instructions),
    )


_NO_CONVERSATION = re.compile(
    r"turn|round|exchange|request|run|trace|span|message|msg|repl|response|prompt|parent|pair|index|"
    r"sender|author|speaker|from|bot|user|tool|event"
)
"""Parts of the names of ids that distinguish messages, speakers or exchanges."""

_NO_NAME = "unused"
"""The name in the first line of newer versions of SillyTavern."""


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


class MessageLines(Collector):
    """The messages of one file, by conversation."""

    def __init__(self, reading: Reading) -> None:
        super().__init__(reading)
        self._messages: dict[str | None, list[SourceRecord]] = {}
        self._agent_name: str | None = None

    def add(self, record: SourceRecord) -> Iterable[Pending]:
        """Take one line; conversations are complete when the file has ended."""
        if _is_header(record.document):
            name = known_id(record.fields, ("character_name",))
            self._agent_name = None if name == _NO_NAME else name
            return ()
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
        return ()

    def finish(self) -> Iterator[Pending]:
        """Yield the conversations, in the order in which they begin."""
        for conversation_id, messages in self._messages.items():
            branches = [messages]
            try:
                if any(parent_of(message.fields) is not None for message in messages):
                    branches = _best_branches(messages, self._reading.problems)
            except FormatError as error:
                self._reading.problems.meet(error)
                continue
            for number, branch in enumerate(branches, start=1):
                name = conversation_id or f"{self._reading.file.label}-{number}"
                yield partial(self._finished, name, branch, may_be_renamed=number > 1)

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
        if len(users) > 1 and any(parent_of(each.fields) is not None for each in messages):
            return None  # each message of a tree has its author
        if len(users) > 1:
            shown = ", ".join(sorted(users)[:4])
            raise first.problem(f"expected one user per conversation, got `user_id` {shown}")
        return users.pop() if users else None
