"""A call as an OpenAI-compatible chat request body, and a response body as a reply.

Shared by the HTTP client and the simulated model, so that a call means the same
whether it is answered over the network or in process.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from math import isfinite
from typing import Any

from turnwise.calls.call import Call, Message
from turnwise.calls.capabilities import SchemaMode, TokenLimitField
from turnwise.calls.errors import BadResponse, ContentRefused
from turnwise.calls.logprobs import read_token_logprobs
from turnwise.calls.reply import Reply, Usage, is_simulated_model
from turnwise.calls.schema import schema_format, schema_in_words

__all__ = [
    "chat_body",
    "embedding_body",
    "messages_with_schema",
    "reply_of_chat",
    "reply_of_embeddings",
]


def _wire_message(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        wire["tool_calls"] = [dict(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        wire["name"] = message.name
    return wire


def _sampling_fields(call: Call, token_limit_field: TokenLimitField) -> dict[str, Any]:
    sampling = call.sampling
    fields: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        token_limit_field: sampling.max_tokens,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        "n": sampling.n if sampling.n > 1 else None,
        "reasoning_effort": sampling.reasoning_effort,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "logprobs": True if sampling.top_logprobs is not None else None,
        "top_logprobs": sampling.top_logprobs,
    }
    return {name: value for name, value in fields.items() if value is not None}


def messages_with_schema(call: Call) -> tuple[Message, ...]:
    """Return a call's messages with the form of its answer asked for in words.

    The words stand at the end of the first system message, or before all others:
    many chat templates take one system message and only in first place, and the
    static text before the words stays a shared prefix.
    """
    if call.response_model is None:
        return call.messages
    words = schema_in_words(call.response_model)
    first = call.messages[0]
    if first.role != "system":
        return (Message("system", words), *call.messages)
    return (replace(first, content=f"{first.content}\n\n{words}"), *call.messages[1:])


def chat_body(
    call: Call,
    *,
    model: str,
    schema_mode: SchemaMode = "json_schema",
    token_limit_field: TokenLimitField = "max_tokens",  # noqa: S107 - a field's name
) -> dict[str, Any]:
    """Return the JSON body of a chat completion request.

    Args:
        call: a chat call.
        model: the model's name at the endpoint.
        schema_mode: how to ask for the response model's form.
        token_limit_field: what the endpoint calls `Sampling.max_tokens`.
    """
    messages = call.messages if schema_mode == "json_schema" else messages_with_schema(call)
    body: dict[str, Any] = {
        "model": model,
        "messages": [_wire_message(message) for message in messages],
        **_sampling_fields(call, token_limit_field),
    }
    if call.tools:
        body["tools"] = [dict(tool) for tool in call.tools]
        if call.tool_choice is not None:
            body["tool_choice"] = call.tool_choice
    if call.response_model is not None:
        if schema_mode == "json_schema":
            body["response_format"] = schema_format(call.response_model)
        elif schema_mode == "json_object":
            body["response_format"] = {"type": "json_object"}
    return body


def embedding_body(call: Call, *, model: str) -> dict[str, Any]:
    """Return the JSON body of an embeddings request for all of the call's inputs."""
    return {"model": model, "input": list(call.inputs), "encoding_format": "float"}


def _tokens(value: Any) -> int | None:
    """Return a token count, or None for whatever is not one."""
    is_count = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    return int(value) if is_count and value < float("inf") else None


def _usage(body: Mapping[str, Any]) -> Usage:
    usage = body.get("usage")
    if not isinstance(usage, Mapping):
        return Usage()
    details = usage.get("prompt_tokens_details")
    cached = _tokens(details.get("cached_tokens")) if isinstance(details, Mapping) else None
    if cached is None:
        cached = _tokens(usage.get("prompt_cache_hit_tokens"))  # DeepSeek's name for it
    cost = usage.get("cost")  # OpenRouter's
    return Usage(
        input_tokens=_tokens(usage.get("prompt_tokens")),
        output_tokens=_tokens(usage.get("completion_tokens")),
        cached_tokens=cached,
        usd=float(cost) if isinstance(cost, int | float) and cost >= 0 else None,
    )


def _text_of(content: Any) -> str:
    """Return a message's text, given as a string or as a list of typed parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, Mapping))
        return "".join(part for part in parts if isinstance(part, str))
    return ""


def _messages_of(body: Mapping[str, Any], latency_seconds: float) -> list[Mapping[str, Any]]:
    """Return the choices' messages in order.

    Raises:
        BadResponse: when there are none, or they are something else.
    """
    choices = body.get("choices")
    messages = (
        [choice.get("message") for choice in choices if isinstance(choice, Mapping)]
        if isinstance(choices, list)
        else []
    )
    whole = [message for message in messages if isinstance(message, Mapping)]
    if not whole or len(whole) != len(choices or ()):
        raise BadResponse(
            "expected a chat completion with `choices[].message`, "
            f"got an object with keys {sorted(map(str, body))[:8]}",
            latency_seconds=latency_seconds,
        )
    return whole


def reply_of_chat(body: Mapping[str, Any], *, latency_seconds: float) -> Reply:
    """Return the reply that a chat completion response carries.

    What a provider adds of its own (`reasoning_content` and the like) is left out.

    Raises:
        BadResponse: when the body is not a chat completion.
        ContentRefused: when the provider's filter, or the model, declined to answer.
    """
    messages = _messages_of(body, latency_seconds)
    if any(message.get("refusal") for message in messages):
        raise ContentRefused("the model declined to answer")
    finish_reason = body["choices"][0].get("finish_reason")
    if finish_reason == "content_filter":
        raise ContentRefused("the provider's content filter withheld the answer")
    texts = [_text_of(message.get("content")) for message in messages]
    tool_calls = messages[0].get("tool_calls")
    model = str(body.get("model") or "")
    return Reply(
        text=texts[0],
        choices=tuple(texts) if len(texts) > 1 else (),
        tool_calls=tuple(
            call
            for call in (tool_calls if isinstance(tool_calls, list) else ())
            if isinstance(call, Mapping) and isinstance(call.get("function"), Mapping)
        ),
        usage=_usage(body),
        model=model,
        finish_reason=str(finish_reason) if finish_reason is not None else None,
        latency_seconds=latency_seconds,
        is_simulated=is_simulated_model(model),
        token_logprobs=read_token_logprobs(body["choices"][0].get("logprobs")),
    )


def reply_of_embeddings(
    body: Mapping[str, Any], *, latency_seconds: float, expected: int | None = None
) -> Reply:
    """Return the reply that an embeddings response carries, vectors in input order.

    Args:
        body: the response.
        latency_seconds: time that the attempt took.
        expected: how many vectors were asked for; None takes any number but 0.

    Raises:
        BadResponse: when the body is not an embeddings response of that many finite vectors.
    """
    try:
        rows = sorted(body["data"], key=lambda row: row["index"])
        vectors = tuple(tuple(float(value) for value in row["embedding"]) for row in rows)
    except (KeyError, TypeError, ValueError) as error:
        raise BadResponse(
            f"expected embeddings with `data[].index` and `data[].embedding`: {error!r}",
            latency_seconds=latency_seconds,
        ) from error
    is_count_right = bool(vectors) if expected is None else len(vectors) == expected
    if not is_count_right or not all(map(isfinite, chain.from_iterable(vectors))):
        raise BadResponse(
            f"expected {expected or 'some'} embeddings of finite numbers, got {len(vectors)}",
            latency_seconds=latency_seconds,
        )
    usage = _usage(body)
    model = str(body.get("model") or "")
    return Reply(
        text="",
        vectors=vectors,
        # An embedding has no output, and servers leave its count out.
        usage=replace(usage, output_tokens=usage.output_tokens or 0),
        model=model,
        latency_seconds=latency_seconds,
        is_simulated=is_simulated_model(model),
    )
