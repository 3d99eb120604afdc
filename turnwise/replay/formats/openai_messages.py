"""OpenAI chat format: `{"messages": [{"role", "content"}, …]}`, one conversation a record.

System and developer messages are the agent's persona. Tool messages, and assistant
messages that only call tools, are no part of the talk and are left out.
"""

from collections.abc import Mapping
from typing import Any

from turnwise.replay.conversation import Conversation
from turnwise.replay.formats.format import ConversationFormat, read_each, stands_as_list_of
from turnwise.replay.pairing import Utterance, pair_conversation
from turnwise.replay.record import SourceRecord

__all__ = ["OPENAI_MESSAGES"]

_PERSONA_ROLES = ("system", "developer")
_SILENT_ROLES = ("tool", "function")


def _content(message: SourceRecord) -> str | None:
    """Return a message's text; the text parts alone where it has parts."""
    parts = message.fields.get("content")
    if not isinstance(parts, list):
        return message.optional_text("content")
    texts = []
    for number, part in enumerate(parts, start=1):
        piece = message.inside(part, f"part {number}")
        if piece.text("type") == "text":
            texts.append(piece.optional_text("text") or "")
    text = "\n".join(texts)
    return text if text.strip() else None


def _convert(record: SourceRecord, default_id: str) -> Conversation:
    instructions: list[str] = []
    utterances: list[Utterance] = []
    for message in record.items("messages", "message"):
        role = message.text("role")
        text = _content(message)
        if role in _PERSONA_ROLES:
            instructions.extend([text] if text else [])
        elif role == "user":
            if text is None:
                raise message.problem("expected the user's `content` to be a text, it is empty")
            utterances.append(Utterance(is_user=True, text=text))
        elif role == "assistant":
            if text is not None:
                utterances.append(Utterance(is_user=False, text=text))
        elif role not in _SILENT_ROLES:
            raise message.problem(
                f"expected `role` system, developer, user, assistant or tool; got {role!r}"
            )
    return pair_conversation(
        record,
        record.identifier("conversation_id", "id") or default_id,
        utterances,
        user_id=record.identifier("user_id", "user"),
        persona={"background": "\n\n".join(instructions)} if instructions else None,
    )


def _recognises(document: Mapping[str, Any]) -> bool:
    return stands_as_list_of(document, "messages", "role")


OPENAI_MESSAGES = ConversationFormat(
    name="openai",
    shape='{"messages": [{"role": "user", "content": …}, …]}',
    recognises=_recognises,
    read=read_each(_convert),
)
