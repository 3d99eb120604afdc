"""KdConv: `{"dialogue_id", "messages": [{"speaker", "text"}, …]}`, two people talking.

Speaker A opens every dialogue and is read as the user, B as the agent.

Source: Zhou et al., KdConv (ACL 2020).
"""

from collections.abc import Mapping
from typing import Any

from turnwise.replay.conversation import Conversation
from turnwise.replay.formats.format import ConversationFormat, read_each, stands_as_list_of
from turnwise.replay.pairing import Utterance, pair_conversation
from turnwise.replay.record import SourceRecord

__all__ = ["KDCONV"]


def _convert(record: SourceRecord, default_id: str) -> Conversation:
    utterances = []
    for message in record.items("messages", "message"):
        speaker = message.text("speaker")
        if speaker not in {"A", "B"}:
            raise message.problem(f"expected `speaker` A (the user) or B, got {speaker!r}")
        utterances.append(Utterance(is_user=speaker == "A", text=message.text("text")))
    return pair_conversation(record, record.identifier("dialogue_id") or default_id, utterances)


def _recognises(document: Mapping[str, Any]) -> bool:
    return stands_as_list_of(document, "messages", "speaker")


KDCONV = ConversationFormat(
    name="kdconv",
    shape='{"dialogue_id": …, "messages": [{"speaker": "A", "text": …}, …]}',
    recognises=_recognises,
    read=read_each(_convert),
)
