"""Recorded conversations and recorded calls: read, record, play."""

from callwise.recordings.cassette import Cassette, CassetteMode, open_cassette
from callwise.recordings.conversation import Conversation, RecordedTurn, conversation_digest
from callwise.recordings.conversation_files import (
    ReadOptions,
    ReadResult,
    read_conversations,
    read_rows,
)

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
    "read_rows",
]
