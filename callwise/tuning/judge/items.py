"""Replies to judge, each with the message that it answers, without the setting that gave it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from callwise.tuning.row import ReplyKey, TurnRow, reply_id

__all__ = ["HistoryLine", "ReplyItem", "distinct", "items_of", "references_of"]

MAX_HISTORY_LINES = 12
"""The default number of lines before a turn that are shown."""


class HistoryLine(NamedTuple):
    """One line of the conversation before the turn. Its text is untrusted."""

    role: Literal["user", "agent"]
    text: str


@dataclass(frozen=True, slots=True)
class ReplyItem:
    """One reply on one turn. Nothing in it identifies the setting that gave it.

    Args:
        conversation: the conversation's id. Never shown to a referee.
        turn: starts at 0. Never shown to a referee.
        reply: its text. Untrusted; may be empty.
        language: `en` or `zh`; None derives it from the script.
        known_id: the id of the reply in the sweep's rows; empty takes `reply_id` of its text.
    """

    conversation: str
    turn: int
    user_text: str
    reply: str
    history: tuple[HistoryLine, ...] = ()
    persona: Mapping[str, str] = field(default_factory=dict)
    language: str | None = None
    known_id: str = ""

    @property
    def key(self) -> ReplyKey:
        """The key under which it is judged once."""
        return self.conversation, self.turn, self.known_id or reply_id(self.reply)


def distinct(items: Iterable[ReplyItem]) -> list[ReplyItem]:
    """Return the items sorted, without duplicates: the same text on the same turn is one."""
    first: dict[ReplyKey, ReplyItem] = {}
    for item in items:
        first.setdefault(item.key, item)
    return [first[key] for key in sorted(first)]


def items_of(
    rows: Iterable[TurnRow],
    text_of: Callable[[str], str | None],
    turns: Iterable[Mapping[str, Any]],
    *,
    max_history_lines: int = MAX_HISTORY_LINES,
) -> tuple[list[ReplyItem], tuple[str, ...]]:
    """Return each different reply of a sweep's rows once, sorted, and the notices.

    Every reply to a turn is shown with the recorded lines before it, not with its setting's, so
    that the replies of a turn are compared on equal terms.

    Args:
        text_of: returns a reply's text by its id, None where it was not kept.
        turns: the recording's, as in `turns.jsonl`: `conversation_id`, `turn`, `user_text` and,
            where they are known, `reply`, `language` and `persona`; in any order.
    """
    contexts = _contexts(turns, max_history_lines)
    items: list[ReplyItem] = []
    lost: Counter[str] = Counter()
    replies = {(row.conversation, row.turn, row.reply_id) for row in rows if row.has_reply}
    for conversation, turn, known_id in sorted(replies):
        context = contexts.get((conversation, turn))
        text = text_of(known_id) if known_id else ""
        if context is None or text is None:
            lost["turns that the recording lacks" if text is not None else "no kept text"] += 1
            continue
        recorded, history = context
        language = recorded.get("language")
        items.append(
            ReplyItem(
                conversation=conversation,
                turn=turn,
                user_text=str(recorded.get("user_text") or ""),
                reply=text,
                known_id=known_id,
                history=history,
                persona=_texts(recorded.get("persona")),
                language=language if isinstance(language, str) else None,
            )
        )
    return items, tuple(f"{lost[why]} replies are of {why}: left out" for why in sorted(lost))


def references_of(turns: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], str]:
    """Return the recorded reply of each turn that has one, as the reference of comparisons."""
    return {
        (str(turn["conversation_id"]), int(turn["turn"])): str(turn["reply"])
        for turn in turns
        if turn.get("reply")
    }


def _texts(fields: Any) -> dict[str, str]:
    if not isinstance(fields, Mapping):
        return {}
    return {str(name): text for name, text in fields.items() if isinstance(text, str) and text}


def _contexts(
    turns: Iterable[Mapping[str, Any]], max_lines: int
) -> dict[tuple[str, int], tuple[Mapping[str, Any], tuple[HistoryLine, ...]]]:
    """Return each turn with the lines that were recorded before it."""
    by_conversation: dict[str, list[Mapping[str, Any]]] = {}
    for turn in turns:
        by_conversation.setdefault(str(turn["conversation_id"]), []).append(turn)
    contexts: dict[tuple[str, int], tuple[Mapping[str, Any], tuple[HistoryLine, ...]]] = {}
    for name, own in by_conversation.items():
        lines: list[HistoryLine] = []
        persona: Any = None
        for turn in sorted(own, key=lambda turn: int(turn["turn"])):
            persona = turn.get("persona") or persona
            shown = tuple(lines[max(len(lines) - max_lines, 0) :]) if max_lines > 0 else ()
            contexts[name, int(turn["turn"])] = ({**turn, "persona": persona}, shown)
            if turn.get("user_text"):
                lines.append(HistoryLine("user", str(turn["user_text"])))
            if turn.get("reply"):
                lines.append(HistoryLine("agent", str(turn["reply"])))
    return contexts
