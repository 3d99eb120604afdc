"""A reply as LangChain has it: whole, or in the pieces of a stream."""

from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatResult

from turnwise.calls.langchain_messages import tool_calls_from_wire, usage_to_langchain
from turnwise.calls.reply import Reply

__all__ = ["chat_result", "message_chunks"]


def _response_metadata(reply: Reply) -> dict[str, Any]:
    metadata = {
        "model_name": reply.model,
        "finish_reason": reply.finish_reason,
        "is_simulated": reply.is_simulated or None,
    }
    return {name: value for name, value in metadata.items() if value is not None}


def chat_result(reply: Reply) -> ChatResult:
    """Return a reply as LangChain has it. Usage and tool calls stand on the first choice."""
    tool_calls, invalid = tool_calls_from_wire(reply.tool_calls)
    first = AIMessage(
        reply.text,
        tool_calls=tool_calls,
        invalid_tool_calls=invalid,
        usage_metadata=usage_to_langchain(reply.usage),
        response_metadata=_response_metadata(reply),
    )
    others = [
        AIMessage(text, response_metadata=_response_metadata(reply)) for text in reply.choices[1:]
    ]
    return ChatResult(generations=[ChatGeneration(message=each) for each in (first, *others)])


def message_chunks(reply: Reply) -> list[AIMessageChunk]:
    """Return a reply as the pieces of a stream; the last one carries all but the text."""
    last = AIMessageChunk(
        content="",
        tool_call_chunks=[
            tool_call_chunk(
                name=call["function"]["name"],
                args=call["function"]["arguments"],
                id=call.get("id"),
                index=index,
            )
            for index, call in enumerate(reply.tool_calls)
        ],
        usage_metadata=usage_to_langchain(reply.usage),
        response_metadata=_response_metadata(reply),
        chunk_position="last",
    )
    texts = reply.chunks or ((reply.text,) if reply.text else ())
    return [*(AIMessageChunk(content=text) for text in texts), last]
