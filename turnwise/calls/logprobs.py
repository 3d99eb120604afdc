"""The log-probabilities of an answer's tokens: from the wire, to files, and back.

An endpoint may leave them out, or send what is none of the protocol: then an answer has
none. They are something besides the answer, and never a reason to lose it.
"""

import codecs
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from turnwise.calls.payload import well_formed
from turnwise.calls.reply import TokenLogprobs

__all__ = [
    "document_of_logprobs",
    "logprobs_of_document",
    "read_token_logprobs",
    "wire_logprobs",
]

LEAST_LOGPROB = -9999.0
"""Stands for minus infinity, as OpenAI has it: JSON has no word for that."""


def _logprob(value: Any) -> float | None:
    """Return a finite logarithm of a probability, or None for whatever is not one."""
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
    """Return a token's text and its log-probability, or None when it lacks one of them."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("token"), str):
        return None
    logprob = _logprob(entry.get("logprob"))
    return None if logprob is None else (well_formed(entry["token"]), logprob)


def _raw(entry: Mapping[str, Any]) -> bytes | None:
    """Return the bytes that a token says it stands for, or None."""
    given = entry.get("bytes")
    is_bytes = isinstance(given, list) and all(
        isinstance(value, int) and 0 <= value < 256 for value in given
    )
    return bytes(given) if is_bytes and given is not None else None


def _texts(entries: Sequence[Mapping[str, Any]], given: Sequence[str]) -> list[str]:
    """Return the tokens' texts such that they join to the answer's.

    A character may be spread over tokens, whose texts are then escapes or question
    marks; their bytes tell, and the character is given to the token that completes it.
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
    texts = _texts(content, [text for text, _ in tokens])
    return tuple(
        TokenLogprobs(text, logprob, _alternatives(entry.get("top_logprobs")))
        for entry, text, (_, logprob) in zip(content, texts, tokens, strict=True)
    )


def _alternatives(entries: Any) -> tuple[tuple[str, float], ...]:
    if not isinstance(entries, list):
        return ()
    return tuple(each for entry in entries if (each := _scored_text(entry)) is not None)


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
    """Return tokens as files hold them: `[token, logprob, [[token, logprob], ...]]` each."""
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
