"""ShareGPT: `{"conversations": [{"from": "human", "value": …}, …]}`, one a record."""

from collections.abc import Mapping
from typing import Any

from turnwise.replay.conversation import Conversation
from turnwise.replay.formats.format import ConversationFormat, read_each, stands_as_list_of
from turnwise.replay.pairing import Utterance, pair_conversation
from turnwise.replay.record import SourceRecord

__all__ = ["SHAREGPT"]

_USERS = ("human", "user")
_AGENTS = ("gpt", "assistant", "model", "bot", "chatgpt", "bing", "bard")
_SILENT = ("tool", "function_call", "observation", "function_response")


def _convert(record: SourceRecord, default_id: str) -> Conversation:
    instructions: list[str] = []
    utterances: list[Utterance] = []
    for message in record.items("conversations", "message"):
        speaker = message.text("from")
        if speaker in _USERS:
            utterances.append(Utterance(is_user=True, text=message.text("value")))
        elif speaker in _AGENTS:
            text = message.optional_text("value")
            utterances.extend([Utterance(is_user=False, text=text)] if text else [])
        elif speaker == "system":
            text = message.optional_text("value")
            instructions.extend([text] if text else [])
        elif speaker not in _SILENT:
            known = ", ".join((*_USERS, *_AGENTS, "system"))
            raise message.problem(f"expected `from` to be one of {known}; got {speaker!r}")
    stated = record.optional_text("system")
    if stated:
        instructions.insert(0, stated)
    return pair_conversation(
        record,
        record.identifier("id", "conversation_id") or default_id,
        utterances,
        persona={"background": "\n\n".join(instructions)} if instructions else None,
    )


def _recognises(document: Mapping[str, Any]) -> bool:
    return stands_as_list_of(document, "conversations", "from")


SHAREGPT = ConversationFormat(
    name="sharegpt",
    shape='{"conversations": [{"from": "human", "value": …}, …]}',
    recognises=_recognises,
    read=read_each(_convert),
)
