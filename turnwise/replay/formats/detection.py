"""Which format a record is in, told from its content alone; file names lie."""

from collections.abc import Sequence

from turnwise.replay.formats.format import ConversationFormat
from turnwise.replay.formats.kdconv import KDCONV
from turnwise.replay.formats.locomo import LOCOMO
from turnwise.replay.formats.memorybank import MEMORYBANK
from turnwise.replay.formats.native import NATIVE
from turnwise.replay.formats.openai_messages import OPENAI_MESSAGES
from turnwise.replay.formats.sharegpt import SHAREGPT
from turnwise.replay.record import SourceRecord

__all__ = ["FORMATS", "detect_format"]

FORMATS: Sequence[ConversationFormat] = (
    MEMORYBANK,
    NATIVE,
    KDCONV,
    OPENAI_MESSAGES,
    SHAREGPT,
    LOCOMO,
)
"""In the order they are tried: the stricter before the looser."""


def detect_format(record: SourceRecord) -> ConversationFormat | None:
    """Return the format of a record, or None when it is in none of them."""
    document = record.document
    if not isinstance(document, dict):
        return None
    return next((known for known in FORMATS if known.recognises(document)), None)
