"""Errors of calls, settings and files.

    CallwiseError
    |- ConfigError                 a setting that cannot work; nothing was sent
    |  |- MissingKey               names the environment variable to set
    |  |- UnknownRole              no endpoint serves this role, or has this name
    |- FormatError                 a file that cannot be read: file, line, expectation
    `- CallError                   one call ended without an answer
       |- CallRefused              no quota was left; nothing was sent
       |- RunStopped               the run has stopped, or is ending; nothing was sent
       |- BudgetStoreLost          the budget that processes share cannot be asked
       |- CassetteMiss             strict replay, and this call is not recorded
       |- InvalidAnswer            an answer came and does not fit the response model
       |- EmptyAnswer              an answer came with nothing in it
       |- ContentRefused           the provider's filter declined to answer
       `- EndpointError            the endpoint, or the way to it, failed
          |- ConnectionFailed      no connection; `was_sent`: whether it left
          |  `- EndpointDown       not sent: the endpoint failed a moment ago
          |- Overloaded            not sent: too many calls wait for the endpoint
          |- CallTimeout           no (whole) answer in time
          |- StreamCut             a streamed answer broke off
          |- RateLimited           429; `retry_after_seconds` where the server names it
          |- ServerFailed          5xx
          |  `- ModelLoading       503 while the server loads its model
          |- BadResponse           an answer that is not in the protocol, such as HTML
          |  |- AnswerLost         a batch has ended without an answer to this call
          |  `- BatchUnfinished    a batch is not asked for any more; its answers are kept for later
          |- BatchFailed           the request that carried it with other calls failed; `cause`
          |- AuthFailed            401, or 403 where it is about the key
          |- UnknownModel          the endpoint does not serve this model
          |  `- WrongAddress       nothing at the base URL answers in this protocol
          |- QuotaExhausted        no quota or credit is left for the key
          `- BadRequest            any other 4xx
             |- ContextTooLong     the prompt does not fit the model's context
             `- ParameterRefused   a request field that the endpoint does not take

`is_retryable`: the same call may be served on another attempt.
`is_fatal`: going on with other calls makes no sense. A wrong key, an unknown model or an
exhausted quota is wrong for every call; a refused text or an odd answer is not.
"""

from typing import Any, ClassVar, Protocol, Self

from callwise.calls.call import Role
from callwise.calls.reply import ReportedUsage

__all__ = [
    "AnswerLost",
    "AuthFailed",
    "BadRequest",
    "BadResponse",
    "BatchFailed",
    "BatchUnfinished",
    "BudgetStoreLost",
    "CallError",
    "CallRefused",
    "CallTimeout",
    "CallwiseError",
    "CassetteMiss",
    "ConfigError",
    "ConnectionFailed",
    "ContentRefused",
    "ContextTooLong",
    "EmptyAnswer",
    "EndpointDown",
    "EndpointError",
    "FormatError",
    "InvalidAnswer",
    "MissingKey",
    "ModelLoading",
    "Overloaded",
    "ParameterRefused",
    "QuotaExhausted",
    "RateLimited",
    "RunStopped",
    "ServerFailed",
    "StreamCut",
    "UnknownModel",
    "UnknownRole",
    "WrongAddress",
]


class CallwiseError(Exception):
    """The root of every error that Callwise raises on purpose."""


class ConfigError(CallwiseError):
    """A setting that cannot work. Nothing was sent."""


class MissingKey(ConfigError):
    """An endpoint needs a key and its environment variable is not set."""

    def __init__(self, endpoint: str, variable: str, reason: str = "") -> None:
        super().__init__(
            f"endpoint {endpoint!r} needs a key: set the environment variable {variable}{reason}"
        )
        self.endpoint = endpoint
        self.variable = variable


class UnknownRole(ConfigError):
    """No endpoint serves this role, or has the name that a call gives."""


class FormatError(CallwiseError):
    """A file that cannot be read.

    Args:
        line: 1-based line, or None when the whole file is meant.
    """

    def __init__(self, path: object, line: int | None, problem: str) -> None:
        where = f"{path}:{line}" if line is not None else f"{path}"
        super().__init__(f"{where}: {problem}")
        self.path = path
        self.line = line
        self.problem = problem


class NamedEndpoint(Protocol):
    """The endpoint of a failed call, as far as an error names it."""

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def key_variable(self) -> str | None: ...


class CallError(CallwiseError):
    """One call ended without a usable answer.

    Attributes:
        role: which role's call it was, once the budgeter has seen the error.
        asked_model: the name that the call gave its endpoint, likewise; empty for that of its role.
        endpoint: who served it, likewise.
        usage: what the endpoint reported all the same; None where it reported nothing.
    """

    is_retryable: ClassVar[bool] = False
    is_fatal: ClassVar[bool] = False
    role: Role | None = None
    asked_model: str = ""
    endpoint: NamedEndpoint | None = None
    usage: ReportedUsage | None = None

    def __copy__(self) -> Self:
        """Return the same error with separate attributes, whatever copies errors otherwise."""
        copied = type(self).__new__(type(self), *self.args)
        copied.__dict__.update(self.__dict__)
        return copied


class CallRefused(CallError):
    """No quota was left. Nothing was sent.

    Args:
        scope: path of the scope whose limit was met, e.g. `conv:a/turn:3`.
        limit: name of the limit, e.g. `max_calls` or `max_calls[judge]`.
        limit_value: its value, in the unit that its name ends with.
        used_value: what was used and reserved already, leases included.
    """

    was_sent: ClassVar[bool] = False

    def __init__(
        self, scope: str, limit: str, limit_value: float, used_value: float, asked_value: float
    ) -> None:
        super().__init__(
            f"refused: {scope} has {limit}={limit_value:g}, "
            f"{used_value:g} used or held back, and this call asked for {asked_value:g} more"
        )
        self.scope = scope
        self.limit = limit
        self.limit_value = limit_value
        self.used_value = used_value
        self.asked_value = asked_value


class RunStopped(CallError):
    """The run has stopped: at a failure that every call would meet, or because it is ending.

    Nothing was sent. The run can go on later, and buys nothing twice.
    """

    is_fatal = True
    was_sent = False


class BudgetStoreLost(CallError):
    """The server that keeps the budget of several processes cannot be reached. Nothing was sent."""

    is_fatal = True
    was_sent = False


class CassetteMiss(CallError):
    """Strict replay, and this call is not in the recording."""

    is_fatal = True


class InvalidAnswer(CallError):
    """An answer came, and it does not fit the response model.

    Args:
        text: the answer as it came. Untrusted.
        misfits: the same as (kind, place, detail), for a repair to put into words; see
            `callwise.calls.repair`.
        excerpt: a short part of the answer, where the problem is; None quotes its beginning.
    """

    def __init__(
        self,
        problem: str,
        text: str,
        *,
        misfits: tuple[tuple[str, str, str], ...] = (),
        excerpt: str | None = None,
        is_cut: bool = False,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.text = text
        self.misfits = misfits
        self.excerpt = text[:400] if excerpt is None else excerpt
        self.is_cut = is_cut


class EmptyAnswer(CallError):
    """An answer came with nothing in it.

    Args:
        is_cut: whether its token limit ended it before it began: a model that thinks
            first had no tokens left.
    """

    is_retryable = True

    def __init__(self, message: str, *, is_cut: bool = False) -> None:
        super().__init__(message)
        self.is_cut = is_cut


class ContentRefused(CallError):
    """The provider's content filter declined to answer.

    Args:
        status: HTTP status of the refusal; None when the filter, or the model itself,
            declined in the answer, after the model had run.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class EndpointError(CallError):
    """The endpoint, or the way to it, failed.

    Args:
        message: what happened, without secrets.
        status: HTTP status, or None when there was no response.
        was_sent: whether the request left the machine. Counts as a request if so.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        was_sent: bool = True,
        latency_seconds: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.was_sent = was_sent
        self.latency_seconds = latency_seconds


class ConnectionFailed(EndpointError):
    """No connection, or it broke before an answer came."""

    is_retryable = True


class EndpointDown(ConnectionFailed):
    """Nothing was sent: the endpoint has just failed several attempts in a row."""

    is_retryable = False


class Overloaded(EndpointError):
    """Nothing was sent: more calls wait for the endpoint than may."""


class CallTimeout(EndpointError):
    """No whole answer came in time."""

    is_retryable = True


class StreamCut(EndpointError):
    """A streamed answer broke off before its end."""

    is_retryable = True


class RateLimited(EndpointError):
    """The endpoint answered 429.

    Args:
        retry_after_seconds: how long the server asks to wait, where it names a time.
    """

    is_retryable = True

    def __init__(
        self, message: str, *, retry_after_seconds: float | None = None, **attempt: Any
    ) -> None:
        super().__init__(message, **{"status": 429, **attempt})
        self.retry_after_seconds = retry_after_seconds


class ServerFailed(EndpointError):
    """The endpoint answered 5xx."""

    is_retryable = True


class ModelLoading(ServerFailed):
    """The server answers 503 because its model is still being loaded."""


class BadResponse(EndpointError):
    """The endpoint answered something that is not in the protocol, such as HTML."""

    is_retryable = True


class BatchFailed(EndpointError):
    """A request that carried several calls failed, or had no answer for this one.

    Retryable immediately: the next attempt travels alone, or with fewer others.

    Args:
        cause: how the request ended; None where that is not known any more.
    """

    is_retryable = True

    def __init__(self, message: str, *, cause: CallError | None = None, **attempt: Any) -> None:
        super().__init__(message, **attempt)
        self.cause = cause

    @classmethod
    def by(cls, cause: CallError) -> "BatchFailed":
        """Return the error of one of the calls that a request carried."""
        failed = cls(
            f"a request that carried several calls failed: {cause}",
            cause=cause,
            status=getattr(cause, "status", None),
            was_sent=getattr(cause, "was_sent", True),
            latency_seconds=getattr(cause, "latency_seconds", 0.0),
        )
        failed.usage = cause.usage
        return failed


class AnswerLost(BadResponse):
    """A batch has ended without an answer to this call, which may have been run and billed."""

    is_retryable = False


class BatchUnfinished(BadResponse):
    """A batch that may have been run is not waited for any more; asked again, it goes on."""

    is_retryable = False


class AuthFailed(EndpointError):
    """The endpoint does not accept the key: 401, or a 403 that is not about the content."""

    is_fatal = True


class UnknownModel(EndpointError):
    """The endpoint does not serve the model that was asked for."""

    is_fatal = True


class WrongAddress(UnknownModel):
    """Nothing at the base URL answers in this protocol: a redirect, or a page's 404."""


class QuotaExhausted(EndpointError):
    """No quota or credit is left for the key."""

    is_fatal = True


class BadRequest(EndpointError):
    """The endpoint answered another 4xx: it cannot serve this request."""


class ContextTooLong(BadRequest):
    """The prompt, with the longest answer asked for, does not fit the model's context.

    Args:
        limit_tokens: the context length in tokens, where the endpoint named it.
        prompt_tokens: tokens that the request came to, where the endpoint named them.
    """

    repairs: int = 0
    """Number of times the question had been asked again before; the budgeter sets it."""

    def __init__(
        self,
        message: str,
        *,
        limit_tokens: int | None = None,
        prompt_tokens: int | None = None,
        **attempt: Any,
    ) -> None:
        super().__init__(message, **{"status": 400, **attempt})
        self.limit_tokens = limit_tokens
        self.prompt_tokens = prompt_tokens


class ParameterRefused(BadRequest):
    """The endpoint does not take a field of the request, and the client has learned it.

    Retryable immediately: the next attempt leaves the field out or replaces it.

    Args:
        change: what the next attempt does instead, in one clause.
    """

    is_retryable = True

    def __init__(self, message: str, *, change: str = "", **attempt: Any) -> None:
        super().__init__(message, **{"status": 400, **attempt})
        self.change = change
