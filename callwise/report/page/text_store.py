"""Texts of a page, each part of them stored once: prompts of a run begin and go on alike.

A text is a list of pieces of one long text, the heap. A piece is found where a text repeats at
least some tens of characters of an earlier one, wherever it is in both, so that instructions,
persona, history and candidates that many prompts quote are stored once. The page's script puts a
text together when it is shown.
"""

from hashlib import blake2b
from typing import Any

from callwise.calls.redaction import redact
from callwise.recordings.cassette_sharing import common_chars

__all__ = ["StoredText", "TextStore"]

StoredText = str | int
"""A short text as it is, or the number of a stored one."""

MIN_STORED_CHARS = 40
"""Shortest text that is stored; a shorter one takes no more than its number and pieces."""

BLOCK_CHARS = 64
"""Shortest repetition that is stored as a reference. With 24 a page of 600 turns was a fifth
larger: short repetitions are for gzip, which finds them within 32 KB."""

BLOCK_STEP = 8
"""Characters from one remembered block to the next: half as much finds more and takes twice the
memory."""

MAX_INDEXED_CHARS = 40_000_000
"""Most characters of the heap in which repetitions are looked for: a limit on memory."""


def _in_units(text: str) -> str:
    """Return a text with characters beyond 16 bits as two halves, as the script counts them."""
    if text.isascii() or max(text) <= "\uffff":
        return text
    data = text.encode("utf-16-le", "surrogatepass")
    return "".join(map(chr, memoryview(data).cast("H")))


class TextStore:
    """Stores texts and returns what the page's data has in their place.

    Texts that resemble a well-known key (see `callwise.calls.redaction`) are redacted first.
    """

    def __init__(self) -> None:
        self._numbers: dict[bytes, StoredText] = {}
        """By digest: the texts of a long run are many times its heap."""
        self._pieces: list[list[int]] = []
        self._parts: list[str] = []
        """New parts of the heap, in order."""
        self._starts: list[int] = []
        self._blocks: dict[str, tuple[int, int]] = {}
        """Place of a block: number of its part, and where in it."""
        self._heap_chars = 0

    def add(self, text: str) -> StoredText:
        """Return a short text itself, or the number under which a long one is stored."""
        name = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        known = self._numbers.get(name)
        if known is not None:
            return known
        clean = redact(text)
        stored: StoredText = clean
        if len(clean) >= MIN_STORED_CHARS:
            stored = len(self._pieces)
            self._pieces.append(self._divided(_in_units(clean)))
        self._numbers[name] = stored
        return stored

    def to_json(self) -> dict[str, Any]:
        """Return the heap and the texts: each a start and a length, again and again."""
        return {"heap": "".join(self._parts), "texts": self._pieces}

    def _divided(self, text: str) -> list[int]:
        """Return the pieces of a text; what is new of it is added to the heap."""
        pieces: list[int] = []
        begin = at = 0
        last = len(text) - BLOCK_CHARS
        blocks = self._blocks
        while at <= last:
            place = blocks.get(text[at : at + BLOCK_CHARS])
            if place is None:
                at += 1
                continue
            number, offset = place
            part = self._parts[number]
            before = 0
            while before < min(at - begin, offset) and (
                text[at - before - 1] == part[offset - before - 1]
            ):
                before += 1
            after = _common_length(text, at, part, offset)
            self._add_part(text[begin : at - before], pieces)
            _append(pieces, self._starts[number] + offset - before, before + after)
            begin = at = at + after
        self._add_part(text[begin:], pieces)
        return pieces

    def _add_part(self, text: str, pieces: list[int]) -> None:
        if not text:
            return
        number = len(self._parts)
        self._parts.append(text)
        self._starts.append(self._heap_chars)
        _append(pieces, self._heap_chars, len(text))
        self._heap_chars += len(text)
        if self._heap_chars <= MAX_INDEXED_CHARS:
            for offset in range(0, len(text) - BLOCK_CHARS + 1, BLOCK_STEP):
                self._blocks.setdefault(text[offset : offset + BLOCK_CHARS], (number, offset))


def _common_length(text: str, at: int, part: str, offset: int) -> int:
    """Return how far two texts are equal from two places on; a block is known to be.

    Longer and longer slices are compared, so that a long text is not copied for each place.
    """
    limit = min(len(text) - at, len(part) - offset)
    equal, step = BLOCK_CHARS, 4 * BLOCK_CHARS
    while equal < limit:
        step = min(step, limit - equal)
        one = text[at + equal : at + equal + step]
        other = part[offset + equal : offset + equal + step]
        if one != other:
            return equal + common_chars(one, other)
        equal += step
        step *= 2
    return equal


def _append(pieces: list[int], start: int, length: int) -> None:
    """Add a piece, or lengthen the last one where it goes on."""
    if pieces and pieces[-2] + pieces[-1] == start:
        pieces[-1] += length
    else:
        pieces += [start, length]
