"""What an error of some provider's library means, told by its looks.

LangChain's integrations raise whatever their libraries raise: there is no common
tree, but nearly all carry an HTTP status, and the rest say in their names what broke.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from pydantic import SecretStr

from turnwise.calls.errors import CallError, CallTimeout, ConnectionFailed, EndpointError
from turnwise.calls.failures import failure_of_status, retry_after_seconds, scrub

__all__ = ["failure_of_error", "secrets_of"]

_NOT_CONNECTED = frozenset(
    {"ConnectError", "ConnectTimeout", "ClientConnectorError", "ConnectionRefusedError"}
)
"""Names of errors, of the usual HTTP libraries, that come before a request is sent."""


def failure_of_error(
    error: Exception, *, secrets: Iterable[str], now: datetime, latency_seconds: float
) -> CallError:
    """Return what an error of some provider's library means.

    Args:
        error: whatever the library raised.
        secrets: keys that must not stand in the result.
        now: the current time, with a time zone.
        latency_seconds: time that the attempt took.
    """
    message = scrub(f"{type(error).__name__}: {error}", *secrets)
    status = _status_of(error)
    if status is not None:
        headers = getattr(getattr(error, "response", None), "headers", None) or {}
        body = getattr(error, "body", None)
        code = body.get("code") if isinstance(body, Mapping) else None
        return failure_of_status(
            status,
            message,
            code=str(code) if code else None,
            retry_after=retry_after_seconds(headers, now=now),
            latency_seconds=latency_seconds,
        )
    names = [type(link).__name__ for link in _chain(error)]
    was_sent = not _NOT_CONNECTED.intersection(names)
    if isinstance(error, TimeoutError) or any("Timeout" in name for name in names):
        return CallTimeout(message, was_sent=was_sent, latency_seconds=latency_seconds)
    if isinstance(error, OSError) or any("Connect" in name for name in names):
        return ConnectionFailed(message, was_sent=was_sent, latency_seconds=latency_seconds)
    return EndpointError(message, latency_seconds=latency_seconds)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from, at most ten links."""
    link: BaseException | None = error
    for _ in range(10):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__


def _status_of(error: Exception) -> int | None:
    """Return the HTTP status that an error carries, wherever its library puts it."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore
        return _as_status((response.get("ResponseMetadata") or {}).get("HTTPStatusCode"))
    places = (
        *(getattr(error, name, None) for name in ("status_code", "http_status", "status", "code")),
        getattr(response, "status_code", None),
    )
    return next((status for status in map(_as_status, places) if status is not None), None)


def _as_status(value: object) -> int | None:
    return value if isinstance(value, int) and 300 <= value < 600 else None


def secrets_of(model: object) -> list[str]:
    """Return the keys that a model holds, so that no error repeats them."""
    values = vars(model).values() if hasattr(model, "__dict__") else ()
    return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
