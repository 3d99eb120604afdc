"""Capabilities of an OpenAI-compatible endpoint, and how a refusal changes them.

Capabilities start from the table of known endpoints or from settings, and change when
the endpoint refuses a request field. They decide how a call is put into a request body,
never what the call is: they are not part of its identity, and a replay needs none.

A refusal is read for one of four things: how to ask for the form of an answer, how to
limit its length, where instructions go, and whether a field of the body may be sent at
all. Only what the refused body really has can be learned, and every lesson takes
something away, so that learning ends.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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
"""Ways to request the form of an answer: by schema, by JSON mode, by a text alone."""

TokenLimitField = Literal["max_tokens", "max_completion_tokens"]
"""Name of the limit on output tokens. OpenAI's newer models take the second only."""

SystemRole = Literal["system", "user"]
"""Place of instructions: a system message, or the beginning of the first user message."""

TOKEN_LIMIT_FIELDS: tuple[TokenLimitField, ...] = ("max_tokens", "max_completion_tokens")

KEPT_FIELDS = frozenset({"model", "messages", "tools", "input"})
"""Fields of a body without which the call would be another one: never left out."""

MIN_LEARNED_LIMIT = 16
"""A smaller number in a refusal is no limit on output tokens."""


Tokens = Annotated[int, Field(ge=1, strict=True)]


class Capabilities(BaseModel):
    """Request fields and forms that one model at one endpoint takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_mode: SchemaMode = "json_schema"
    """The strongest way to ask for the form of an answer."""
    token_limit_field: TokenLimitField = "max_tokens"  # noqa: S105 - a field's name
    system_role: SystemRole = "system"
    refused: frozenset[str] = frozenset()
    """Names of request fields that are never sent, such as `temperature` or `logprobs`."""
    context_tokens: Tokens | None = None
    """Context length, where known; prompt and answer together."""
    max_output_tokens: Tokens | None = None
    """Longest answer that may be asked for, where known; a larger `max_tokens` is lowered to it."""

    def overlaid(self, over: "Capabilities") -> "Capabilities":
        """Return these capabilities with the fields that another one sets; `refused` is joined."""
        given = {name: getattr(over, name) for name in over.model_fields_set}
        return self.model_copy(update={**given, "refused": self.refused | over.refused})


@dataclass(frozen=True, slots=True)
class Lesson:
    """Lesson of a refusal."""

    capabilities: Capabilities
    change: str


def document_of_capabilities(capabilities: Capabilities) -> dict[str, Any]:
    """Return capabilities as a JSON object without the fields that have their default."""
    document = capabilities.model_dump(exclude_defaults=True)
    if "refused" in document:
        document["refused"] = sorted(document["refused"])
    return document


def capabilities_of_document(document: Mapping[str, Any]) -> Capabilities:
    """Return the capabilities that `document_of_capabilities` made a document of.

    Raises:
        ValueError: when it is something else.
    """
    try:
        return Capabilities.model_validate(document)
    except ValidationError as problem:
        raise ValueError(f"not the capabilities of an endpoint: {problem}") from problem


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
            nor the length of the prompt; those mean another error (see `failure_of`).
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
    is_about_form = _SCHEMA.search(refusal.param or text) is not None
    if "response_format" in body and ("response_format" in named or is_about_form):
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
    return _lesson(
        capabilities,
        f"asks for at most {limit // 2} output tokens of a context of {limit} tokens",
        context_tokens=limit,
        max_output_tokens=limit // 2,
    )


def _lesson(capabilities: Capabilities, change: str, **fields: Any) -> Lesson:
    return Lesson(capabilities.model_copy(update=fields), change)


def _has_no_reason(refusal: Refusal) -> bool:
    words = refusal.words.strip(" .!").lower()
    return refusal.param is None and words in {"", "bad request", "invalid request", "error"}


def _weaker_form(capabilities: Capabilities, text: str) -> Lesson | None:
    """Return the next way to ask for a form: schema, then JSON mode, then words."""
    mode = capabilities.schema_mode
    if mode == "json_schema":
        change = "asks for the form by JSON mode and in the prompt, not by schema"
        return _lesson(capabilities, change, schema_mode="json_object")
    if mode == "json_object" and _WANTS_SCHEMA.search(text):
        return _lesson(capabilities, "asks for the form by schema", schema_mode="json_schema")
    if mode == "json_object":
        return _lesson(capabilities, "asks for the form in the prompt alone", schema_mode="prompt")
    return None


def _merged_system(capabilities: Capabilities, body: Mapping[str, Any], text: str) -> Lesson | None:
    roles = {message.get("role") for message in body.get("messages", ())}
    if capabilities.system_role == "user" or "system" not in roles:
        return None
    if not _NO_SYSTEM.search(text):
        return None
    change = "puts the instructions at the beginning of the first user message"
    return _lesson(capabilities, change, system_role="user")


def _other_limit(
    capabilities: Capabilities, body: Mapping[str, Any], field: str, refusal: Refusal
) -> Lesson:
    """Return what to do about a refused limit on tokens: lower it, rename it, or drop it."""
    limit = _lower_limit(body[field], refusal)
    if limit is not None:
        change = f"asks for at most {limit} output tokens"
        return _lesson(capabilities, change, max_output_tokens=limit)
    refused = capabilities.refused | {field}
    other = next(name for name in TOKEN_LIMIT_FIELDS if name != field)
    if other in refused:
        return _lesson(capabilities, "sends no limit on output tokens", refused=refused)
    change = f"sends {other} instead of {field}"
    return _lesson(capabilities, change, refused=refused, token_limit_field=other)


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
    *most, last = fields
    names = f"{', '.join(most)} or {last}" if most else last
    refused = capabilities.refused.union(fields)
    return _lesson(capabilities, f"sends no {names}", refused=refused)


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
"""Names of a field in the errors of servers behind a compatible route."""

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
