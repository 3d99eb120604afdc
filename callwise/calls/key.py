"""The identity of a call: a digest of everything that can change its answer.

In: endpoint name, model, messages, inputs, tools, the schema that is sent, temperature,
top_p, n, max_tokens, seed, stop, reasoning effort, and the sample and repair index;
and, only where they are set, content parts, log-probabilities, penalties and extra body
fields. Out: what cannot change it (timeouts, streaming, leases, `unkeyed_body`, whether it
was speculative, who asked, whether it may share). Two calls with equal keys may share one
answer where `Call.is_shared`.
"""

import hashlib
from operator import attrgetter
from typing import Any, NewType

import orjson

from callwise.calls.call import Call, Message
from callwise.calls.schema import schema_digest

__all__ = ["KEY_VERSION", "CallKey", "call_key"]

CallKey = NewType("CallKey", str)
"""64 lower-case hexadecimal digits."""

KEY_VERSION = 2
"""Changes when the same call gets another key; recordings name it in their header."""


_FIELDS = attrgetter("role", "content", "tool_calls", "tool_call_id", "name", "parts")


def _message_identity(message: Message) -> list[Any]:
    role, content, tool_calls, tool_call_id, name, parts = _FIELDS(message)
    if not (tool_calls or tool_call_id or name or parts):
        return [role, content]
    identity = [role, content, list(tool_calls), tool_call_id, name]
    return [*identity, list(parts)] if parts else identity


def call_key(call: Call, *, endpoint: str, model: str) -> CallKey:
    """Return the identity of a call at an endpoint.

    Raises:
        TypeError: when JSON cannot express its tools, content parts or extra fields.
    """
    sampling = call.sampling
    document = [
        KEY_VERSION,
        endpoint,
        model,
        list(map(_message_identity, call.messages)),
        call.inputs,
        list(call.tools),
        call.tool_choice,
        schema_digest(call.response_model) if call.response_model else None,
        sampling.temperature,
        sampling.top_p,
        sampling.n,
        sampling.max_tokens,
        sampling.seed,
        sampling.stop,
        sampling.reasoning_effort,
        call.sample,
        call.repair,
    ]
    if sampling.top_logprobs is not None:
        document.append(["top_logprobs", sampling.top_logprobs])
    if sampling.presence_penalty is not None:
        document.append(["presence_penalty", sampling.presence_penalty])
    if sampling.frequency_penalty is not None:
        document.append(["frequency_penalty", sampling.frequency_penalty])
    if sampling.extra_body:
        document.append(["extra_body", dict(sampling.extra_body)])
    try:
        data = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        # Lone surrogates are legal in a Python string and illegal in UTF-8.
        data = repr(document).encode("utf-8", "backslashreplace")
    return CallKey(hashlib.sha256(data).hexdigest())
