"""The formats that conversations are read from, one room each."""

from turnwise.replay.formats.detection import FORMATS, detect_format
from turnwise.replay.formats.format import ConversationFormat, Found

__all__ = ["FORMATS", "ConversationFormat", "Found", "detect_format"]
