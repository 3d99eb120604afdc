"""Messages, tool calls and usage, from Turnwise's form to LangChain's and back."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    InvalidToolCall,
    SystemMessage,
    ToolCall,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata

from turnwise.calls.call import Message
from turnwise.calls.errors import ConfigError
from turnwise.calls.reply import Usage

__all__ = [
    "from_langchain",
    "to_langchain",
    "tool_calls_from_wire",
    "tool_calls_to_wire",
    "usage_from_langchain",
    "usage_to_langchain",
]


def to_langchain(message: Message) -> BaseMessage:
    """Return a message as LangChain has it."""
    if message.role == "system":
        return SystemMessage(message.content, name=message.name)
    if message.role == "user":
        return HumanMessage(message.content, name=message.name)
    if message.role == "tool":
        return ToolMessage(
            message.content, tool_call_id=message.tool_call_id or "", name=message.name
        )
    tool_calls, invalid = tool_calls_from_wire(message.tool_calls)
    return AIMessage(
        message.content, name=message.name, tool_calls=tool_calls, invalid_tool_calls=invalid
    )


def from_langchain(message: BaseMessage) -> Message:
    """Return a LangChain message as Turnwise has it.

    Raises:
        ConfigError: when it carries something that is not text, or has no place in the
            OpenAI chat format.
    """
    content = _text_of(message)
    name = message.name
    match message:
        case SystemMessage():
            return Message("system", content, name=name)
        case HumanMessage():
            return Message("user", content, name=name)
        case AIMessage():
            return Message("assistant", content, tool_calls_to_wire(message), name=name)
        case ToolMessage():
            return Message("tool", content, tool_call_id=message.tool_call_id, name=name)
        case ChatMessage(role="system" | "user" | "assistant" as role):
            return Message(role, content, name=name)
        case FunctionMessage() | _:
            raise ConfigError(f"a {type(message).__name__} cannot be sent as a chat message")


def _text_of(message: BaseMessage) -> str:
    if isinstance(message.content, list) and not isinstance(message, AIMessage):
        kinds = {part.get("type") for part in message.content if isinstance(part, dict)}
        if kinds - {"text"}:
            raise ConfigError(
                f"only text can be sent, got parts of type {sorted(map(str, kinds - {'text'}))}"
            )
    # An assistant's other parts (its reasoning, its tool calls) stand elsewhere or are left out.
    return str(message.text)


def tool_calls_from_wire(
    wire: Sequence[Mapping[str, Any]],
) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    """Return tool calls of the OpenAI wire format: those whose arguments parse, and the rest."""
    valid: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for call in wire:
        function = call.get("function") or {}
        name, call_id = str(function.get("name") or ""), str(call.get("id") or "")
        text = str(function.get("arguments") or "{}")
        try:
            arguments = json.loads(text, strict=False)
        except (ValueError, RecursionError) as error:
            arguments, problem = None, str(error)
        else:
            problem = "the arguments are not a JSON object"
        if isinstance(arguments, dict):
            valid.append(ToolCall(name=name, args=arguments, id=call_id, type="tool_call"))
        else:
            invalid.append(
                InvalidToolCall(
                    type="invalid_tool_call", name=name, args=text, id=call_id, error=problem
                )
            )
    return valid, invalid


def tool_calls_to_wire(message: AIMessage) -> tuple[dict[str, Any], ...]:
    """Return an assistant message's tool calls in the OpenAI wire format, invalid ones last."""
    named = [
        (call["id"], call["name"], json.dumps(call["args"], ensure_ascii=False))
        for call in message.tool_calls
    ]
    named += [
        (call["id"], call["name"] or "", call["args"] or "") for call in message.invalid_tool_calls
    ]
    return tuple(
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, name, arguments in named
    )


def usage_from_langchain(metadata: UsageMetadata | None) -> Usage:
    """Return the usage that a LangChain message carries; unknown where it carries none."""
    if metadata is None:
        return Usage()
    return Usage(
        input_tokens=metadata["input_tokens"],
        output_tokens=metadata["output_tokens"],
        cached_tokens=metadata.get("input_token_details", {}).get("cache_read"),
    )


def usage_to_langchain(usage: Usage) -> UsageMetadata | None:
    """Return a usage as LangChain has it, or None where a count is unknown."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    metadata = UsageMetadata(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
    )
    if usage.cached_tokens is not None:
        metadata["input_token_details"] = {"cache_read": usage.cached_tokens}
    return metadata
