"""What an OpenAI-compatible endpoint takes, and what a refusal teaches about it.

Capabilities start from the table of known endpoints or from settings, and change when
the endpoint refuses a request field. They decide how a call is put into a request body,
never what the call is: they are not part of its identity, and a replay needs none.

A refusal is read for one of four things: how to ask for the form of an answer, how to
limit its length, where instructions go, and whether a field of the body may be sent at
all. Only what the refused body really has can be learned, and every lesson takes
something away, so that learning ends.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from callwise.calls.errors import ContextTooLong
from callwise.calls.provider_errors import MAX_DIGITS, Refusal

__all__ = [
    "Capabilities",
    "Lesson",
    "SchemaMode",
    "SystemRole",
    "TokenLimitField",
    "capabilities_of_document",
    "document_of_capabilities",
    "learn_from_length",
    "learn_from_refusal",
]

SchemaMode = Literal["json_schema", "json_object", "prompt"]
"""How the form of an answer is requested: by schema, by JSON mode, by a text alone."""

TokenLimitField = Literal["max_tokens", "max_completion_tokens"]
"""Name of the limit on output tokens. OpenAI's newer models take the second only."""

SystemRole = Literal["system", "user"]
"""Where instructions go: a system message, or the beginning of the first user message."""

TOKEN_LIMIT_FIELDS: tuple[TokenLimitField, ...] = ("max_tokens", "max_completion_tokens")

KEPT_FIELDS = frozenset({"model", "messages", "tools", "input"})
"""Fields of a body without which the call would be another one: never left out."""

MIN_LEARNED_LIMIT = 16
"""A smaller number in a refusal is no limit on output tokens."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one model at one endpoint takes.

    Args:
        schema_mode: the strongest way to ask for the form of an answer.
        refused: names of request fields that are never sent, such as `temperature`,
            `logprobs` or `stream_options`.
        context_tokens: context length, where known; prompt and answer together.
        max_output_tokens: longest answer that may be asked for, where known; a larger
            `max_tokens` is lowered to it.
    """

    schema_mode: SchemaMode = "json_schema"
    token_limit_field: TokenLimitField = "max_tokens"  # noqa: S105 - a field's name
    system_role: SystemRole = "system"
    refused: frozenset[str] = frozenset()
    context_tokens: int | None = None
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a refusal teaches."""

    capabilities: Capabilities
    change: str


def document_of_capabilities(capabilities: Capabilities) -> dict[str, Any]:
    """Return capabilities as a JSON object; what is at its default is left out."""
    default = asdict(Capabilities())
    changed = {
        name: value for name, value in asdict(capabilities).items() if value != default[name]
    }
    if "refused" in changed:
        changed["refused"] = sorted(changed["refused"])
    return changed


def capabilities_of_document(document: Mapping[str, Any]) -> Capabilities:
    """Return the capabilities that `document_of_capabilities` made a document of.

    Raises:
        ValueError: when it is something else.
    """
    try:
        values = {**document, "refused": frozenset(map(str, document.get("refused", ())))}
        found = Capabilities(**values)
    except TypeError as problem:
        raise ValueError(f"not the capabilities of an endpoint: {problem}") from problem
    numbers = (found.context_tokens, found.max_output_tokens)
    is_whole = (
        found.schema_mode in {"json_schema", "json_object", "prompt"}
        and found.token_limit_field in TOKEN_LIMIT_FIELDS
        and found.system_role in {"system", "user"}
        and all(value is None or (type(value) is int and value > 0) for value in numbers)
    )
    if not is_whole:
        raise ValueError(f"not the capabilities of an endpoint: {dict(document)}")
    return found


_SCHEMA = re.compile(
    r"(?i)response[_ ]?(?:format|schema)|\$defs|additionalproperties"
    r"|json[_ -]?(?:schema|object|mode)|structured[_ ]outputs?|guided[_ ](?:json|decoding)|grammar"
    r"|the word '?json"
)
_WANTS_SCHEMA = re.compile(r"(?i)must be '?\"?json_schema")
_NO_SYSTEM = re.compile(
    r"(?i)messages?\[\d+\]\.role|does not support '?\"?(?:system|developer)"
    r"|(?:system|developer) (?:role|message|prompt|instruction)s? (?:is |are |was )?(?:not|un)"
    r"|roles must alternate|only user(?:,| and) (?:assistant|model) roles"
    r"|role[^.]{0,40}\bsystem\b[^.]{0,40}not|not[^.]{0,40}role[^.]{0,20}\bsystem\b"
    r"|raise_exception|templateerror|chat template|jinja"
)
_REFUSED = re.compile(
    r"(?i)unsupported|not support|n't support|unrecognized|unrecognised|unknown|unexpected|invalid"
    r"|not (?:be )?(?:allowed|permitted|available|enabled|accepted|implemented|valid|compatible)"
    r"|isn't (?:allowed|available)|only (?:the )?default|only [^.]{0,24}(?:allowed|supported)"
    r"|cannot|can't|forbidden|deprecated|must|remove|should be|out of range|extra |非法|不支持|有误"
)
_BOTH = re.compile(r"(?i)cannot both|can't both|not both|only one of|mutually exclusive")
_LIST_OF_GOOD = re.compile(
    r"(?i)(?<!un)(?<!not )\b(?:supported|allowed|valid|permitted|accepted) "
    r"(?:parameters|fields|arguments|options)\b.*"
)
_LIMIT = re.compile(
    r"(?i)too (?:large|big|high)|at most|less than|no (?:more|greater) than|maximum|valid range"
    r"|range of|supported range|exceed|> ?\d|<= ?\d|\[\d+, ?\d+\]|最大"
)
_IS_NO_FIELD = re.compile(r"(?i)unsupported|not supported|unrecogni|unknown|extra_forbidden|use '")
_NUMBER = re.compile(r"(?<![\w.-])(\d{2,9})(?![\w-]|\.\d)")
_LOCATION = re.compile(
    r"""loc['"]?: ?[\[(]\s*['"](?:body|query)['"], ?['"](\w+)['"]"""  # FastAPI, pydantic
)


def learn_from_refusal(
    capabilities: Capabilities, body: Mapping[str, Any], refusal: Refusal
) -> Lesson | None:
    """Return what a refused request teaches, or None where it teaches nothing.

    Args:
        refusal: the endpoint's answer: neither of the content, the quota, the model
            nor the length of the prompt; those mean another error (see `failures`).
    """
    if refusal.status in {401, 402, 403, 404, 429} or refusal.leads_to is not None:
        return None
    text = refusal.text
    if refusal.status >= 500:
        # A server's own failure teaches only what a template or a grammar could not do.
        if "response_format" in body and _SCHEMA.search(text):
            return _weaker_form(capabilities, text)
        return _merged_system(capabilities, body, text)
    named = list(_named_fields(body, refusal))
    if "response_format" in body and ("response_format" in named or _is_about_form(refusal)):
        return _weaker_form(capabilities, text)
    merged = _merged_system(capabilities, body, f"{refusal.param or ''} {text}")
    if merged is not None:
        return merged
    for field in TOKEN_LIMIT_FIELDS:
        if field in named:
            return _other_limit(capabilities, body, field, refusal)
    lesson = _without(capabilities, named, text)
    if lesson is None and "response_format" in body and _has_no_reason(refusal):
        return _weaker_form(capabilities, text)  # what endpoints refuse most
    return lesson


def learn_from_length(
    capabilities: Capabilities, body: Mapping[str, Any], error: ContextTooLong
) -> Lesson | None:
    """Return how to ask for shorter answers, where they alone take most of the context.

    An endpoint counts the longest answer asked for into the context. At most half of it
    is left to the answer; what the prompt is too long for then is the prompt's matter.
    """
    limit = error.limit_tokens
    asked = next((body[field] for field in TOKEN_LIMIT_FIELDS if field in body), None)
    if limit is None or asked is None or asked <= limit // 2 or limit // 2 < MIN_LEARNED_LIMIT:
        return None
    changed = replace(capabilities, context_tokens=limit, max_output_tokens=limit // 2)
    return Lesson(
        changed, f"asks for at most {limit // 2} output tokens of a context of {limit} tokens"
    )


def _has_no_reason(refusal: Refusal) -> bool:
    """Return whether a refusal gives no words but its status."""
    words = refusal.words.strip(" .!").lower()
    return refusal.param is None and words in {"", "bad request", "invalid request", "error"}


def _is_about_form(refusal: Refusal) -> bool:
    about = refusal.param or refusal.text
    return _SCHEMA.search(about) is not None


def _weaker_form(capabilities: Capabilities, text: str) -> Lesson | None:
    """Return the next way to ask for a form: schema, then JSON mode, then words."""
    mode = capabilities.schema_mode
    if mode == "json_schema":
        changed = replace(capabilities, schema_mode="json_object")
        return Lesson(changed, "asks for the form by JSON mode and in the prompt, not by schema")
    if mode == "json_object" and _WANTS_SCHEMA.search(text):
        return Lesson(
            replace(capabilities, schema_mode="json_schema"), "asks for the form by schema"
        )
    if mode == "json_object":
        return Lesson(
            replace(capabilities, schema_mode="prompt"), "asks for the form in the prompt alone"
        )
    return None


def _merged_system(capabilities: Capabilities, body: Mapping[str, Any], text: str) -> Lesson | None:
    roles = {message.get("role") for message in body.get("messages", ())}
    if capabilities.system_role == "user" or "system" not in roles:
        return None
    if not _NO_SYSTEM.search(text):
        return None
    changed = replace(capabilities, system_role="user")
    return Lesson(changed, "puts the instructions at the beginning of the first user message")


def _other_limit(
    capabilities: Capabilities, body: Mapping[str, Any], field: str, refusal: Refusal
) -> Lesson:
    """Return what to do about a refused limit on tokens: lower it, rename it, or drop it."""
    limit = _lower_limit(body[field], refusal)
    if limit is not None:
        changed = replace(capabilities, max_output_tokens=limit)
        return Lesson(changed, f"asks for at most {limit} output tokens")
    refused = capabilities.refused | {field}
    other = next(name for name in TOKEN_LIMIT_FIELDS if name != field)
    if other in refused:
        return Lesson(replace(capabilities, refused=refused), "sends no limit on output tokens")
    changed = replace(capabilities, refused=refused, token_limit_field=other)
    return Lesson(changed, f"sends {other} instead of {field}")


def _lower_limit(asked: Any, refusal: Refusal) -> int | None:
    """Return the largest number below what was asked that a refusal names as a limit."""
    said = refusal.words
    if refusal.code == "unsupported_parameter" or not _LIMIT.search(said):
        return None
    if _IS_NO_FIELD.search(said) and "range" not in said:
        return None
    numbers = [int(number) for number in _NUMBER.findall(said) if len(number) < MAX_DIGITS]
    fitting = [number for number in numbers if MIN_LEARNED_LIMIT <= number < asked]
    if not fitting:
        return None
    return max(fitting) - ("exclusive" in said)


def _without(capabilities: Capabilities, named: list[str], text: str) -> Lesson | None:
    fields = [name for name in named if name not in KEPT_FIELDS and name != "response_format"]
    if len(fields) > 1 and _BOTH.search(text):
        fields = fields[-1:]
    if not fields:
        return None
    refused = capabilities.refused.union(fields)
    return Lesson(replace(capabilities, refused=refused), f"sends no {_listed(fields)}")


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _named_fields(body: Mapping[str, Any], refusal: Refusal) -> Iterator[str]:
    """Yield the fields of the body that a refusal is about, in the order it names them.

    The field that it points at (`param`, or pydantic's `loc`) goes before all words.
    Names that are also words of the language count in quotes only.
    """
    pointed = [refusal.param] if refusal.param else []
    pointed += _LOCATION.findall(refusal.words)
    roots = [re.split(r"[.\[]", name)[0] for name in pointed]
    exact = [name for name in dict.fromkeys(roots) if name in body and name not in KEPT_FIELDS]
    if exact:
        yield from exact
        return
    if not (_REFUSED.search(refusal.text) or _LIMIT.search(refusal.words)):
        return
    words = _LIST_OF_GOOD.sub("", refusal.words)
    places = {name: _place(name, words) for name in body}
    yield from sorted(
        (name for name, place in places.items() if place >= 0), key=lambda name: places[name]
    )


_OTHER_NAMES: Mapping[str, tuple[str, ...]] = dict.fromkeys(
    TOKEN_LIMIT_FIELDS, ("maxOutputTokens", "max_output_tokens", "max_new_tokens")
)
"""What servers behind a compatible route call a field in their own errors."""

_ORDINARY_WORDS = frozenset(
    {"n", "stop", "user", "model", "messages", "stream", "tools", "input", "seed"}
)


def _place(name: str, words: str) -> int:
    """Return where words name a field, or -1: as it is, in camel case, or in quotes."""
    first, *rest = name.split("_")
    camel_case = first + "".join(part.title() for part in rest)
    spellings = {name, camel_case, *_OTHER_NAMES.get(name, ())}
    either = "|".join(map(re.escape, sorted(spellings)))
    quoted = (
        rf"['\"`‘“]({either})['\"`’”]"
        rf"|(?i:parameter|argument|field|name)(?: supplied)?:? ({either})\b"
    )
    pattern = quoted if name in _ORDINARY_WORDS else rf"(?i)(?<![\w.])({either})(?![A-Za-z0-9_])"
    found = re.search(pattern, words)
    if found is None and name in _ORDINARY_WORDS:
        found = re.search(rf"(?<![\w.])({either}) (?:parameter|argument|field)", words)
    return -1 if found is None else found.start()
