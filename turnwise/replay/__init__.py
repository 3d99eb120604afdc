"""Recorded conversations and recorded calls: read, record, play."""

from turnwise.replay.cassette import Cassette, CassetteMode, open_cassette
from turnwise.replay.conversation import Conversation, RecordedTurn, conversation_digest
from turnwise.replay.conversation_files import ReadOptions, ReadResult, read_conversations

__all__ = [
    "Cassette",
    "CassetteMode",
    "Conversation",
    "ReadOptions",
    "ReadResult",
    "RecordedTurn",
    "conversation_digest",
    "open_cassette",
    "read_conversations",
]
