"""`with_structured_output` of a `BudgetedChatModel`: an answer in the form of a schema."""

from operator import itemgetter
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.output_parsers import BaseOutputParser, JsonOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser
from langchain_core.runnables import (
    Runnable,
    RunnableConfig,
    RunnableLambda,
    RunnableMap,
    RunnablePassthrough,
)
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from turnwise.calls.errors import ConfigError, InvalidAnswer
from turnwise.calls.langchain_arguments import FORM_ARGUMENT, response_format_of
from turnwise.calls.structured import parse_answer

__all__ = ["fitting", "in_form", "parsed"]

_METHODS = ("function_calling", "json_schema", "json_mode")


def in_form(
    schema: Any, method: str | None, *, strict: bool | None
) -> tuple[dict[str, Any], BaseOutputParser[Any] | Runnable[Any, Any]]:
    """Return what to bind so that an answer has the form of a schema, and what reads it.

    Args:
        schema: a TypedDict or a JSON schema; None, for any object, under `json_mode` only.
        method: one of `function_calling`, which None is, `json_schema` and `json_mode`.
        strict: whether the answer must fit exactly; None leaves it to the endpoint.

    Raises:
        ConfigError: for another method, or a schema that is none.
    """
    if method not in {None, *_METHODS}:
        raise ConfigError(f"method is one of {', '.join(_METHODS)}; got {method!r}")
    if schema is None and method != "json_mode":
        raise ConfigError("with_structured_output needs a schema, but for method json_mode")
    seen = {"kwargs": {"method": method or _METHODS[0], "strict": strict}, "schema": schema}
    bound: dict[str, Any] = {"ls_structured_output_format": seen}
    if method == "json_mode":
        return {**bound, "response_format": {"type": "json_object"}}, JsonOutputParser()
    if method == "json_schema":
        form = response_format_of(schema, strict=strict)
        return {**bound, "response_format": form}, JsonOutputParser()
    tool = convert_to_openai_tool(schema, strict=strict)
    name = tool["function"]["name"]
    parser = JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
    return {**bound, "tools": [tool], "tool_choice": "required", FORM_ARGUMENT: True}, parser


def parsed(
    asking: Runnable[Any, AIMessage], parser: Runnable[Any, Any], *, include_raw: bool
) -> Runnable[Any, Any]:
    """Return a runnable that asks and reads; with `include_raw`, as LangChain's models do."""
    if not include_raw:
        return asking | parser
    read = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    unread = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=asking) | read.with_fallbacks([unread], exception_key="parsing_error")


def fitting(
    asking: Runnable[Any, AIMessage], schema: type[BaseModel], *, include_raw: bool
) -> Runnable[Any, dict[str, Any] | BaseModel]:
    """Return a runnable that asks with a response model and returns an instance of it."""

    def finish(message: AIMessage) -> dict[str, Any] | BaseModel:
        answer = parse_answer(str(message.text), schema)
        return _with_raw(message, answer, None) if include_raw else answer

    def failed(error: InvalidAnswer) -> dict[str, Any]:
        if not include_raw:
            raise error
        return _with_raw(AIMessage(error.text), None, error)

    def invoke(prompt: Any, config: RunnableConfig) -> dict[str, Any] | BaseModel:
        try:
            return finish(asking.invoke(prompt, config))
        except InvalidAnswer as error:
            return failed(error)

    async def ainvoke(prompt: Any, config: RunnableConfig) -> dict[str, Any] | BaseModel:
        try:
            return finish(await asking.ainvoke(prompt, config))
        except InvalidAnswer as error:
            return failed(error)

    return RunnableLambda(invoke, ainvoke, name=f"structured_{schema.__name__}")


def _with_raw(
    raw: AIMessage, answer: BaseModel | None, error: InvalidAnswer | None
) -> dict[str, Any]:
    return {"raw": raw, "parsed": answer, "parsing_error": error}
