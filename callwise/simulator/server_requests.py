"""Checks of requests to the simulated server, with the types and limits of real servers."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

__all__ = ["problem_of_chat", "problem_of_chat_batch", "problem_of_embeddings"]

MAX_CHOICES = 128
MAX_TOOLS = 128
MAX_INPUTS = 2048
MAX_CONVERSATIONS = 256

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Penalty = Annotated[_Number, Field(ge=-2.0, le=2.0)]
_Limit = Annotated[int, Field(ge=1, le=10_000_000)]


class _Part(BaseModel):
    """Base of a request's parts: unknown fields are ignored, as by real servers."""

    model_config = ConfigDict(extra="allow", strict=True, hide_input_in_errors=True)


class _Content(_Part):
    type: str
    text: str | None = None


class _Message(_Part):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[_Content] | None = None


class _Function(_Part):
    name: Annotated[str, Field(min_length=1)]
    parameters: dict[str, JsonValue] | None = None


class _Tool(_Part):
    type: str
    function: _Function | None = None


class _Named(_Part):
    name: str


class _ToolChoice(_Part):
    function: _Named | None = None


class _Form(_Part):
    schema_: dict[str, JsonValue] | None = Field(default=None, alias="schema")


class _Format(_Part):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Form | None = None


class _StreamOptions(_Part):
    include_usage: bool | None = None


class _Chat(_Part):
    model: str | None = None
    messages: Annotated[list[_Message], Field(min_length=1)]
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    max_tokens: _Limit | None = None
    max_completion_tokens: _Limit | None = None
    temperature: Annotated[_Number, Field(ge=0.0, le=2.0)] | None = None
    top_p: Annotated[_Number, Field(ge=0.0, le=1.0)] | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[_Tool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: str | _ToolChoice | None = None
    response_format: _Format | None = None


class _ChatBatch(_Part):
    messages: Annotated[
        list[Annotated[list[_Message], Field(min_length=1)]],
        Field(min_length=1, max_length=MAX_CONVERSATIONS),
    ]
    n: Literal[1] | None = None
    stream: Literal[False] | None = None
    tools: None = None


class _Embeddings(_Part):
    model: str | None = None
    input: str | Annotated[list[str], Field(min_length=1, max_length=MAX_INPUTS)]
    encoding_format: Literal["float", "base64"] | None = None


def problem_of_chat(body: Mapping[str, Any]) -> str | None:
    """Return the first problem of a chat completion's body, or None."""
    return _problem(_Chat, body)


def problem_of_chat_batch(body: Mapping[str, Any]) -> str | None:
    """Return the first problem of a batch of chat completions, or None.

    As on vLLM's route `messages` is a list of conversations; there are no tools, no stream,
    and one choice per conversation.
    """
    problem = _problem(_ChatBatch, body)
    return problem or problem_of_chat({**body, "messages": body["messages"][0]})


def problem_of_embeddings(body: Mapping[str, Any]) -> str | None:
    """Return the first problem of an embeddings request's body, or None."""
    return _problem(_Embeddings, body)


def _problem(model: type[BaseModel], body: Mapping[str, Any]) -> str | None:
    try:
        model.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        return f"`{'.'.join(map(str, first['loc'][:6]))}`: {first['msg']}"
    return None
