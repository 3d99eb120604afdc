"""The formats that conversations are read from."""

from callwise.recordings.formats.conversation_format import (
    Collector,
    ConversationFormat,
    DetectedRecord,
    Pending,
    Reading,
)
from callwise.recordings.formats.detection import FORMATS, detect_format, is_foreign, pieces_of

__all__ = [
    "FORMATS",
    "Collector",
    "ConversationFormat",
    "DetectedRecord",
    "Pending",
    "Reading",
    "detect_format",
    "is_foreign",
    "pieces_of",
]
