"""The arguments of an OpenAI chat model, as LangChain code gives them, in a call's form.

Known are those of the chat completions API. What may change the answer goes into the call's
sampling, and so into its identity; what does not (`user`, `metadata`) is sent as well.
Refused is what the budgeter could not count or could not honour, each with its reason.

Source: `CompletionCreateParams` of the openai library, 3.52.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace
from math import isfinite, isnan
from typing import Any, NamedTuple

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_function, convert_to_openai_tool
from pydantic import BaseModel

from callwise.calls.call import Sampling
from callwise.calls.errors import ConfigError
from callwise.calls.schema import schema_format

__all__ = [
    "FORM_ARGUMENT",
    "KNOWN_ARGUMENTS",
    "REFUSED_ARGUMENTS",
    "Arguments",
    "read_arguments",
    "response_format_of",
    "wire_tool_choice",
    "wire_tools",
]

_SAMPLING = {each.name for each in fields(Sampling)} - {"stop", "top_logprobs", "extra_body"}
_WHOLE_NUMBERS = {"max_tokens", "seed", "n", "top_logprobs"}
_NUMBERS = {"temperature", "top_p", "presence_penalty", "frequency_penalty"}
_LISTS = frozenset({"modalities", "tools", "stop"})
_TIMES = frozenset({"timeout_seconds", "deadline_seconds", "cache_ttl_seconds"})
_OF_CALL = _TIMES | {
    "batch_key",
    "lease",
    "priority",
    "response_model",
    "sample",
    "share",
}
_OTHER_NAMES = {
    "max_completion_tokens": "max_tokens",
    "timeout": "timeout_seconds",
    "request_timeout": "timeout_seconds",
}

_KEYED = frozenset(
    {
        "logit_bias",
        "modalities",
        "moderation",
        "parallel_tool_calls",
        "prediction",
        "response_format",
        "verbosity",
    }
)
"""Fields of the request's body that may change the answer: part of the call's identity."""

_UNKEYED = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)
"""Fields of user, speed and cache: the answer is the same."""

_READ_APART = frozenset({"tools", "tool_choice", "stop", "logprobs", "top_logprobs", "extra_body"})

FORM_ARGUMENT = "tool_is_form"
"""Argument that marks an invocation whose only tool is the form of its answer."""

_IGNORED = frozenset({"stream", "stream_options", "stream_usage", FORM_ARGUMENT})
"""Arguments that LangChain adds for its own streaming, and that the budgeter decides: a
stream is always asked for its usage, since it is settled by that."""

_LIMIT = "it is a limit: give `limits=Limits({}=...)` to `wrap` or to the Budgeter"
_OF_THE_ENDPOINT = "the endpoint that serves the model's role has its own: set it there"
REFUSED_ARGUMENTS: Mapping[str, str] = {
    "model": f"{_OF_THE_ENDPOINT}, or ask another role",
    "model_name": f"{_OF_THE_ENDPOINT}, or ask another role",
    "extra_headers": f"{_OF_THE_ENDPOINT}, since headers carry keys",
    "extra_query": _OF_THE_ENDPOINT,
    "max_retries": "retries are the budgeter's: give it a RetryPolicy",
    "functions": "it is deprecated and its answers are not read: bind tools",
    "function_call": "it is deprecated and its answers are not read: give tool_choice",
    "audio": "an answer in sound cannot be counted, recorded or replayed: ask for text",
    "web_search_options": "the fee for a search is in no usage, so it cannot be counted: "
    "bind a search tool",
    **{
        name: _LIMIT.format(name)
        for name in ("max_calls", "max_requests", "max_seconds", "max_usd")
    },
    "messages": "it belongs to each call: pass it as the input",
    "input": "it belongs to each call: pass it as the input",
}
"""Arguments that cannot be counted or honoured, and what to do instead."""

KNOWN_ARGUMENTS = (
    _SAMPLING | _OF_CALL | _OTHER_NAMES.keys() | _KEYED | _UNKEYED | _READ_APART | _IGNORED
)
"""Everything that is taken, or left to LangChain."""


class Arguments(NamedTuple):
    """Arguments of an invocation, as the fields of a call.

    Args:
        unkeyed_body: body fields that do not change the answer.
    """

    sampling: Sampling
    tools: tuple[Mapping[str, Any], ...]
    tool_choice: str | Mapping[str, Any] | None
    unkeyed_body: Mapping[str, Any]
    of_call: Mapping[str, Any]


def read_arguments(arguments: Mapping[str, Any], sampling: Sampling) -> Arguments:
    """Return the arguments of an invocation as the fields of a call.

    Args:
        arguments: by name; those that are None count as not given. Known fields inside of
            `extra_body` are read like arguments, its other fields are sent as they are.

    Raises:
        ConfigError: when one is not known, or can be neither counted nor honoured.
    """
    extra = arguments.get("extra_body") or {}
    if not isinstance(extra, Mapping):
        raise ConfigError(f"extra_body is a mapping of body fields, got {type(extra).__name__}")
    body = {
        name: value
        for name, value in extra.items()
        if name not in KNOWN_ARGUMENTS | REFUSED_ARGUMENTS.keys()
    }
    given = {
        _OTHER_NAMES.get(name, name): value
        for name, value in {**_without(extra, body), **_without(arguments, {"extra_body"})}.items()
        if value is not None and not name.startswith("ls_")
    }
    _check(given)
    shaping = _only(given, _SAMPLING)
    if given.get("stop") is not None:
        stop = given["stop"]
        shaping["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
    if given.get("logprobs") is False:
        shaping["top_logprobs"] = None
    elif "logprobs" in given or "top_logprobs" in given:
        shaping["top_logprobs"] = given.get("top_logprobs", sampling.top_logprobs or 0)
    body |= _only(given, _KEYED)
    if "response_format" in body:
        body["response_format"] = response_format_of(body["response_format"])
    if body:
        shaping["extra_body"] = {**sampling.extra_body, **body}
    try:
        shaped = replace(sampling, **shaping)
    except (TypeError, ValueError) as problem:
        raise ConfigError(str(problem)) from problem
    return Arguments(
        sampling=shaped,
        tools=wire_tools(given.get("tools", ())),
        tool_choice=wire_tool_choice(given.get("tool_choice")),
        unkeyed_body=_only(given, _UNKEYED),
        of_call=_only(given, _OF_CALL),
    )


def _only(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return some of the values, in their own order: sets have another one in each process."""
    return {name: value for name, value in values.items() if name in names}


def _without(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _check(given: Mapping[str, Any]) -> None:
    for name, reason in _only(REFUSED_ARGUMENTS, given).items():
        raise ConfigError(f"a BudgetedChatModel does not take `{name}`: {reason}")
    for name, value in given.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if name in _WHOLE_NUMBERS and not (is_number and isinstance(value, int)):
            raise ConfigError(f"{name} is a whole number, got {value!r:.40}")
        if name in _NUMBERS and not (is_number and isfinite(value)):
            raise ConfigError(f"{name} is a finite number, got {value!r:.40}")
        if name in _LISTS and not isinstance(value, Sequence):
            raise ConfigError(f"{name} is a list, got {value!r:.40}")
        if name in _TIMES and not (is_number and not isnan(value)):
            raise ConfigError(f"{name} is a number of seconds, got {value!r:.40}")
    if "audio" in given.get("modalities", ()):
        raise ConfigError(
            f"a BudgetedChatModel does not take modality audio: {REFUSED_ARGUMENTS['audio']}"
        )
    if unknown := given.keys() - KNOWN_ARGUMENTS:
        raise ConfigError(
            f"a BudgetedChatModel does not take the arguments {sorted(unknown)}; it takes "
            f"{sorted(KNOWN_ARGUMENTS - _IGNORED)}. A field that only one endpoint has goes into "
            "extra_body"
        )


def wire_tools(
    tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
    *,
    strict: bool | None = None,
) -> tuple[dict[str, Any], ...]:
    """Return tools, in any form that LangChain takes, in the OpenAI wire format.

    Raises:
        ConfigError: for a tool that the provider runs, or that takes no JSON arguments.
    """
    for tool in tools:
        kind = tool.get("type", "function") if isinstance(tool, dict) else "function"
        # A JSON schema of an object has a type as well.
        if kind not in {"function", "object"}:
            raise ConfigError(
                f"a tool of type {kind!r} is not taken: what the provider runs is in no usage, "
                "and other answers than function calls are not read. Bind a function"
            )
    try:
        return tuple(convert_to_openai_tool(tool, strict=strict) for tool in tools)
    except (TypeError, ValueError) as problem:
        raise ConfigError(f"a tool that cannot be described as a function: {problem}") from problem


def wire_tool_choice(
    choice: str | Mapping[str, Any] | bool | None,
) -> str | Mapping[str, Any] | None:
    """Return which tool may or must be called, in the OpenAI wire format.

    Args:
        choice: `auto`, `none`, `any`, a tool's name, or the wire format; True means `any`.
    """
    if choice is True or choice == "any":
        return "required"
    if isinstance(choice, str) and choice not in {"auto", "none", "required"}:
        return {"type": "function", "function": {"name": choice}}
    return choice or None


def response_format_of(form: Any, *, strict: bool | None = None) -> dict[str, Any]:
    """Return a `response_format` of a request.

    Args:
        form: the wire format itself, a pydantic class, a TypedDict, or a JSON schema with
            a title.
        strict: whether the answer must fit exactly; None leaves it to the schema.

    Raises:
        ConfigError: when it is none of these.
    """
    if isinstance(form, Mapping) and form.get("type") in {"text", "json_object", "json_schema"}:
        return dict(form)
    if isinstance(form, type) and issubclass(form, BaseModel):
        return schema_format(form)
    try:
        function = convert_to_openai_function(form, strict=strict)
    except (TypeError, ValueError) as problem:
        raise ConfigError(f"a response_format that is no JSON schema: {problem}") from problem
    named = {
        "name": re.sub(r"[^A-Za-z0-9_-]", "_", function["name"])[:64],
        "schema": function.get("parameters", {}),
    }
    if strict is not None:
        named["strict"] = strict
    return {"type": "json_schema", "json_schema": named}
