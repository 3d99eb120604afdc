"""A call as an OpenAI-compatible chat request body, and a response body as a reply.

Shared by the HTTP client and the simulated model, so that a call means the same
whether it is answered over the network or in process.
"""

from collections.abc import Mapping
from typing import Any, Literal

import orjson

from turnwise.calls.call import Call, Message
from turnwise.calls.errors import BadResponse, ContentRefused
from turnwise.calls.key import response_schema
from turnwise.calls.reply import Reply, Usage

__all__ = ["SchemaMode", "chat_body", "embedding_body", "reply_of_chat", "reply_of_embeddings"]

SchemaMode = Literal["json_schema", "json_object", "prompt"]
"""How an endpoint is told the form of an answer: by schema, by JSON mode, by words alone."""

_UNSUPPORTED_KEYWORDS = frozenset({"default", "title", "examples"})


def _strict_schema(node: Any) -> Any:
    """Return the schema in the strict form: closed objects, every property required."""
    if isinstance(node, list):
        return [_strict_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    strict = {
        key: (
            {name: _strict_schema(value) for name, value in child.items()}
            if key in {"properties", "$defs"}
            else _strict_schema(child)
        )
        for key, child in node.items()
        if key not in _UNSUPPORTED_KEYWORDS
    }
    if strict.get("type") == "object" and "properties" in strict:
        strict["additionalProperties"] = False
        strict["required"] = list(strict["properties"])
    return strict


def _wire_message(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        wire["tool_calls"] = [dict(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        wire["name"] = message.name
    return wire


def _schema_in_words(call: Call) -> str:
    assert call.response_model is not None  # noqa: S101 - narrowed by the only caller
    schema = orjson.dumps(_strict_schema(response_schema(call.response_model))).decode()
    return (
        "Answer with one JSON object and nothing else: no code fence, no comment. "
        f"It must be valid against this JSON schema:\n{schema}"
    )


def _sampling_fields(call: Call) -> dict[str, Any]:
    sampling = call.sampling
    fields: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        "n": sampling.n if sampling.n > 1 else None,
        "reasoning_effort": sampling.reasoning_effort,
    }
    return {name: value for name, value in fields.items() if value is not None}


def chat_body(call: Call, *, model: str, schema_mode: SchemaMode = "json_schema") -> dict[str, Any]:
    """Return the JSON body of a chat completion request.

    Args:
        call: a chat call.
        model: the model's name at the endpoint.
        schema_mode: how to ask for the response model's form.
    """
    messages = [_wire_message(message) for message in call.messages]
    body: dict[str, Any] = {"model": model, "messages": messages, **_sampling_fields(call)}
    if call.tools:
        body["tools"] = [dict(tool) for tool in call.tools]
        if call.tool_choice is not None:
            body["tool_choice"] = call.tool_choice
    if call.response_model is not None:
        if schema_mode == "json_schema":
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": call.response_model.__name__,
                    "strict": True,
                    "schema": _strict_schema(response_schema(call.response_model)),
                },
            }
        else:
            # After the first system message, so that its static text stays a shared prefix.
            place = 1 if messages and messages[0]["role"] == "system" else 0
            messages.insert(place, {"role": "system", "content": _schema_in_words(call)})
            if schema_mode == "json_object":
                body["response_format"] = {"type": "json_object"}
    return body


def embedding_body(call: Call, *, model: str) -> dict[str, Any]:
    """Return the JSON body of an embeddings request for all of the call's inputs."""
    return {"model": model, "input": list(call.inputs), "encoding_format": "float"}


def _usage(body: Mapping[str, Any]) -> Usage:
    usage = body.get("usage")
    if not isinstance(usage, Mapping):
        return Usage()
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else None
    if cached is None:
        cached = usage.get("prompt_cache_hit_tokens")  # DeepSeek's name for it
    cost = usage.get("cost")  # OpenRouter's
    output = usage.get("completion_tokens")
    if output is None and usage.get("prompt_tokens") is not None:
        output = 0 if "total_tokens" in usage else None  # embeddings have no output
    return Usage(
        input_tokens=usage.get("prompt_tokens"),
        output_tokens=output,
        cached_tokens=cached,
        usd=float(cost) if isinstance(cost, int | float) else None,
    )


def reply_of_chat(body: Mapping[str, Any], *, latency_seconds: float) -> Reply:
    """Return the reply that a chat completion response carries.

    Raises:
        BadResponse: when the body is not a chat completion.
        ContentRefused: when the provider's filter, or the model, declined to answer.
    """
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise BadResponse(
            "expected a chat completion with `choices`, "
            f"got an object with keys {sorted(map(str, body))[:8]}",
            latency_seconds=latency_seconds,
        )
    texts: list[str] = []
    for choice in choices:
        message = choice.get("message") or {}
        if message.get("refusal"):
            raise ContentRefused("the model declined to answer")
        texts.append(message.get("content") or "")
    first = choices[0]
    if first.get("finish_reason") == "content_filter":
        raise ContentRefused("the provider's content filter withheld the answer")
    return Reply(
        text=texts[0],
        choices=tuple(texts) if len(texts) > 1 else (),
        tool_calls=tuple((first.get("message") or {}).get("tool_calls") or ()),
        usage=_usage(body),
        model=str(body.get("model") or ""),
        finish_reason=first.get("finish_reason"),
        latency_seconds=latency_seconds,
    )


def reply_of_embeddings(body: Mapping[str, Any], *, latency_seconds: float) -> Reply:
    """Return the reply that an embeddings response carries, vectors in input order.

    Raises:
        BadResponse: when the body is not an embeddings response.
    """
    data = body.get("data")
    try:
        rows = sorted(data or (), key=lambda row: row["index"])
        vectors = tuple(tuple(float(value) for value in row["embedding"]) for row in rows)
    except (KeyError, TypeError, ValueError) as error:
        raise BadResponse(
            f"expected embeddings with `data[].index` and `data[].embedding`: {error!r}",
            latency_seconds=latency_seconds,
        ) from error
    if not vectors:
        raise BadResponse("expected embeddings, got none", latency_seconds=latency_seconds)
    return Reply(
        text="",
        vectors=vectors,
        usage=_usage(body),
        model=str(body.get("model") or ""),
        latency_seconds=latency_seconds,
    )
