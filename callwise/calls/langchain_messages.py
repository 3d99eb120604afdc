"""Messages, tool calls and usage, from Callwise's form to LangChain's and back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    InvalidToolCall,
    RemoveMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
    convert_to_openai_messages,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatResult

from callwise.calls.call import CallEnd, Message, Outcome
from callwise.calls.errors import ConfigError
from callwise.calls.pieces import Piece
from callwise.calls.reply import Reply, ReportedUsage, wire_logprobs

__all__ = [
    "Asked",
    "chat_result",
    "chunk_of_piece",
    "from_langchain",
    "last_chunk",
    "to_langchain",
    "tool_calls_to_wire",
    "usage_from_langchain",
]


def to_langchain(message: Message) -> BaseMessage:
    """Return a message as LangChain has it."""
    content: Any = [dict(part) for part in message.parts] or message.content
    if message.role == "system":
        return SystemMessage(content, name=message.name)
    if message.role == "user":
        return HumanMessage(content, name=message.name)
    if message.role == "tool":
        return ToolMessage(content, tool_call_id=message.tool_call_id or "", name=message.name)
    tool_calls, invalid = tool_calls_from_wire(message.tool_calls)
    return AIMessage(content, name=message.name, tool_calls=tool_calls, invalid_tool_calls=invalid)


def from_langchain(message: BaseMessage) -> Message:
    """Return a LangChain message as Callwise has it.

    Raises:
        ConfigError: when it carries something, or is something, that has no place in the
            OpenAI chat format.
    """
    tool_call_id = None
    match message:
        case AIMessage():
            # Its other parts (reasoning, tool calls) have another place or are left out.
            tool_calls = tool_calls_to_wire(message)
            return Message("assistant", str(message.text), tool_calls, name=message.name)
        case ToolMessage():
            role, tool_call_id = "tool", message.tool_call_id
        case SystemMessage():
            role = "system"
        case HumanMessage():
            role = "user"
        case ChatMessage() if message.role in _ROLES:
            role = _ROLES[message.role]
        case RemoveMessage():
            raise ConfigError(
                "a RemoveMessage changes a state and cannot be sent: let the state's reducer "
                "(`add_messages`) apply it before the model is asked"
            )
        case _:
            kind = f"a {type(message).__name__}"
            if isinstance(message, ChatMessage):
                kind += f" of role {message.role!r}"
            raise ConfigError(
                f"{kind} cannot be sent as a chat message: the roles are "
                "system, user, assistant and tool"
            )
    return Message(
        role,  # type: ignore[arg-type] # one of the roles, see above
        str(message.text),
        tool_call_id=tool_call_id,
        name=message.name,
        parts=_parts_of(message),
    )


_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
}
"""Roles of a ChatMessage, and what they are in the OpenAI chat format."""


def _parts_of(message: BaseMessage) -> tuple[Mapping[str, Any], ...]:
    """Return a message's content parts in the OpenAI wire format; none for text alone.

    Raises:
        ConfigError: when a part has no place in that format.
    """
    content = message.content
    if isinstance(content, str) or all(
        isinstance(part, str) or part.get("type") == "text" for part in content
    ):
        return ()
    return tuple(map(_wire_part, content))


_PARTS = frozenset({"text", "image_url", "input_audio", "file"})
"""Types of the content parts of a message in the OpenAI chat format."""


def _wire_part(part: str | dict[str, Any]) -> Mapping[str, Any]:
    """Return a content part in the OpenAI wire format.

    Raises:
        ConfigError: when it has no place in that format.
    """
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = part.get("type")
    given = {name: value for name, value in part.items() if value is not None}
    if kind == "image_url" and isinstance(part.get("image_url"), str):
        return {"type": "image_url", "image_url": {"url": part["image_url"]}}
    if kind in _PARTS and isinstance(part.get(kind), Mapping):
        return {"type": kind, kind: dict(part[kind])}
    if kind == "file" and "file_id" in given:
        return {"type": "file", "file": {"file_id": given["file_id"]}}
    try:
        [message] = convert_to_openai_messages([HumanMessage([given])], text_format="block")
        [wire] = message["content"]
    except (KeyError, TypeError, ValueError) as problem:
        raise ConfigError(
            f"a content part of type {kind!r} cannot be sent: {str(problem)[:200]}"
        ) from problem
    if wire.get("type") not in _PARTS:
        raise ConfigError(
            f"a content part of type {kind!r} cannot be sent: the parts of a chat message are "
            f"{', '.join(sorted(_PARTS))}"
        )
    return dict(wire)


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


def usage_from_langchain(metadata: UsageMetadata | None) -> ReportedUsage:
    """Return the usage that a LangChain message carries; unknown where it carries none."""
    if metadata is None:
        return ReportedUsage()
    return ReportedUsage(
        input_tokens=metadata["input_tokens"],
        output_tokens=metadata["output_tokens"],
        cached_tokens=metadata.get("input_token_details", {}).get("cache_read"),
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """Result of one invocation.

    Args:
        ends: how its askings ended, in order: repairs, and calls that were refused before
            the last one; empty where the LLM does not report them.
        final_under: the limit that made this the final answer; empty where none did.
    """

    reply: Reply
    ends: tuple[CallEnd, ...] = ()
    final_under: str = ""


def _billed(asked: Asked) -> ReportedUsage:
    """Return what an invocation was billed; unknown where its answer's usage is."""
    reply, ends = asked.reply, asked.ends
    if not ends:
        return reply.usage
    billed = [end.billed for end in ends]
    inputs = sum(usage.input_tokens or 0 for usage in billed)
    outputs = sum(usage.output_tokens or 0 for usage in billed)
    is_served = ends[-1].outcome is Outcome.SERVED
    if is_served and reply.usage.total_tokens is None and not inputs + outputs:
        return ReportedUsage()
    cached = sum(usage.cached_tokens or 0 for usage in billed)
    return ReportedUsage(
        inputs,
        outputs,
        cached_tokens=None if is_served and reply.usage.cached_tokens is None else cached,
        reasoning_tokens=reply.usage.reasoning_tokens if is_served else None,
    )


def _usage_metadata(asked: Asked) -> UsageMetadata | None:
    """Return the billed usage as LangChain has it, or None where a count is unknown."""
    usage = _billed(asked)
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    metadata = UsageMetadata(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
    )
    if usage.cached_tokens is not None:
        metadata["input_token_details"] = {"cache_read": usage.cached_tokens}
    if usage.reasoning_tokens is not None:
        metadata["output_token_details"] = {"reasoning": usage.reasoning_tokens}
    return metadata


def _response_metadata(asked: Asked) -> dict[str, Any]:
    reply = asked.reply
    logprobs = wire_logprobs(reply.token_logprobs)
    metadata: dict[str, Any] = {
        # Callbacks add usage up by this name; an answer may come without one.
        "model_name": reply.model or (asked.ends[-1].model if asked.ends else None),
        "finish_reason": reply.finish_reason,
        "system_fingerprint": reply.system_fingerprint or None,
        "logprobs": {"content": logprobs} if logprobs else None,
        "is_simulated": reply.is_simulated or None,
    }
    own: dict[str, Any] = {}
    if asked.ends:
        last, usage = asked.ends[-1], asdict(reply.usage)
        known = {name: value for name, value in usage.items() if value not in (None, "")}
        own = {"outcome": last.outcome.value, "sequence": last.sequence, "usage": known or None}
    own["final_answer_under"] = asked.final_under or None
    own = {name: value for name, value in own.items() if value is not None}
    metadata["callwise"] = own or None
    return {name: value for name, value in metadata.items() if value is not None}


def _additional(reply: Reply) -> dict[str, Any]:
    return {"reasoning_content": reply.reasoning_text} if reply.reasoning_text else {}


def chat_result(asked: Asked) -> ChatResult:
    """Return an answer as LangChain has it. The first choice has the usage and tool calls."""
    reply = asked.reply
    tool_calls, invalid = tool_calls_from_wire(reply.tool_calls)
    metadata = _response_metadata(asked)
    first = AIMessage(
        reply.text,
        tool_calls=tool_calls,
        invalid_tool_calls=invalid,
        usage_metadata=_usage_metadata(asked),
        response_metadata=metadata,
        additional_kwargs=_additional(reply),
    )
    shared = {name: value for name, value in metadata.items() if name != "logprobs"}
    others = [AIMessage(text, response_metadata=shared) for text in reply.choices[1:]]
    return ChatResult(generations=[ChatGeneration(message=each) for each in (first, *others)])


def chunk_of_piece(piece: Piece) -> AIMessageChunk:
    """Return one piece of a stream."""
    return AIMessageChunk(
        content=piece.text,
        tool_call_chunks=[
            tool_call_chunk(
                name=part["function"].get("name") or None,
                args=part["function"].get("arguments"),
                id=part.get("id") or None,
                index=part["index"],
            )
            for part in piece.tool_calls
        ],
    )


def last_chunk(asked: Asked) -> AIMessageChunk:
    """Return the last piece of a stream, which has everything but text and tool calls."""
    return AIMessageChunk(
        content="",
        usage_metadata=_usage_metadata(asked),
        response_metadata=_response_metadata(asked),
        additional_kwargs=_additional(asked.reply),
        chunk_position="last",
    )
