"""Estimate of a call's tokens before it is sent, and what to reserve for it.

Reserved is the input as estimated and calibrated by the endpoint's own counts (see
`calibration`), times a margin, and the output at its longest: `max_tokens`, or an allowance
where the call does not say, for each answer asked for. Settling gives back what was not used.
A cap on tokens or USD is as hard as that; `docs/limits.md` has by how much it may be passed.

Where the model is OpenAI's and tiktoken's table is already in its cache folder, the table counts
text exactly, at 25-42 us per KB. Otherwise characters are counted by kind and weighted (see
`token_tables`), at about 4 us per KB: the kinds are distinguished by the first byte of their UTF-8
form, in passes of `translate` and `count`, all in C. Nothing is ever
downloaded.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import astuple
from functools import lru_cache, partial
from operator import mul
from typing import Any, NamedTuple, Protocol

import orjson
from pydantic import BaseModel

from callwise.budget.calibration import Calibration
from callwise.budget.limits import Amounts
from callwise.budget.token_tables import (
    Encoding,
    InputTokens,
    TokenWeights,
    cached_encoding,
    is_known_tokenizer,
    weights_for,
)
from callwise.budget.usage import to_picodollars
from callwise.calls.call import Call, Purpose, Role
from callwise.calls.client import Endpoint
from callwise.calls.reply import Reply, ReportedUsage
from callwise.calls.schema import response_schema

__all__ = [
    "DEFAULT_OUTPUT_TOKENS",
    "RESERVE_MARGIN",
    "UNKNOWN_ASCII_FACTOR",
    "UNKNOWN_OTHER_FACTOR",
    "Estimate",
    "Estimator",
    "TokenCounter",
    "TokenEstimator",
    "count_kinds",
    "estimator",
]

RESERVE_MARGIN: float = 1.2
"""Factor of an estimate when reserving, so that it seldom falls short.

Measured 2026-11-20 with `benchmarks/tokens.py` on messages that were not fitted,
against cl100k_base, o200k_base and DeepSeek-V3, joined to 1,000 characters:
Chinese (MemoryBank, KdConv) mean ratio .98-1.05, p99 absolute error .05-.12; English
(Ubuntu IRC, Topical-Chat) .99-1.00 and .08-.10; JSON lines .95-1.02 and .04-.13.
The worst p99 shortfall is .131 (JSON of Chinese facts, o200k_base), which a factor
of 1.15 makes up. Each cell has 22-52 texts, so its p99 is nearly its worst. A single
short message can be half wrong; a call is hardly ever one short message.
"""

UNKNOWN_ASCII_FACTOR: float = 1.05
"""Further factor of the estimate of ASCII text, where a model's tokenizer is not
known and its endpoint has not answered yet.

Measured 2026-11-28 on the texts above against the tokenizer of SmolLM2 (49,152 tokens, the
smallest one looked at): English takes at most 1.24 times the estimate, Chinese 2.2 to 2.63
times. With the margin the two factors make up 1.26 and 2.64. Thai and Korean go beyond (4.6
and 6.3); what a first answer reports is learned (see `calibration`).
"""

UNKNOWN_OTHER_FACTOR: float = 2.2
"""The same for all other characters."""

MESSAGE_TOKENS = 4
"""Cost of a message in addition to its text: its role and its delimiters.

Source: OpenAI's published chat format, 3 a message and 1 for the role.
"""

PRIMING_TOKENS = 3
"""Cost of opening the answer, once per chat call. Source: as above."""

IMAGE_TOKENS = 1105
"""Cost of an image of unknown size: the most at high detail.

Source: OpenAI's images guide: 85, and 170 for each of at most 6 tiles.
"""

LOW_DETAIL_TOKENS = 85
"""Cost of an image that is asked for at low detail. Source: as above."""

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
_PLAIN = bytes(range(0x61, 0x7B)) + b" "
_RUNS = bytes(0x61 if chr(kind) in "aA" else 0x20 for kind in _KINDS)
"""Every letter as `a`, every other byte as a space."""


def count_kinds(text: str) -> tuple[int, ...]:
    """Return how often each kind of `TokenWeights` occurs in a text, in its order."""
    data = text.encode("utf-8", "surrogatepass")
    runs = data.translate(_RUNS)
    words = runs.count(b" a") + runs.startswith(b"a")
    # Most bytes are lower-case letters and spaces: the others are counted without them.
    rest = data.translate(_KINDS, _PLAIN)
    count = rest.count
    capitals = count(b"A")
    lower = len(data) - len(rest) - data.count(b" ")
    double_spaces = data.count(b"  ") if data.rfind(b"  ") >= 0 else 0  # rfind is twice as fast
    ascii_counts = (
        words,
        lower + capitals,
        capitals,
        count(b"0"),
        count(b"."),
        double_spaces,
        count(b"\n"),
    )
    if text.isascii():
        return (*ascii_counts, 0, 0, 0, 0, 0)
    return (*ascii_counts, count(b"h"), count(b"w"), count(b"2"), count(b"3"), count(b"4"))


MIN_KEPT_CHARS, MAX_KEPT_CHARS = 500, 20_000
"""Length of the texts that are counted once: shorter ones are counted as fast, and longer ones
would take too much memory."""

_NOTHING = InputTokens(0)
_ASCII_KINDS = 7
"""Number of the kinds, from the first, that are of ASCII characters."""


def _weighted(weights: tuple[float, ...], text: str) -> InputTokens:
    if not text:
        return _NOTHING
    costs = tuple(map(mul, weights, count_kinds(text)))
    total = math.ceil(math.fsum(costs)) or 1
    if text.isascii():
        return InputTokens(total)
    other = min(total, round(math.fsum(costs[_ASCII_KINDS:])))
    return InputTokens(total - other, other)


def _encoded(encoding: Encoding, weighted: Callable[[str], InputTokens], text: str) -> InputTokens:
    total = len(encoding.encode_ordinary(text))
    if text.isascii():
        return InputTokens(total)
    by_weight = weighted(text)
    other = round(total * by_weight.other / by_weight.total)
    return InputTokens(total - other, other)


class TokenEstimator:
    """Counts the tokens of texts and calls for one model.

    Args:
        weights: costs of each kind of character, for want of a table.
        encoding: an encoding that counts text exactly, or None.
        is_known: whether the model's tokenizer is the one of `encoding` or `weights`.
    """

    def __init__(
        self, weights: TokenWeights, encoding: Encoding | None = None, *, is_known: bool = True
    ) -> None:
        self.is_known = is_known
        self._encoding = encoding
        count: Callable[[str], InputTokens] = partial(_weighted, astuple(weights))
        self._count = count if encoding is None else partial(_encoded, encoding, count)
        self._schema_tokens = lru_cache(maxsize=256)(self._count_schema)
        # Prompts repeat their static parts, call after call.
        self._remembered = lru_cache(maxsize=256)(self._count)

    @property
    def is_exact(self) -> bool:
        """Whether text is counted by the model's own table."""
        return self._encoding is not None

    def _parts(self, text: str) -> InputTokens:
        is_kept = MIN_KEPT_CHARS <= len(text) <= MAX_KEPT_CHARS
        return self._remembered(text) if is_kept else self._count(text)

    def tokens(self, text: str) -> int:
        """Return how many tokens a text takes; 0 only for an empty one."""
        return self._parts(text).total

    def _count_schema(self, model: type[BaseModel]) -> InputTokens:
        return self._parts(_json(response_schema(model)))

    def call_tokens(self, call: Call) -> int:
        """Return the input tokens of a call."""
        return self.call_parts(call).total

    def call_parts(self, call: Call) -> InputTokens:
        """Return the input tokens of a call, by what they are spent on.

        Messages with their overhead, tool definitions, and the response model's
        schema, which endpoints put before the model in one form or another. The
        answer is not in it.
        """
        ascii_tokens = 0 if call.is_embedding else PRIMING_TOKENS
        texts = list(call.inputs)
        for message in call.messages:
            ascii_tokens += MESSAGE_TOKENS
            texts.append(message.content)
            if message.name is not None:
                ascii_tokens += 1
                texts.append(message.name)
            if message.tool_call_id is not None:
                texts.append(message.tool_call_id)
            if message.tool_calls:
                texts.append(_json([dict(each) for each in message.tool_calls]))
            if message.parts:
                ascii_tokens += sum(map(_part_tokens, message.parts))
        if call.tools:
            texts.append(_json([dict(tool) for tool in call.tools]))
        if fields := call.sampling.extra_body:
            texts += [_json(fields[name]) for name in _COUNTED_FIELDS.intersection(fields)]
        other_tokens = 0
        count, remembered = self._count, self._remembered
        for text in texts:
            is_kept = MIN_KEPT_CHARS <= len(text) <= MAX_KEPT_CHARS
            in_ascii, in_other = remembered(text) if is_kept else count(text)
            ascii_tokens += in_ascii
            other_tokens += in_other
        if call.response_model is not None:
            in_ascii, in_other = self._schema_tokens(call.response_model)
            ascii_tokens += in_ascii
            other_tokens += in_other
        return InputTokens(ascii_tokens, other_tokens)


def _json(document: Any) -> str:
    return orjson.dumps(document, default=str).decode()


def estimator(model: str, *, use_tables: bool = True) -> TokenEstimator:
    """Return the estimator for a model.

    May read a table of some MB: call it at set-up, once a model.

    Args:
        model: the model's name, with or without a vendor before a slash.
        use_tables: count exactly where tiktoken's table is on disk; False keeps
            to the weights, which are about five times as quick.
    """
    return TokenEstimator(
        weights_for(model),
        cached_encoding(model) if use_tables else None,
        is_known=is_known_tokenizer(model),
    )


DEFAULT_OUTPUT_TOKENS = 1024
"""Output reserved for a call without `max_tokens`."""


class TokenCounter(Protocol):
    """Estimates the input tokens of calls."""

    def call_tokens(self, call: Call) -> int:
        """Return the estimated input tokens of a call."""
        ...


class Estimate(NamedTuple):
    """The most that one attempt at a call may use."""

    tokens: int
    """Input and output together."""
    picodollars: int
    """At the endpoint's prices; 0 where it has none."""
    input_tokens: InputTokens
    """The estimate of the input, before it was calibrated."""
    output_tokens: int = 0
    """Of `tokens` those of the output."""

    def reservation(self) -> Amounts:
        """Return what one attempt reserves."""
        return Amounts(0, 1, self.tokens, self.picodollars)


class _CountedModel(NamedTuple):
    """Counting and correction of the input tokens of one endpoint's model."""

    input_tokens: Callable[[Call], InputTokens]
    calibration: Calibration


class _LastCount(NamedTuple):
    """The last call that was counted, by what, and its tokens."""

    call: Call
    counted_by: Callable[[Call], InputTokens]
    tokens: InputTokens
    output_tokens: int


class Estimator:
    """Estimates calls, endpoint by endpoint.

    Args:
        counter: counts input tokens; None takes `callwise.budget.token_estimate` by the model
            of the endpoint, which is loaded when it is first needed. One with a method
            `call_parts`, as that one has, is calibrated by kind of character.
        margin: factor of the input; at least 1.
        default_output_tokens: output of a call without `max_tokens`.
    """

    def __init__(
        self,
        counter: TokenCounter | None = None,
        *,
        margin: float = RESERVE_MARGIN,
        default_output_tokens: int = DEFAULT_OUTPUT_TOKENS,
    ) -> None:
        self._counter = counter
        self._counters: dict[str, TokenCounter] = {}
        self._margin = margin
        self._default_output_tokens = default_output_tokens
        self._models: dict[tuple[str, str], _CountedModel] = {}
        self._last_count: _LastCount | None = None

    def load(self, model: str) -> TokenCounter:
        """Return the counter for a model. May read token tables from disk, once."""
        counter = self._counter or self._counters.get(model)
        if counter is None:
            counter = self._counters[model] = estimator(model)
        return counter

    def estimate(self, call: Call, endpoint: Endpoint) -> Estimate:
        """Return what one attempt at a call may use at most."""
        count, calibration = self._models.get(endpoint.identity) or self._model(endpoint)
        last = self._last_count
        if last is None or last.call is not call or last.counted_by != count:
            last = _LastCount(call, count, count(call), self.output_tokens(call))
            self._last_count = last
        _, _, estimated, output_tokens = last  # maybe of another endpoint with that model
        input_tokens = calibration.tokens(estimated, self._margin)
        prices = endpoint.prices
        usd = prices.most_usd(input_tokens, output_tokens) if prices else 0.0
        return Estimate(input_tokens + output_tokens, to_picodollars(usd), estimated, output_tokens)

    def counted(self, call: Call, endpoint: Endpoint) -> tuple[int, int]:
        """Return the input tokens of a call, and its output at its longest.

        No answer has corrected the count, so that it is the same in every run.
        """
        return self._model(endpoint).input_tokens(call).total, self.output_tokens(call)

    def output_tokens(self, call: Call) -> int:
        """Return how long the output of a call may be at most."""
        sampling = call.sampling
        if call.is_embedding:
            return 0
        if sampling.max_tokens is None:
            return self._default_output_tokens * sampling.n
        return sampling.max_tokens * sampling.n

    def received(
        self, call: Call, endpoint: Endpoint, reply: Reply
    ) -> tuple[ReportedUsage, Estimate]:
        """Return what a stream that broke off has used, about, and what to charge for it."""
        texts = [reply.text, reply.reasoning_text]
        for tool_call in reply.tool_calls:
            texts += tool_call["function"].values()
        counted = tuple(filter(None, texts)) or (" ",)
        answer = Call(Role.EMBED, Purpose.EMBED, inputs=counted)
        count, calibration = self._model(endpoint)
        parts = count(call), count(answer)
        known = ReportedUsage(parts[0].total, parts[1].total)
        most = [calibration.tokens(part, self._margin) for part in parts]
        usd = endpoint.prices.usd(*most) if endpoint.prices else 0.0
        return known, Estimate(sum(most), to_picodollars(usd), parts[0])

    def observe(
        self, call: Call, estimate: Estimate, endpoint: Endpoint, usage: ReportedUsage
    ) -> None:
        """Learn from the input tokens that an endpoint reports for a call.

        A simulated model reports an estimate itself, which teaches nothing; nor does the cost
        of images and other parts that are not text.
        """
        if usage.input_tokens is None or endpoint.client.is_simulated:
            return
        for message in call.messages:
            if message.parts:
                return
        self._model(endpoint).calibration.observe(estimate.input_tokens, usage.input_tokens)

    def _model(self, endpoint: Endpoint) -> _CountedModel:
        key = endpoint.identity
        model = self._models.get(key)
        if model is None:
            counter = self.load(endpoint.model)
            is_known = getattr(counter, "is_known", True) or endpoint.client.is_simulated
            factors = () if is_known else (UNKNOWN_ASCII_FACTOR, UNKNOWN_OTHER_FACTOR)
            count = getattr(counter, "call_parts", None)
            model = self._models[key] = _CountedModel(
                count or (lambda call: InputTokens(counter.call_tokens(call))),
                Calibration(*factors),
            )
        return model
