"""The interface of a recording, as the budgeter uses it: look an exchange up, or record one.

The budgeter decides what is counted; a recorder only remembers. Every asked call asks the
recorder before anything else, and every call that was not replayed is recorded once, whatever
its outcome; only a bug in a client is not. So a recording has exactly one exchange per call, and
equal calls find theirs in the order in which they were asked:

- `served` and `failed` carry what they spent;
- `cached` and `coalesced` carry the answer and spent nothing;
- `refused` carries the refusal: a replay under the same limit refuses the same call, whichever
  way the two runs interleaved; under another limit it is no answer, and the budgeter takes
  the next exchange of that key;
- `cancelled` carries what was spent until then, and no answer.

Invariant: an exchange is handed out at most once.
"""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, Protocol, runtime_checkable

from callwise.budget.usage import NO_USAGE, Usage
from callwise.calls import errors
from callwise.calls.call import Call, Outcome, Purpose, Role
from callwise.calls.choice import Choice
from callwise.calls.delivery import DIRECT, Delivery
from callwise.calls.errors import (
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
from callwise.calls.key import CallKey
from callwise.calls.reply import Reply

__all__ = [
    "CallOrigin",
    "FoundExchange",
    "RecordedError",
    "RecordedExchange",
    "Recorder",
    "error_of_record",
    "record_of_error",
]


@dataclass(frozen=True, slots=True)
class CallOrigin:
    """The place where a call was asked, and its endpoint; for lanes, misses and reports.

    The fields are those of a `LedgerRow`. Not part of a call's identity.
    """

    scope: str
    conversation: str | None
    turn: str | None
    node: str | None
    role: Role
    purpose: Purpose
    endpoint: str
    model: str


@dataclass(frozen=True, slots=True)
class RecordedError:
    """The error that ended a call, in a form that can be written down and raised again.

    Args:
        type_name: class name in `callwise.calls.errors`, or of a foreign exception.
        message: its text, without secrets.
        status: HTTP status where there was one.
        retry_after_seconds: how long the server asked to wait, where it said so.
        detail: what else the class's constructor needs; JSON values only.
    """

    type_name: str
    message: str
    status: int | None = None
    retry_after_seconds: float | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecordedExchange:
    """One call's end: its answer or its error, and what it spent.

    Args:
        outcome: how the call ended when it was recorded; never `replayed`.
        reply: the answer, or None when there was none. Its `parsed` is None.
        error: what ended the call instead, or None when there is a reply.
        usage: what it spent. Its `sent` and `work_microseconds` are not recorded.
        latency_seconds: time from its first attempt to its end, backoff included.
        delivery: how its answer came.
        choice: why its model was asked, where a policy has chosen it.
        sequence: in which order the calls of its run were asked, from 1; 0 is not known.
            Equal calls of one scope are handed out in this order, whichever ended first.
        end_number: in which order the calls of its turn ended, from 1; 0 is not known. It is
            no part of what is recorded, which is in that order.
    """

    outcome: Outcome
    reply: Reply | None = None
    error: RecordedError | None = None
    usage: Usage = NO_USAGE
    latency_seconds: float = 0.0
    usage_note: str = ""
    delivery: Delivery = DIRECT
    choice: Choice | None = None
    sequence: int = field(default=0, compare=False)
    end_number: int = field(default=0, compare=False)

    @property
    def usd(self) -> float | None:
        """Known cost of all its attempts; None when none of it is known."""
        usage = self.usage
        is_known = usage.picodollars > 0 or usage.requests > usage.unknown_usd
        return usage.usd if is_known else None


FoundExchange = RecordedExchange | Awaitable[RecordedExchange | None] | None
"""Exchange that a recording has for a call, or will have."""


@runtime_checkable
class Recorder(Protocol):
    """A recording that is read, written, or both. Its methods must not block."""

    def lookup(self, key: CallKey, call: Call, where: CallOrigin) -> FoundExchange:
        """Take the next exchange of a key, the first one asked first.

        Returns:
            The exchange, which is never handed out again; or None when the key has
            none left and the call may be sent. One of both later, where an equal call of another
            run is under way whose exchange this recording will have.

        Raises:
            CassetteMiss: when the key has none left and nothing may be sent.
        """
        ...

    def record(
        self, key: CallKey, call: Call, where: CallOrigin, exchange: RecordedExchange
    ) -> None:
        """Remember how a call that was not replayed ended.

        Called from the event loop, once per call, in the order in which calls end.
        A failed write must not raise here: keep it for the recorder's own close.
        """
        ...


_DETAILS: tuple[tuple[type[CallError], tuple[str, ...]], ...] = (
    (CallRefused, ("scope", "limit", "limit_value", "used_value", "asked_value")),
    (InvalidAnswer, ("text",)),
    (EndpointError, ("was_sent", "latency_seconds")),
    (ContextTooLong, ("limit_tokens", "prompt_tokens")),
    (ParameterRefused, ("change",)),
)
"""Further arguments of the constructors of some classes."""


def record_of_error(error: CallError, message: str) -> RecordedError:
    """Return an error in a form that can be written down; `message` is without secrets."""
    detail: dict[str, Any] = {
        name: getattr(error, name)
        for kind, names in _DETAILS
        if isinstance(error, kind) and not isinstance(error, ContentRefused)
        for name in names
    }
    if isinstance(error, EmptyAnswer) and error.is_cut:
        detail["is_cut"] = True
    is_limited = isinstance(error, RateLimited)
    return RecordedError(
        type(error).__name__,
        message,
        getattr(error, "status", None),
        getattr(error, "retry_after_seconds", None) if is_limited else None,
        detail,
    )


def error_of_record(record: RecordedError) -> CallError:
    """Return the error that a record describes; a plain `CallError` for an unknown class.

    Raises:
        TypeError: when the detail is not that of the class.
    """
    kind = getattr(errors, record.type_name, None)
    if not (isinstance(kind, type) and issubclass(kind, CallError)):
        return CallError(f"{record.type_name}: {record.message}")
    detail = record.detail
    if issubclass(kind, CallRefused):
        refused = kind(**detail)
        refused.args = (record.message or str(refused),)  # it may explain an estimate
        return refused
    given = {
        "status": record.status,
        "retry_after_seconds": record.retry_after_seconds,
        **detail,
        "text": str(detail.get("text", "")),
        "change": str(detail.get("change", "")),
        "is_cut": bool(detail.get("is_cut")),
    }
    accepted = set(signature(kind.__init__).parameters)
    if "attempt" in accepted and record.status is not None:
        accepted.add("status")
    return kind(record.message, **{name: given[name] for name in accepted if name in given})
