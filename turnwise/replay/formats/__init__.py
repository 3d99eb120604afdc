"""The formats that conversations are read from."""

from turnwise.replay.formats.conversation_format import (
    Collector,
    ConversationFormat,
    Found,
    Reading,
)
from turnwise.replay.formats.detection import FORMATS, detect_format, is_foreign, pieces_of

__all__ = [
    "FORMATS",
    "Collector",
    "ConversationFormat",
    "Found",
    "Reading",
    "detect_format",
    "is_foreign",
    "pieces_of",
]
