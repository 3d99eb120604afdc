"""A reply: its text, its usage, and the probabilities of its tokens."""

import codecs
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from pydantic import BaseModel

from callwise.calls.delivery import DIRECT, Delivery
from callwise.calls.payload import well_formed

__all__ = [
    "SIMULATED_ENDPOINT",
    "Reply",
    "ReportedUsage",
    "TokenLogprobs",
    "document_of_logprobs",
    "is_simulated_model",
    "is_virtual_time",
    "logprobs_of_document",
    "read_token_logprobs",
    "seconds_name",
    "wire_logprobs",
]


def is_simulated_model(model: str) -> bool:
    """Return whether a model's own name marks it as simulated.

    The simulated server names itself so in every answer: reached over the network, its
    answers are labelled like those of the model in process.
    """
    return model.startswith("simulated-")


SIMULATED_ENDPOINT = "simulated"
"""Name of the endpoint of the simulated model in process."""


def is_virtual_time(*, is_simulated: bool, endpoint: str) -> bool:
    """Return whether no time passed in a call: a simulated model in process answered it.

    Over HTTP a simulated model takes real time, and its endpoint has another name.
    """
    return is_simulated and endpoint == SIMULATED_ENDPOINT


def seconds_name(are_virtual: Iterable[bool]) -> str:
    """Return the name of calls' seconds for people.

    Args:
        are_virtual: of each call that took any, `is_virtual_time` of it.
    """
    kinds = set(are_virtual)
    if len(kinds) > 1:
        return "seconds (in part virtual)"
    return "virtual seconds" if True in kinds else "seconds"


@dataclass(frozen=True, slots=True)
class ReportedUsage:
    """Tokens of one answer. `None` means unknown, never 0.

    Args:
        input_tokens: tokens of the prompt, cached ones included.
        output_tokens: tokens of the answer, reasoning included.
        cached_tokens: the part of `input_tokens` that the provider had in its
            prompt cache.
        usd: its cost as the provider reports it; otherwise None,
            and the budgeter prices it from the endpoint's price list.
        reasoning_tokens: the part of `output_tokens` that were thoughts.
        odd: figures that could not be right and how they contradict each other, in a few
            words; empty where nothing is odd. Untrusted. See `callwise.calls.reported_usage`.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    usd: float | None = None
    reasoning_tokens: int | None = None
    odd: str = ""

    @property
    def total_tokens(self) -> int | None:
        """Input plus output, or None when either is unknown."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """One token of an answer, and the alternatives in its place.

    Args:
        token: its text. Empty where a character is spread over several tokens and this
            is not the last of them.
        logprob: natural logarithm of its probability; finite.
        alternatives: the likeliest tokens at this place as (text, logprob), as the
            endpoint orders them, the chosen one among them if it is likely enough.
    """

    token: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer to one call.

    Args:
        text: the answer's text; of several choices the first with anything in it.
        parsed: the answer as `Call.response_model`, set by the budgeter.
        vectors: embeddings, one for each text of `Call.inputs`, in order.
        tool_calls: tool calls of the answer, in the OpenAI wire format.
        finish_reason: why the answer ended, in the provider's words.
        latency_seconds: time of the answering attempt; virtual when simulated.
        chunks: the texts of a streamed answer, in order; empty otherwise.
        is_simulated: whether a simulated model wrote this.
        token_logprobs: the tokens of the answer, of its first choice when the call asked
            for n > 1, in order. Empty when none were asked for, or the endpoint gave
            none. What a provider counts or strips apart from the text (an end token, a
            thought) may be among them.
        reasoning_text: what the model thought before it answered, where the endpoint
            separates it from the answer. Untrusted.
        delivery: how it came, set by the budgeter; as in the call's ledger row.
    """

    text: str
    choices: tuple[str, ...] = ()
    parsed: BaseModel | None = None
    vectors: tuple[tuple[float, ...], ...] = ()
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    usage: ReportedUsage = ReportedUsage()
    model: str = ""
    finish_reason: str | None = None
    latency_seconds: float = 0.0
    chunks: tuple[str, ...] = ()
    is_simulated: bool = False
    token_logprobs: tuple[TokenLogprobs, ...] = ()
    reasoning_text: str = ""
    system_fingerprint: str = ""
    delivery: Delivery = field(default=DIRECT, compare=False)

    @property
    def is_empty(self) -> bool:
        """Whether it carries nothing: no text, no tool call, no vector."""
        return not (self.text.strip() or self.tool_calls or self.vectors)


LEAST_LOGPROB = -9999.0
"""Replaces minus infinity, as at OpenAI: JSON cannot express it."""


def _logprob(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        logprob = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    if logprob == float("-inf"):
        return LEAST_LOGPROB
    return logprob if isfinite(logprob) else None


def _scored_text(entry: Any) -> tuple[str, float] | None:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("token"), str):
        return None
    logprob = _logprob(entry.get("logprob"))
    return None if logprob is None else (well_formed(entry["token"]), logprob)


def _raw(entry: Mapping[str, Any]) -> bytes | None:
    given = entry.get("bytes")
    is_bytes = isinstance(given, list) and all(
        isinstance(value, int) and 0 <= value < 256 for value in given
    )
    return bytes(given) if is_bytes and given is not None else None


def _texts(entries: Sequence[Mapping[str, Any]], given: Sequence[str]) -> list[str]:
    """Return the tokens' texts such that they join to the answer's.

    A character may be spread over tokens, whose texts are then escapes or question
    marks; their bytes decide, and the character is given to the token that completes it.
    """
    raw = [_raw(entry) for entry in entries]
    if all(item is None for item in raw):
        return list(given)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    texts = [
        decoder.decode(text.encode() if item is None else item)
        for item, text in zip(raw, given, strict=True)
    ]
    texts[-1] += decoder.decode(b"", final=True)
    return texts


def read_token_logprobs(logprobs: Any) -> tuple[TokenLogprobs, ...]:
    """Return the tokens of an answer with their log-probabilities.

    Args:
        logprobs: `choices[].logprobs` of a chat completion; any JSON value. Untrusted.

    Returns:
        Nothing when a token is malformed, since the others would no longer join to the
        answer. A malformed alternative is left out alone.
    """
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if not isinstance(content, list) or not content:
        return ()
    tokens = [token for entry in content if (token := _scored_text(entry)) is not None]
    if len(tokens) != len(content):
        return ()
    given = [entry.get("top_logprobs") for entry in content]
    alternatives = (
        tuple(filter(None, map(_scored_text, each))) if isinstance(each, list) else ()
        for each in given
    )
    texts = _texts(content, [text for text, _ in tokens])
    logprobs_in_order = [logprob for _, logprob in tokens]
    return tuple(map(TokenLogprobs, texts, logprobs_in_order, alternatives))


def wire_logprobs(tokens: Iterable[TokenLogprobs]) -> list[dict[str, Any]]:
    """Return tokens in the form of `choices[].logprobs.content` of a chat completion."""
    return [
        {
            "token": each.token,
            "logprob": each.logprob,
            "top_logprobs": [
                {"token": token, "logprob": logprob} for token, logprob in each.alternatives
            ],
        }
        for each in tokens
    ]


def document_of_logprobs(tokens: Iterable[TokenLogprobs]) -> list[list[Any]]:
    """Return tokens as they are stored: `[token, logprob, [[token, logprob], ...]]` each."""
    return [[each.token, each.logprob, list(map(list, each.alternatives))] for each in tokens]


def logprobs_of_document(document: Iterable[Any]) -> tuple[TokenLogprobs, ...]:
    """Return the tokens that `document_of_logprobs` made a document of.

    Raises:
        TypeError: when it is not such a document.
        ValueError: likewise.
    """
    return tuple(
        TokenLogprobs(*_checked(token, logprob), tuple(_checked(*each) for each in alternatives))
        for token, logprob, alternatives in document
    )


def _checked(token: Any, logprob: Any) -> tuple[str, float]:
    if not isinstance(token, str) or not isinstance(logprob, int | float):
        raise TypeError(f"expected a token and its logprob, got {token!r:.40} and {logprob!r:.40}")
    return token, logprob
