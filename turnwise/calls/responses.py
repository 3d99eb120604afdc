"""What an HTTP response of an OpenAI-compatible endpoint says: a document, or a failure."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import httpx2

from turnwise.calls.errors import BadResponse, CallError, StreamCut
from turnwise.calls.failures import describe_body, failure_of_status, retry_after_seconds, scrub
from turnwise.calls.payload import document_of

__all__ = ["ResponseReader"]


class ResponseReader:
    """Reads the responses of one endpoint, and keeps its key out of every error.

    Args:
        host: named in every error.
        api_key: never to stand in an error.
        now: the current time with a time zone, for `Retry-After` dates.
    """

    def __init__(self, host: str, *, api_key: str | None, now: Callable[[], datetime]) -> None:
        self._host = host
        self._api_key = api_key
        self._now = now

    def scrubbed(self, text: str) -> str:
        """Return a text without the key, led by the host's name."""
        return scrub(f"{self._host}: {text}", self._api_key)

    def document(
        self, response: httpx2.Response, content: bytes, *, latency_seconds: float
    ) -> Mapping[str, Any]:
        """Return the JSON object of a response whose status says success.

        Raises:
            CallError: when it is something else, or an error all the same.
        """
        try:
            document = document_of(content)
        except ValueError:
            document = None
        if not isinstance(document, Mapping):
            kind = describe_body(content, response.headers.get("content-type", ""))
            raise BadResponse(
                self.scrubbed(f"answered {kind}; is the base URL right?"),
                status=response.status_code,
                latency_seconds=latency_seconds,
            )
        error = document.get("error")
        if error and not document.get("choices"):
            raise self.failure_in_body(error, latency_seconds=latency_seconds)
        return document

    def failure_of_response(
        self, response: httpx2.Response, body: object, *, latency_seconds: float
    ) -> CallError:
        """Return the failure that a response's status means.

        Args:
            response: its body has been read.
            body: its error object, where it has one.
            latency_seconds: time that the attempt took.
        """
        words, code = _words_of(body)
        if response.has_redirect_location:
            words = f"a redirect to {response.headers['location']}; set the base URL to it"
        elif not words:
            words = describe_body(response.content, response.headers.get("content-type", ""))
        return failure_of_status(
            response.status_code,
            self.scrubbed(f"answered {response.status_code}: {words}"),
            code=code,
            retry_after=retry_after_seconds(response.headers, now=self._now()),
            latency_seconds=latency_seconds,
        )

    def failure_in_body(
        self, error: object, *, latency_seconds: float, was_streamed: bool = False
    ) -> CallError:
        """Return the failure that stands in a body under status 200, as OpenRouter sends it."""
        words, code = _words_of(error)
        message = self.scrubbed(f"answered an error: {words or error}")
        if code is not None and code.isdecimal() and 400 <= int(code) < 600:
            return failure_of_status(int(code), message, latency_seconds=latency_seconds)
        kind = StreamCut if was_streamed else BadResponse
        return kind(message, status=200, latency_seconds=latency_seconds)


def _words_of(error: object) -> tuple[str, str | None]:
    """Return a provider's message and error code, from whatever it calls an error."""
    if isinstance(error, str):
        return ("" if error.lstrip().startswith("<") else error), None
    if not isinstance(error, Mapping):
        return "", None
    values = (error.get(key) for key in ("message", "detail", "error"))
    words = next((value for value in values if isinstance(value, str)), "")
    code = error.get("code")
    return words, str(code) if code is not None else None
