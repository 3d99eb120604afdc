"""Conversations that branch: the branch that was chosen, or that ranks best, is read."""

from collections.abc import Mapping, Sequence
from typing import Any

from turnwise.replay.conversation import Conversation, pair_conversation
from turnwise.replay.formats.conversation_format import Reading
from turnwise.replay.formats.message_list import unwrap
from turnwise.replay.formats.message_parts import MESSAGE_IDS, last_below, parent_of
from turnwise.replay.formats.messages import known_id, roles_in, utterances_of
from turnwise.replay.formats.vocabulary import THOUGHT_TYPES
from turnwise.replay.source_records import RecordProblems, SourceRecord

__all__ = [
    "best_branches",
    "convert_mapping",
    "convert_replies",
    "is_mapping",
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


def best_branches(
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
        FormatError: when the branch cannot be told, or a message cannot be read.
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
    roles, error = roles_in(messages, reading.agent)
    if error is not None:
        raise error
    utterances, instructions = utterances_of(messages, roles, reading, is_chat=is_chat)
    return pair_conversation(
        record,
        known_id(record.fields, identifiers) or reading.default_id(record),
        utterances,
        user_id=known_id(record.fields, ("user_id",)),
        persona={"background": "\n\n".join(instructions)} if instructions else None,
    )
