"""A reply as LangChain has it: whole, or in the pieces of a stream.

The usage on a message is what its invocation was billed, by the ledger: 0 for an answer that
was cached, shared or replayed, so that callbacks which add up usage come to the ledger's sum.
What the answer used when it was made is in `response_metadata["turnwise"]`.
"""

from dataclasses import asdict, dataclass
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatResult

from turnwise.calls.langchain_messages import tool_calls_from_wire, usage_to_langchain
from turnwise.calls.listener import CallEnd, Piece
from turnwise.calls.logprobs import wire_logprobs
from turnwise.calls.reply import Reply, Usage
from turnwise.calls.vocabulary import Outcome

__all__ = ["Asked", "chat_result", "chunk_of_piece", "last_chunk"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of one invocation.

    Args:
        reply: the answer.
        ends: how its askings ended, in order: repairs, and calls that were refused before
            the last one; empty where the asker does not tell.
        final_under: the limit that made this the final answer; empty where none did.
    """

    reply: Reply
    ends: tuple[CallEnd, ...] = ()
    final_under: str = ""


def _billed(asked: Asked) -> Usage:
    """Return what an invocation was billed; unknown where its answer's usage is."""
    reply, ends = asked.reply, asked.ends
    if not ends:
        return reply.usage
    billed = [end.billed for end in ends]
    inputs = sum(usage.input_tokens or 0 for usage in billed)
    outputs = sum(usage.output_tokens or 0 for usage in billed)
    is_served = ends[-1].outcome is Outcome.SERVED
    if is_served and reply.usage.total_tokens is None and not inputs + outputs:
        return Usage()
    cached = sum(usage.cached_tokens or 0 for usage in billed)
    return Usage(
        inputs,
        outputs,
        cached_tokens=None if is_served and reply.usage.cached_tokens is None else cached,
        reasoning_tokens=reply.usage.reasoning_tokens if is_served else None,
    )


def _usage_metadata(asked: Asked) -> UsageMetadata | None:
    return usage_to_langchain(_billed(asked))


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
    if asked.ends:
        known = {
            name: value for name, value in asdict(reply.usage).items() if value not in (None, "")
        }
        own = {
            "outcome": asked.ends[-1].outcome.value,
            "sequence": asked.ends[-1].sequence,
            "usage": known or None,
            "final_answer_under": asked.final_under or None,
        }
        metadata["turnwise"] = {name: value for name, value in own.items() if value is not None}
    elif asked.final_under:
        metadata["turnwise"] = {"final_answer_under": asked.final_under}
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
