"""Failures of providers as errors without secrets, and a hint for the user.

Shared by every client that talks to a provider, so that a 429 is a `RateLimited` with
each of them. Statuses alone do not suffice: an exhausted quota is a 402, a 403 or a 429,
an unknown model a 400, 403 or 404, and a prompt that is too long is named in as many ways
as there are servers. The wordings below come from public reports.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from callwise.calls import errors
from callwise.calls.call import Role
from callwise.calls.payload import document_of
from callwise.calls.redaction import redact

__all__ = [
    "Refusal",
    "describe_body",
    "failure_of",
    "is_nowhere",
    "redacted_line",
    "retry_after_seconds",
    "text_of_error",
    "utc_now",
]

MAX_MESSAGE_CHARS = 500
"""Length of a provider's words that an error repeats, in characters."""

MAX_READ_CHARS = 20 * MAX_MESSAGE_CHARS
"""Length of them that is read: a text may be a megabyte long."""

MAX_DIGITS = 10
"""A longer number is no number of tokens."""


def redacted_line(text: str, *secrets: str | None) -> str:
    """Return a text without keys, on one line, and not longer than an error should be.

    Args:
        secrets: keys that must not be in it, in any of the forms that `redaction` finds.
    """
    text = " ".join(redact(text[:MAX_READ_CHARS], *secrets).split())
    if len(text) > MAX_MESSAGE_CHARS:
        return text[:MAX_MESSAGE_CHARS] + "…"
    return text


def describe_body(content: bytes, content_type: str) -> str:
    """Return what a body that should have been an answer is, in a few words."""
    if not content.strip():
        return "an empty body"
    start = content[:200].lstrip().lower()
    if "html" in content_type.lower() or start.startswith((b"<!doctype html", b"<html")):
        title = re.search(rb"(?is)<title[^>]*>(.{0,80}?)</title>", content[:4096])
        words = title.group(1).decode("utf-8", "replace").strip() if title else ""
        return f"an HTML page{f' titled {words!r}' if words else ''}"
    kind = content_type.partition(";")[0].strip() or "no content type"
    beginning = content[:80].decode("utf-8", "replace")
    try:
        document_of(content)
    except ValueError:
        wrong = "that are not JSON"
    else:
        wrong = "that are not of the expected form"
    return f"{len(content)} bytes of {kind} {wrong}, starting {beginning!r}"


def utc_now() -> datetime:
    """Return the current time with a time zone, for `Retry-After` dates."""
    return datetime.now(UTC)


def retry_after_seconds(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Return how long a response asks to wait, or None where it names no time.

    Reads `retry-after-ms`, and `Retry-After` as seconds or as an HTTP date.
    A date in the past is 0.

    Args:
        headers: the response's headers, names in lower case or case-insensitive.
        now: the current time, with a time zone.

    Source: RFC 9110, section 10.2.3.
    """
    milliseconds = _non_negative(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _non_negative(value)
    if seconds is not None:
        return seconds
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max((date - now).total_seconds(), 0.0)


def _non_negative(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None


_CONTENT = re.compile(
    r"(?i)content[_ ]filter|content[_ ]policy|content management policy|responsible ?ai policy"
    r"|data_?inspection_?failed|inappropriate content|requires moderation|moderation_blocked"
    r"|(?:input|prompt|content|request) (?:was|has been|is) (?:flagged|blocked)"
    r"|flagged as potentially|content exists risk|considered high risk|敏感内容|不安全"
)
_QUOTA = re.compile(
    r"(?i)insufficient[_ ](?:quota|balance|funds|credit)|exceeded_current_quota"
    r"|exceeded your current (?:token )?quota|arrearage|in good standing|credit balance is too low"
    r"|(?:add|purchase|out of|more) credits|billing[_ ](?:hard_limit|not_active)"
    r"|free tier of the model has been exhausted|余额不足|欠费"
)
_MODEL_NAME = r"[`'\"\[]{0,2}[\w.:/@+-]*[`'\"\]]{0,2}"
_UNKNOWN_MODEL = re.compile(
    r"(?i)model_?not_?found|model[_ ]not[_ ](?:exist|supported)|invalid[_ ]model\b"
    rf"|\bmodel:? {_MODEL_NAME},? ?(?:does not|doesn't|not) (?:exist|found)"
    rf"|(?<!\bthis )\bmodel:? {_MODEL_NAME} ?(?:is not|isn't|not|was not|could not be)"
    r" (?:found|available|supported|loaded|served)\b"
    rf"|not found the model|no such model|unknown model|not a valid model|no models? loaded"
    r"|models/[\w.-]+ is not found|supported api model names are|模型不存在"
)
_WRONG_KEY = re.compile(
    r"(?i)(?:invalid|incorrect|wrong|bad|expired) api[_ -]?key"
    r"|api[_ -]?key (?:is )?(?:not valid|invalid)"
)
_LOADING = re.compile(
    r"(?i)loading (?:the )?model"
    r"|model\b.{0,60} (?:is )?(?:currently |still |being )?load(?:ing|ed)\b"
    r"|model is (?:starting|warming)"
)
_CONTEXT = re.compile(
    r"(?i)context[_ ]length[_ ]exceeded|exceed_context_size|context_window"
    r"|maximum context length|max(?:imum)? context (?:length|size|window)"
    r"|(?:exceeds?|than|beyond|fit in|fit) (?:the |this )?"
    r"(?:model'?s? |available |maximum |configured )*(?:context|sequence)"
    r"|maximum (?:allowed )?(?:input|prompt|sequence) length"
    r"|exceeds the maximum (?:allowed length|number of (?:input )?tokens)|model token limit"
    r"|(?:prompt|input|message)s?(?: is| are| text)? too long|range of input length should be"
    r"|reduce the length of (?:the|your) (?:messages|prompt|input)|reduce your message size"
    r"|`inputs` (?:tokens|must have)|prompt 超长|string_above_max_length"
)
_LIMITS = tuple(
    re.compile(rf"(?i){pattern}")
    for pattern in (
        r"context (?:length|window|size) (?:is|of|limit of)? ?\(?(\d+)",
        r"context (?:length|window|size)[^.\d]{0,20}\((\d+)",
        r"context window of (\d+)",
        r"with (\d+) maximum context length",
        r"(?:> |limit of |token limit:? |limit:? )(\d+)",
        r"input length should be \[\d+, ?(\d+)\]",
        r"maximum (?:allowed length|number of (?:input )?tokens allowed) \((\d+)",
        r"(?:must be <=|less than) (\d+)",
    )
)
_PROMPTS = tuple(
    re.compile(rf"(?i){pattern}")
    for pattern in (
        r"(\d+) (?:tokens )?(?:in|from|of) the (?:input )?(?:messages|prompt)",
        r"(\d+) (?:tokens )?(?:in|from|of) (?:the )?(?:text )?input",
        r"(\d+) input tokens",
        r"resulted in (\d+) tokens",
        r"(?:input|input length|requested tokens|request) \((\d+)",
        r"(?:too long: |token count \(|contains |given: )(\d+)",
        r"requested:? (?:about )?(\d+)",
    )
)
_NOWHERE = re.compile(
    r"(?i)^(?:404:? )?(?:file )?not found\.?$|page not found|invalid url|unexpected endpoint"
    r"|no route|unknown (?:path|url|endpoint|request url)|cannot post|method not allowed"
    r"|plain http request"
)
_WAIT = re.compile(r"(?i)(?:try again|retry) (?:in|after) (?:(\d+)m)?(\d+(?:\.\d+)?) ?(ms|s)\b")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An endpoint's refusal of a request, whatever its status.

    Args:
        status: HTTP status, or the one that the body names under status 200.
        words: the provider's words, without their frame; empty where it is a page.
            Untrusted, redacted.
        param: the request field that it names, likewise.
        limit_tokens: the context length, where the body has it as a number.
        leads_to: where a redirect leads.
    """

    status: int
    words: str
    message: str
    code: str | None = None
    kind: str | None = None
    param: str | None = None
    retry_after_seconds: float | None = None
    limit_tokens: int | None = None
    prompt_tokens: int | None = None
    leads_to: str | None = None

    @property
    def text(self) -> str:
        """Code, type and words together, as patterns look for them."""
        return " ".join(filter(None, (self.code, self.kind, self.words)))


def failure_of(refusal: Refusal, *, latency_seconds: float = 0.0) -> errors.CallError:
    """Return the error that a refusal means.

    A refused request field is a plain `BadRequest` here: whether something can be
    learned from it depends on the request (see `capabilities`).
    """
    status, text, message = refusal.status, refusal.text, refusal.message
    if refusal.code == "content_filter" or (status < 500 and _CONTENT.search(text)):
        return errors.ContentRefused(message, status=status)
    if status == 429:
        return _failure_of_429(refusal, latency_seconds)
    if status == 413 or (status != 401 and _CONTEXT.search(text)):
        return errors.ContextTooLong(
            message,
            limit_tokens=refusal.limit_tokens or _number(_LIMITS, refusal.words),
            prompt_tokens=refusal.prompt_tokens or _number(_PROMPTS, refusal.words),
            status=status,
            latency_seconds=latency_seconds,
        )
    kind = _kind_of(refusal)
    return kind(message, status=status, latency_seconds=latency_seconds)


def _kind_of(refusal: Refusal) -> type[errors.EndpointError]:
    """Return the class of a refusal that is not about the content, the rate or the length."""
    status, text = refusal.status, refusal.text
    if refusal.leads_to is not None or is_nowhere(status, refusal.words):
        return errors.WrongAddress
    if status == 402 or (status < 500 and _QUOTA.search(text)):
        return errors.QuotaExhausted
    if status == 401 or (status < 500 and _WRONG_KEY.search(text)):
        return errors.AuthFailed
    is_about_model = refusal.param in {None, "model"} and _UNKNOWN_MODEL.search(text)
    if status == 404 or (status < 500 and is_about_model):
        return errors.UnknownModel
    if status == 503 and _LOADING.search(text):
        return errors.ModelLoading
    if status < 400:
        return errors.BadResponse
    by_status = {403: errors.AuthFailed, 408: errors.CallTimeout, 501: errors.BadRequest}
    return by_status.get(status, errors.BadRequest if status < 500 else errors.ServerFailed)


def is_nowhere(status: int, words: str) -> bool:
    """Return whether the path, not the model, is what a server does not have.

    Args:
        status: HTTP status, or 200 for an error in a body under it.
        words: the server's own, without a frame; empty where its body is no API's error.
    """
    if status in {404, 405} and not words:
        return True
    return status in {200, 400, 404, 405} and _NOWHERE.search(words) is not None


def _failure_of_429(refusal: Refusal, latency_seconds: float) -> errors.CallError:
    """Return what a 429 means: too fast, or no quota left.

    Google writes "exceeded your current quota" of a limit per minute too, and when to come
    back. A wait that is named means that waiting helps.
    """
    wait_seconds = refusal.retry_after_seconds
    named = _WAIT.search(refusal.words)
    if wait_seconds is None and named is not None:  # as in "try again in 7.66s"
        minutes, number, unit = named.groups()
        wait_seconds = int(minutes or 0) * 60 + float(number) / (1000 if unit == "ms" else 1)
    is_final = "insufficient_quota" in (refusal.code, refusal.kind)
    if is_final or (wait_seconds is None and _QUOTA.search(refusal.text)):
        return errors.QuotaExhausted(refusal.message, status=429, latency_seconds=latency_seconds)
    return errors.RateLimited(
        refusal.message, retry_after_seconds=wait_seconds, latency_seconds=latency_seconds
    )


def _number(patterns: tuple[re.Pattern[str], ...], words: str) -> int | None:
    words = re.sub(r"(?<=\d),(?=\d{3}\b)", "", words)
    for pattern in patterns:
        found = pattern.search(words)
        if found is not None and len(found.group(1)) < MAX_DIGITS:
            return int(found.group(1))
    return None


OWN_NOTES = ("not tried again", "unfinished turn")
"""Beginnings of the notes that are shown with an error; others add theirs, too."""

GOES_ON = "The same command goes on where it stopped."


def text_of_error(error: errors.CallError) -> str:
    """Return an error as a sentence with its role and endpoint, and a way out.

    An error that never reached a budgeter, or is not about an endpoint, has notes alone.
    """
    kind, text = type(error).__name__, str(error)
    noted = (note for note in getattr(error, "__notes__", ()) if note.startswith(OWN_NOTES))
    notes = "".join(f"; {note}" for note in noted)
    if error.endpoint is None or not isinstance(error, errors.EndpointError):
        return f"{kind}: {text}{notes}"
    name, model = error.endpoint.name, error.endpoint.model
    # Clients begin with the host, which the sentence has named by then.
    host, separator, rest = text.partition(": ")
    if separator and " " not in host:
        text = rest
    sentence = f"{kind}: {error.asked_model or error.role} at {name} ({model}): {text}{notes}"
    sentence = sentence if sentence.endswith(("?", "!", ".")) else f"{sentence}."
    way_out = _way_out(error)
    return " ".join(filter(None, (sentence, way_out, GOES_ON)))


def _way_out(error: errors.EndpointError) -> str:
    """Return what to set or do, in one sentence; empty where there is nothing to do."""
    url = _setting(error, "base_url", "CALLWISE_BASE_URL")
    variable = error.endpoint.key_variable if error.endpoint is not None else None
    match error:
        case errors.WrongAddress():
            return f"Set {url} to the URL of the API."
        case errors.UnknownModel():
            own = "" if error.role in {None, Role.MAIN} else f"{error.role}_".upper()
            return (
                f"Set {_setting(error, 'model', f'CALLWISE_{own}MODEL')} to a model of this "
                "endpoint; `callwise endpoints check` shows what it serves."
            )
        case errors.AuthFailed():
            return f"Set {variable or 'its key'} to a key of this host."
        case errors.QuotaExhausted():
            return (
                f"No quota is left for {variable or 'its key'}: add credit, or "
                "use another endpoint."
            )
        case errors.ModelLoading():
            return "Wait until it has loaded, or raise retry.model_loading_seconds."
        case errors.ConnectionFailed():
            return f"Is the server up, and {url.rstrip(',')} right?"
        case errors.RateLimited():
            return _way_out_of_429(error.retry_after_seconds)
        case errors.ContextTooLong():
            return "Use a model with a longer context, or lower memory.history_turns."
        case errors.BadRequest():
            return f"`callwise endpoints check` shows what this endpoint takes; {url} sets another."
    return ""


def _setting(error: errors.EndpointError, field: str, variable: str) -> str:
    """Return where a field of the endpoint that was asked is set."""
    if error.asked_model:
        return f"{field} of the endpoint {error.asked_model}"
    return f"{variable}, or endpoints.{error.role}.{field},"


def _way_out_of_429(wait_seconds: float | None) -> str:
    if wait_seconds is None:
        return "Wait, ask with less concurrency, or raise retry.rate_limited_attempts."
    return (
        f"Wait {wait_seconds:g} s, ask with less concurrency, or raise "
        "retry.rate_limited_attempts or retry.max_retry_after_seconds."
    )
