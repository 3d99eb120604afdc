"""An error as a record, and a record as the error it was."""

from typing import Any

from turnwise.budget.recorder import RecordedError
from turnwise.calls import errors
from turnwise.calls.errors import (
    CallError,
    CallRefused,
    ContentRefused,
    ContextTooLong,
    EmptyAnswer,
    EndpointError,
    InvalidAnswer,
    ParameterRefused,
    RateLimited,
)

__all__ = ["error_of_record", "record_of_error"]


def record_of_error(error: CallError, message: str) -> RecordedError:
    """Return an error in a form that can be written down.

    Args:
        error: the error.
        message: its text, without secrets.
    """
    detail: dict[str, Any] = {}
    status = retry_after_seconds = None
    if isinstance(error, CallRefused):
        names = ("scope", "limit", "limit_value", "used_value", "asked_value")
        detail = {name: getattr(error, name) for name in names}
    elif isinstance(error, InvalidAnswer):
        detail = {"text": error.text}
    elif isinstance(error, EmptyAnswer):
        detail = {"is_cut": True} if error.is_cut else {}
    elif isinstance(error, ContentRefused):
        status = error.status
    elif isinstance(error, EndpointError):
        status = error.status
        detail = {"was_sent": error.was_sent, "latency_seconds": error.latency_seconds}
        if isinstance(error, RateLimited):
            retry_after_seconds = error.retry_after_seconds
        elif isinstance(error, ContextTooLong):
            detail["limit_tokens"] = error.limit_tokens
            detail["prompt_tokens"] = error.prompt_tokens
        elif isinstance(error, ParameterRefused):
            detail["change"] = error.change
    return RecordedError(type(error).__name__, message, status, retry_after_seconds, detail)


def error_of_record(record: RecordedError) -> CallError:
    """Return the error that a record describes; a plain `CallError` for an unknown class."""
    kind = getattr(errors, record.type_name, None)
    if not (isinstance(kind, type) and issubclass(kind, CallError)):
        return CallError(f"{record.type_name}: {record.message}")
    detail = record.detail
    if issubclass(kind, CallRefused):
        return kind(**detail)
    if issubclass(kind, InvalidAnswer):
        return kind(record.message, str(detail.get("text", "")))
    if issubclass(kind, EmptyAnswer):
        return kind(record.message, is_cut=bool(detail.get("is_cut")))
    if issubclass(kind, ContentRefused):
        return kind(record.message, status=record.status)
    if issubclass(kind, RateLimited):
        return kind(
            record.message,
            retry_after_seconds=record.retry_after_seconds,
            status=record.status,
            latency_seconds=detail.get("latency_seconds", 0.0),
        )
    if issubclass(kind, ContextTooLong):
        return kind(
            record.message,
            limit_tokens=detail.get("limit_tokens"),
            prompt_tokens=detail.get("prompt_tokens"),
            status=record.status,
            latency_seconds=detail.get("latency_seconds", 0.0),
        )
    if issubclass(kind, ParameterRefused):
        return kind(
            record.message,
            change=str(detail.get("change", "")),
            status=record.status,
            latency_seconds=detail.get("latency_seconds", 0.0),
        )
    if issubclass(kind, EndpointError):
        return kind(
            record.message,
            status=record.status,
            was_sent=detail.get("was_sent", True),
            latency_seconds=detail.get("latency_seconds", 0.0),
        )
    return kind(record.message)
