"""A response of an OpenAI-compatible endpoint, read as a document or as a refusal."""

from collections.abc import Callable, Mapping
from datetime import datetime
from email.message import Message
from typing import Any, NamedTuple, Protocol

from callwise.calls.errors import BadResponse
from callwise.calls.http_transport import redirect_of
from callwise.calls.openai_stream import EventReader, StreamAssembly
from callwise.calls.payload import body_bytes, document_of, member, whole_number
from callwise.calls.provider_errors import (
    Refusal,
    describe_body,
    is_nowhere,
    redacted_line,
    retry_after_seconds,
)
from callwise.calls.redaction import redact_document

__all__ = ["Refused", "ResponseReader"]

_ANSWER_KEYS = frozenset({"choices", "data", "usage", "object"})
"""One of these is in every answer of the protocol."""

_STATUS_KEYS = ("code", "status_code", "status")
"""Fields of an error that may have its HTTP status, as a number or as a text."""

MAX_DETAIL_CHARS = 400
"""Length of an error's structure that replaces words that it lacks, in characters."""


class _Head(Protocol):
    """Status and headers of a response."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


class Refused(Exception):
    """Raised where a response turns out to be a refusal, whatever its status.

    Args:
        was_streamed: whether a part of an answer may have come before.
    """

    def __init__(self, refusal: Refusal, *, was_streamed: bool = False) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.was_streamed = was_streamed


class ResponseReader:
    """Reads the responses of one endpoint, and keeps its key out of every error.

    Args:
        now: the current time with a time zone, for `Retry-After` dates.
        hint: what to do where nothing at the base URL answers in this protocol.
    """

    def __init__(
        self,
        host: str,
        *,
        api_key: str | None,
        now: Callable[[], datetime],
        hint: str = "is the base URL right?",
    ) -> None:
        self._host = host
        self._api_key = api_key
        self._now = now
        self._hint = hint

    def error_text(self, text: str) -> str:
        """Return a text without the key, led by the host's name."""
        return redacted_line(f"{self._host}: {text}", self._api_key)

    def redacted(self, document: Any, content: bytes | None = None) -> Any:
        """Return an answer's data without the key, should it echo the request.

        Args:
            content: what it was read from, where that is at hand.
        """
        if self._api_key is None:
            return document
        source = None if content is None else content.decode("utf-8", "replace")
        return redact_document(document, [self._api_key], source=source)

    def document(
        self, response: _Head, content: bytes, *, latency_seconds: float
    ) -> Mapping[str, Any]:
        """Return the JSON object of a response whose status means success.

        Raises:
            BadResponse: when it is something else.
            Refused: when it is an error all the same.
        """
        try:
            document = self.redacted(_document(response, content), content)
        except ValueError:
            document = None
        if not isinstance(document, Mapping):
            kind = describe_body(content, response.headers.get("content-type", ""))
            raise BadResponse(
                self.error_text(f"answered {kind}; is the base URL right?"),
                status=response.status,
                latency_seconds=latency_seconds,
            )
        choices = document.get("choices")
        error = None if choices else document.get("error")
        if isinstance(choices, list) and choices:
            error = error or member(choices[0], "error")  # as a router puts it there
        if error:
            raise Refused(self.refusal_in_body(error))
        if document.keys().isdisjoint(_ANSWER_KEYS) and _read_error(document)[0]:
            raise Refused(self.refusal_in_body(document))  # an error without its wrapping
        return document

    def line(self, status: int | None, body: Any) -> Mapping[str, Any]:
        """Return the JSON object of one line of a batch's results.

        Args:
            status: that of its response; None where `body` is an error in place of one.

        Raises:
            BadResponse: when it is something else.
            Refused: when it is an error.
        """
        if status is None:
            raise Refused(self.refusal_in_body(body))
        response, content = _LineHead(status), body_bytes(body)
        if not 200 <= status < 300:
            raise Refused(self.refusal_of_response(response, content))
        return self.document(response, content, latency_seconds=0.0)

    def refusal_of_response(self, response: _Head, content: bytes) -> Refusal:
        """Return the refusal that a response with another status than success means."""
        words, error = _read_error(_error_body(response, content))
        status, leads_to = response.status, redirect_of(response.status, response.headers)
        if leads_to is not None:
            for route in ("/chat/completions", "/embeddings"):
                leads_to = leads_to.removesuffix(route)
            said = f"a redirect to {leads_to}; set the base URL to it"
        else:
            said = words or describe_body(content, response.headers.get("content-type", ""))
            said = self._with_hint(status, words, said)
        return _refusal(
            status,
            redacted_line(words, self._api_key),
            self.error_text(f"answered {status}: {said}"),
            error,
            retry_after=retry_after_seconds(response.headers, now=self._now()),
            leads_to=leads_to,
        )

    def refusal_in_body(self, error: object) -> Refusal:
        """Return the refusal in a body under status 200, as OpenRouter sends it."""
        words, details = _read_error(error)
        named = (whole_number(details.get(name)) for name in _STATUS_KEYS)
        status = next((each for each in named if each is not None and 400 <= each < 600), 200)
        words = words or str(error)[:MAX_DETAIL_CHARS]
        return _refusal(
            status,
            redacted_line(words, self._api_key),
            self.error_text(f"answered an error: {self._with_hint(status, words, words)}"),
            details,
        )

    def _with_hint(self, status: int, words: str, said: str) -> str:
        return f"{said}; {self._hint}" if is_nowhere(status, words) else said


class _LineHead(NamedTuple):
    """A response without headers, which came as a line of a batch's results."""

    status: int
    headers: Mapping[str, str] = {}


def _refusal(
    status: int,
    words: str,
    message: str,
    error: Mapping[str, Any],
    *,
    retry_after: float | None = None,
    leads_to: str | None = None,
) -> Refusal:
    named = {name: error.get(name) for name in ("code", "type", "param")}
    texts = {name: str(value) for name, value in named.items() if isinstance(value, str | int)}
    return Refusal(
        status,
        words,
        message,
        code=texts.get("code"),
        kind=texts.get("type"),
        param=texts.get("param"),
        retry_after_seconds=retry_after,
        limit_tokens=_count(error.get("n_ctx")),
        prompt_tokens=_count(error.get("n_prompt_tokens")),
        leads_to=leads_to,
    )


def _count(value: object) -> int | None:
    """Return a number of tokens as llama.cpp's errors have it."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _document(response: _Head, content: bytes) -> Any:
    """Return the JSON document of a body, also one in events or in its own character set.

    Some servers stream although nothing asked them to.

    Raises:
        ValueError: when it is something else.
    """
    if "text/event-stream" in response.headers.get("content-type", ""):
        assembly = StreamAssembly()
        events = EventReader()
        for data in [*events.feed(content), *events.end()]:
            assembly.add(data)
        if assembly.error is not None:
            return {"error": assembly.error}
        return assembly.body() if assembly.is_whole else None
    try:
        return document_of(content)
    except UnicodeDecodeError:
        charset = _charset(response)
        if charset is None:
            raise
    try:
        return document_of(content.decode(charset).encode())
    except LookupError as error:
        raise ValueError(f"the character set {charset} is not known") from error


def _charset(response: _Head) -> str | None:
    kind = Message()
    kind["content-type"] = response.headers.get("content-type", "")
    return kind.get_content_charset()


def _error_body(response: _Head, content: bytes) -> object:
    """Return the error that a failing response carries: an object, or its text."""
    try:
        document = document_of(content)
    except ValueError:
        try:
            return content.decode(_charset(response) or "utf-8", "replace").strip()
        except LookupError:
            return content.decode("utf-8", "replace").strip()
    return document.get("error", document) if isinstance(document, Mapping) else document


def _read_error(error: object) -> tuple[str, Mapping[str, Any]]:
    """Return a provider's words and the object around them, whatever it calls an error.

    Google wraps the object in a list; FastAPI and Mistral give a list or an object of
    what is wrong with which field in place of words; some nest one error in another.
    """
    if isinstance(error, list) and len(error) == 1 and isinstance(error[0], Mapping):
        inner = error[0].get("error")
        return _read_error(inner if isinstance(inner, Mapping) else error[0])
    if isinstance(error, str):
        return ("" if error.lstrip().startswith("<") else error.strip()), {}
    if not isinstance(error, Mapping):
        return (str(error)[:MAX_DETAIL_CHARS] if isinstance(error, list) and error else ""), {}
    nested = error.get("error")
    if isinstance(nested, Mapping):
        return _read_error(nested)
    values = [error.get(key) for key in ("message", "msg", "detail", "error")]
    words = next((value for value in values if isinstance(value, str) and value), "")
    structure = next((value for value in values if isinstance(value, list | Mapping) and value), "")
    raw = member(error.get("metadata"), "raw")
    if isinstance(raw, str) and raw:  # of a router, whose own words explain nothing
        words = f"{words}: {raw}"
    return words or str(structure)[:MAX_DETAIL_CHARS], error
