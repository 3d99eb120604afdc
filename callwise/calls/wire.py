"""A call as an OpenAI-compatible chat request body, and a response body as a reply.

Shared by the HTTP client and the simulated model, so that a call means the same
whether it is answered over the network or in process.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from math import isfinite
from typing import Any

from callwise.calls.call import Call, Message
from callwise.calls.capabilities import KEPT_FIELDS, TOKEN_LIMIT_FIELDS, Capabilities, SchemaMode
from callwise.calls.errors import BadRequest, BadResponse, ContentRefused
from callwise.calls.payload import body_bytes, member
from callwise.calls.reply import Reply, is_simulated_model, read_token_logprobs
from callwise.calls.reported_usage import known_usage, usage_of_body
from callwise.calls.schema import given_schema, schema_format, schema_prompt

__all__ = [
    "chat_body",
    "embedding_body",
    "encoded_body",
    "messages_with_schema",
    "reply_of_chat",
    "reply_of_embeddings",
    "sampling_fields",
]

TAKES_ALL = Capabilities()
"""Capabilities assumed where nothing is known: an endpoint that takes everything."""


def _wire_message(message: Message) -> dict[str, Any]:
    content = [dict(part) for part in message.parts] or message.content
    wire: dict[str, Any] = {"role": message.role, "content": content}
    if message.tool_calls:
        wire["tool_calls"] = [dict(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        wire["name"] = message.name
    return wire


def sampling_fields(call: Call, capabilities: Capabilities) -> dict[str, Any]:
    """Return the parameters of a call that are set, by their names in a request body."""
    sampling, refused, seed = call.sampling, capabilities.refused, call.sampling.seed
    if call.sample:
        # A proxy that caches by the request's bytes would give the first sample's answer again.
        seed = (seed or 0) + call.sample
    limit = sampling.max_tokens
    if limit is not None and capabilities.max_output_tokens is not None:
        limit = min(limit, capabilities.max_output_tokens)
    limit_fields = (capabilities.token_limit_field, *TOKEN_LIMIT_FIELDS)
    limit_field = next((name for name in limit_fields if name not in refused), limit_fields[0])
    has_logprobs = sampling.top_logprobs is not None and "logprobs" not in refused
    fields: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        limit_field: limit,
        "seed": seed,
        "stop": list(sampling.stop) or None,
        "n": sampling.n if sampling.n > 1 else None,
        "reasoning_effort": sampling.reasoning_effort,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "logprobs": True if has_logprobs else None,
        "top_logprobs": sampling.top_logprobs if has_logprobs else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def messages_with_schema(call: Call) -> tuple[Message, ...]:
    """Return a call's messages with the form of its answer asked for in a text.

    The text is at the end of the first system message, or before all others:
    many chat templates take one system message and only in first place, and the
    static text before the words stays a shared prefix.
    """
    form = call.response_model or given_schema(call.sampling.extra_body.get("response_format"))
    if form is None:
        return call.messages
    words = schema_prompt(form)
    first = call.messages[0]
    if first.role != "system":
        return (Message("system", words), *call.messages)
    return (first.followed_by(Message("system", words)), *call.messages[1:])


def _merged(messages: Sequence[Message]) -> Iterator[Message]:
    """Yield messages without system messages, for a model whose template takes none.

    Instructions go before the first user message, and messages of one role that now
    follow each other become one, since such templates want the roles to alternate.
    """
    instructions = [each for each in messages if each.role == "system"]
    rest = [each for each in messages if each.role != "system"]
    if not rest or rest[0].role != "user":
        rest = [Message("user", ""), *rest]
    last = Message("user", "", name=rest[0].name)
    for message in (*instructions, rest[0]):
        last = last.followed_by(message)
    for message in rest[1:]:
        is_plain = not (message.tool_calls or last.tool_calls or message.tool_call_id)
        if message.role == last.role and is_plain:
            last = last.followed_by(message)
            continue
        yield last
        last = message
    yield last


def _form(call: Call, schema_mode: SchemaMode) -> Mapping[str, Any] | None:
    given: Mapping[str, Any] | None = call.sampling.extra_body.get("response_format")
    if call.response_model is None and given_schema(given) is None:
        return given
    if schema_mode == "json_schema":
        return given if call.response_model is None else schema_format(call.response_model)
    return {"type": "json_object"} if schema_mode == "json_object" else None


def chat_body(call: Call, *, model: str, capabilities: Capabilities = TAKES_ALL) -> dict[str, Any]:
    """Return the JSON body of a chat completion request."""
    schema_mode = capabilities.schema_mode
    if "response_format" in capabilities.refused:
        schema_mode = "prompt"
    messages: Sequence[Message] = call.messages
    if schema_mode != "json_schema":
        messages = messages_with_schema(call)
    if capabilities.system_role == "user" and any(each.role == "system" for each in messages):
        messages = list(_merged(messages))
    body: dict[str, Any] = {
        **call.unkeyed_body,
        **call.sampling.extra_body,
        "model": model,
        "messages": [_wire_message(message) for message in messages],
        **sampling_fields(call, capabilities),
    }
    if call.tools:
        body["tools"] = [dict(tool) for tool in call.tools]
        if call.tool_choice is not None:
            body["tool_choice"] = call.tool_choice
    form = _form(call, schema_mode)
    if form is None:
        body.pop("response_format", None)
    else:
        body["response_format"] = form
    if call.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return _without_refused(body, capabilities)


def embedding_body(
    call: Call, *, model: str, capabilities: Capabilities = TAKES_ALL
) -> dict[str, Any]:
    """Return the JSON body of an embeddings request for all of the call's inputs."""
    body = {"model": model, "input": list(call.inputs), "encoding_format": "float"}
    return _without_refused(body, capabilities)


def encoded_body(body: Mapping[str, Any]) -> bytes:
    """Return a request body's bytes.

    Raises:
        BadRequest: when JSON cannot express it; nothing was sent.
    """
    try:
        return body_bytes(body)
    except TypeError as error:
        raise BadRequest(f"the call cannot be written as JSON: {error}", was_sent=False) from error


def _without_refused(body: dict[str, Any], capabilities: Capabilities) -> dict[str, Any]:
    refused = capabilities.refused - KEPT_FIELDS
    if not refused.intersection(body):
        return body
    return {name: value for name, value in body.items() if name not in refused}


def _text_of(content: Any) -> str:
    """Return a message's text, given as a string or as a list of typed parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (member(part, "text") if isinstance(part, dict) else part for part in content)
        return "".join(part for part in parts if isinstance(part, str))
    return ""


def _messages_of(body: Mapping[str, Any], latency_seconds: float) -> list[dict[str, Any]]:
    """Return the choices' messages in order.

    Raises:
        BadResponse: when there are none, or they are something else.
    """
    choices = body.get("choices")
    messages = (
        [member(choice, "message") for choice in choices] if isinstance(choices, list) else []
    )
    whole = [message for message in messages if isinstance(message, dict)]
    if not whole or len(whole) != len(choices or ()):
        raise BadResponse(
            "expected a chat completion with `choices[].message`, "
            f"got an object with keys {sorted(map(str, body))[:8]}",
            latency_seconds=latency_seconds,
        )
    return whole


def _answer_elsewhere(
    message: Mapping[str, Any], tool_calls: Sequence[Mapping[str, Any]], thoughts: str
) -> str:
    """Return an answer of a given form that is not in a message's text; empty without one.

    It may be the content, as an object; the arguments of the first tool call, or of the
    older function call; or the end of the thoughts.
    """
    function = tool_calls[0]["function"] if tool_calls else message.get("function_call")
    for value in (message.get("content"), member(function, "arguments")):
        if isinstance(value, Mapping):
            return json.dumps(value, ensure_ascii=False)
        if isinstance(value, str) and value.strip():
            return value
    return thoughts if "{" in thoughts else ""


def reply_of_chat(
    body: Mapping[str, Any],
    *,
    latency_seconds: float,
    is_structured: bool = False,
    chunks: tuple[str, ...] = (),
) -> Reply:
    """Return the reply that a chat completion response carries.

    Args:
        is_structured: whether an answer of a given form was asked for, and no tool
            offered. Some servers then put it where tool calls or thoughts belong, and
            leave the content empty: it is taken from there, but not from thoughts that
            the limit on tokens cut off.
        chunks: its texts, where it was streamed.

    Raises:
        BadResponse: when the body is not a chat completion.
        ContentRefused: when the provider's filter, or the model, declined to answer.
    """
    messages = _messages_of(body, latency_seconds)
    if any(message.get("refusal") for message in messages):
        raise ContentRefused("the model declined to answer")
    texts = [_text_of(message.get("content")) for message in messages]
    has_answer = [
        bool(text.strip() or message.get("tool_calls"))
        for text, message in zip(texts, messages, strict=True)
    ]
    best = has_answer.index(True) if True in has_answer else 0
    choice, message = body["choices"][best], messages[best]
    finish_reason = choice.get("finish_reason")
    if finish_reason == "content_filter":
        raise ContentRefused("the provider's content filter withheld the answer")
    given = message.get("tool_calls")
    tool_calls = tuple(
        call
        for call in (given if isinstance(given, list) else ())
        if isinstance(member(call, "function"), dict)
    )
    given_thoughts = (message.get(name) for name in ("reasoning_content", "reasoning"))
    thoughts = next((each for each in given_thoughts if isinstance(each, str) and each), "")
    if is_structured and not texts[best].strip():
        is_cut = finish_reason == "length"
        texts[best] = _answer_elsewhere(message, tool_calls, "" if is_cut else thoughts)
    usage = usage_of_body(body)
    if usage.output_tokens == 0 and (any(texts) or tool_calls):
        usage = replace(usage, output_tokens=None)  # the server does not count
    model = str(body.get("model") or "")
    return Reply(
        text=texts[best],
        choices=tuple(texts) if len(texts) > 1 else (),
        tool_calls=tool_calls,
        usage=usage,
        model=model,
        finish_reason=str(finish_reason) if finish_reason is not None else None,
        latency_seconds=latency_seconds,
        chunks=chunks,
        is_simulated=is_simulated_model(model),
        token_logprobs=read_token_logprobs(choice.get("logprobs")),
        reasoning_text=thoughts,
        system_fingerprint=str(body.get("system_fingerprint") or ""),
    )


def reply_of_embeddings(
    body: Mapping[str, Any], *, latency_seconds: float, expected: int | None = None
) -> Reply:
    """Return the reply that an embeddings response carries, vectors in input order.

    Args:
        expected: how many vectors were asked for; None takes any number but 0.

    Raises:
        BadResponse: when the body is not an embeddings response of that many finite vectors.
    """
    problem = ""
    vectors: tuple[tuple[float, ...], ...] = ()
    try:
        rows = sorted(body["data"], key=lambda row: row["index"])
        vectors = tuple(tuple(float(value) for value in row["embedding"]) for row in rows)
    except (KeyError, TypeError, ValueError) as error:
        problem = f"expected embeddings with `data[].index` and `data[].embedding`: {error!r}"
    else:
        is_count_right = bool(vectors) if expected is None else len(vectors) == expected
        lengths = sorted(set(map(len, vectors)))
        if not is_count_right or not all(map(isfinite, chain.from_iterable(vectors))):
            problem = (
                f"expected {expected or 'some'} embeddings of finite numbers, got {len(vectors)}"
            )
        elif lengths[0] == 0 or len(lengths) > 1:
            problem = f"expected embeddings of one length above 0, got lengths {lengths[:4]}"
    if problem:
        failure = BadResponse(problem, latency_seconds=latency_seconds)
        usage = known_usage(body)
        if usage is not None:
            failure.usage = replace(usage, output_tokens=usage.output_tokens or 0)
        raise failure
    usage = usage_of_body(body)
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
