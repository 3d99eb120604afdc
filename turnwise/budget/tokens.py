"""How many tokens a call will take, before it is sent.

The budgeter reserves by this and settles by what the response says, so an estimate
has to be close, quick, and wrong on the safe side when reserving.

Where the model is OpenAI's and tiktoken's table is already in its cache folder, the
table counts text exactly, at 25-42 us a KB. Otherwise characters are
counted by kind and weighted (see `token_tables`), at 6-7 us a KB: the kinds
are told apart by the first byte of their UTF-8 form, with one pass of `translate`
and one of `count` a kind, all in C. Nothing is ever downloaded.
"""

import math
from collections.abc import Mapping
from dataclasses import astuple
from functools import lru_cache
from operator import mul
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel

from turnwise.budget.token_tables import (
    Encoding,
    TokenWeights,
    cached_encoding,
    is_known_tokenizer,
    weights_for,
)
from turnwise.calls import Call
from turnwise.calls.schema import response_schema

__all__ = [
    "RESERVE_MARGIN",
    "UNKNOWN_ASCII_FACTOR",
    "UNKNOWN_OTHER_FACTOR",
    "InputTokens",
    "TokenEstimator",
    "count_kinds",
    "estimator",
]

RESERVE_MARGIN: float = 1.2
"""What to multiply an estimate by when reserving, so that it seldom falls short.

Measured 2026-11-20 with `benchmarks/tokens.py` on messages that were not fitted,
against cl100k_base, o200k_base and DeepSeek-V3, joined to 1,000 characters:
Chinese (MemoryBank, KdConv) mean ratio .98-1.05, p99 absolute error .05-.12; English
(Ubuntu IRC, Topical-Chat) .99-1.00 and .08-.10; JSON lines .95-1.02 and .04-.13.
The worst p99 shortfall is .131 (JSON of Chinese facts, o200k_base), which a factor
of 1.15 makes up. Each cell has 22-52 texts, so its p99 is nearly its worst. A single
short message can be half wrong; a call is hardly ever one short message.
"""

UNKNOWN_ASCII_FACTOR: float = 1.05
"""What to multiply the estimate of ASCII text by besides, where a model's tokenizer is not
known and its endpoint has not answered yet.

Measured 2026-11-28 on the texts above against the tokenizer of SmolLM2 (49,152 tokens, the
smallest one looked at): English takes at most 1.24 times the estimate, Chinese 2.2 to 2.63
times. With the margin the two factors make up 1.26 and 2.64. Thai and Korean go beyond (4.6
and 6.3); what a first answer reports is learned (see `calibration`).
"""

UNKNOWN_OTHER_FACTOR: float = 2.2
"""The same for all other characters."""

MESSAGE_TOKENS = 4
"""What a message costs beside its text: its role and its delimiters.

Source: OpenAI's published chat format, 3 a message and 1 for the role.
"""

PRIMING_TOKENS = 3
"""What opens the answer, once a chat call. Source: as above."""

IMAGE_TOKENS = 1105
"""What an image is taken to cost whose size is not known: the most at high detail.

Source: OpenAI's images guide: 85, and 170 for each of at most 6 tiles.
"""

LOW_DETAIL_TOKENS = 85
"""What an image costs that is asked for at low detail. Source: as above."""

DATA_CHARS_PER_TOKEN = 100
"""Characters of an audio's or a file's data for each token: a rule of thumb, on the safe
side for audio (ten tokens for each second) and for pages of text."""

_COUNTED_FIELDS = frozenset({"response_format", "prediction"})
"""Extra body fields that are part of what the model reads."""


def _part_tokens(part: Mapping[str, Any]) -> int:
    """Return what a content part that is not text costs, about."""
    kind = part.get("type")
    if kind == "text":
        return 0  # counted with the message's text
    data = part.get(str(kind))
    if kind == "image_url":
        is_low = isinstance(data, Mapping) and data.get("detail") == "low"
        return LOW_DETAIL_TOKENS if is_low else IMAGE_TOKENS
    texts = data.values() if isinstance(data, Mapping) else (data,)
    chars = sum(len(text) for text in texts if isinstance(text, str))
    return max(LOW_DETAIL_TOKENS, chars // DATA_CHARS_PER_TOKEN)


def _kind_of_byte(byte: int) -> str:
    char = chr(byte)
    if byte < 0x80:
        if char.isalpha():
            return "A" if char.isupper() else "a"
        if char.isdigit():
            return "0"
        if char == " ":
            return " "
        return "." if char.isprintable() else "\n"
    if byte < 0xC0:
        return "-"  # a continuation byte: counted with the first of its character
    if byte < 0xE0:
        return "2"
    if byte >= 0xF0:
        return "4"
    if byte in {0xE2, 0xE3, 0xEF}:
        return "w"
    return "h" if 0xE4 <= byte <= 0xE9 else "3"


_KINDS = "".join(map(_kind_of_byte, range(256))).encode()
_LETTERS = bytes(0x61 if chr(kind) in "aA" else 0x20 for kind in range(256))


def count_kinds(text: str) -> tuple[int, ...]:
    """Return how often each kind of `TokenWeights` occurs in a text, in its order."""
    kinds = text.encode("utf-8", "surrogatepass").translate(_KINDS)
    count = kinds.count
    capitals = count(b"A")
    letters = count(b"a") + capitals
    words = 0
    if letters:
        runs = kinds.translate(_LETTERS)
        words = runs.count(b" a") + runs.startswith(b"a")
    ascii_counts = (
        words,
        letters,
        capitals,
        count(b"0"),
        count(b"."),
        count(b"  "),
        count(b"\n"),
    )
    if text.isascii():
        return (*ascii_counts, 0, 0, 0, 0, 0)
    return (*ascii_counts, count(b"h"), count(b"w"), count(b"2"), count(b"3"), count(b"4"))


class InputTokens(NamedTuple):
    """Estimated input tokens, by what they are spent on.

    Args:
        ascii: ASCII text, and what wraps the messages.
        other: all other characters.
    """

    ascii: int
    other: int = 0

    @property
    def total(self) -> int:
        """Both together."""
        return self.ascii + self.other


_NOTHING = InputTokens(0)
_ASCII_KINDS = 7
"""How many of the kinds, from the first, are of ASCII characters."""


def _weighted(text: str, weights: tuple[float, ...]) -> InputTokens:
    if not text:
        return _NOTHING
    costs = tuple(map(mul, weights, count_kinds(text)))
    total = max(1, math.ceil(math.fsum(costs)))
    other = min(total, round(math.fsum(costs[_ASCII_KINDS:])))
    return InputTokens(total - other, other)


class TokenEstimator:
    """Counts the tokens of texts and calls for one model.

    Args:
        weights: what each kind of character costs, for want of a table.
        encoding: an encoding that counts text exactly, or None.
        is_known: whether the model's tokenizer is the one of `encoding` or `weights`.

    Attributes:
        is_known: the same.
    """

    def __init__(
        self, weights: TokenWeights, encoding: Encoding | None = None, *, is_known: bool = True
    ) -> None:
        self.is_known = is_known
        self._weights = astuple(weights)
        self._encoding = encoding
        self._schema_tokens = lru_cache(maxsize=256)(self._count_schema)
        # Prompts repeat their static parts, call after call.
        self._remembered = lru_cache(maxsize=256)(self._counted)

    @property
    def is_exact(self) -> bool:
        """Whether text is counted by the model's own table."""
        return self._encoding is not None

    def _counted(self, text: str) -> InputTokens:
        if self._encoding is None:
            return _weighted(text, self._weights)
        total = len(self._encoding.encode_ordinary(text))
        if text.isascii():
            return InputTokens(total)
        weighted = _weighted(text, self._weights)
        other = round(total * weighted.other / weighted.total)
        return InputTokens(total - other, other)

    def _parts(self, text: str) -> InputTokens:
        if 500 <= len(text) <= 20_000:
            return self._remembered(text)
        return self._counted(text)

    def tokens(self, text: str) -> int:
        """Return how many tokens a text takes; 0 only for an empty one."""
        return self._parts(text).total

    def _count_schema(self, model: type[BaseModel]) -> InputTokens:
        return self._parts(_json(response_schema(model)))

    def call_tokens(self, call: Call) -> int:
        """Return how many input tokens a call takes."""
        return self.call_parts(call).total

    def call_parts(self, call: Call) -> InputTokens:
        """Return how many input tokens a call takes, by what they are spent on.

        Messages with their overhead, tool definitions, and the response model's
        schema, which endpoints put before the model in one form or another. The
        answer is not in it.
        """
        wrapping = 0 if call.is_embedding else PRIMING_TOKENS
        texts = list(call.inputs)
        for message in call.messages:
            wrapping += MESSAGE_TOKENS
            texts.append(message.content)
            if message.name is not None:
                wrapping += 1
                texts.append(message.name)
            if message.tool_call_id is not None:
                texts.append(message.tool_call_id)
            if message.tool_calls:
                texts.append(_json([dict(each) for each in message.tool_calls]))
            wrapping += sum(map(_part_tokens, message.parts))
        if call.tools:
            texts.append(_json([dict(tool) for tool in call.tools]))
        fields = call.sampling.extra_body
        texts += [_json(fields[name]) for name in _COUNTED_FIELDS.intersection(fields)]
        parts = [self._parts(text) for text in texts]
        if call.response_model is not None:
            parts.append(self._schema_tokens(call.response_model))
        return InputTokens(
            wrapping + sum(each[0] for each in parts), sum(each[1] for each in parts)
        )


def _json(document: Any) -> str:
    return orjson.dumps(document, default=str).decode()


def estimator(model: str, *, use_tables: bool = True) -> TokenEstimator:
    """Return the estimator for a model.

    May read a table of some MB: call it at set-up, once a model.

    Args:
        model: the model's name, with or without a vendor before a slash.
        use_tables: count exactly where tiktoken's table is at hand; False keeps
            to the weights, which are about five times as quick.
    """
    return TokenEstimator(
        weights_for(model),
        cached_encoding(model) if use_tables else None,
        is_known=is_known_tokenizer(model),
    )
