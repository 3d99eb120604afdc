"""What an OpenAI-compatible endpoint takes, and what a refusal teaches about it.

Capabilities start from the table of known endpoints or from settings, and change when
the endpoint refuses a request field. They decide how a call is put into a request body,
never what the call is: they are not part of its identity, and a replay needs none.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Capabilities", "SchemaMode", "SystemRole", "TokenLimitField"]

SchemaMode = Literal["json_schema", "json_object", "prompt"]
"""How an endpoint is told the form of an answer: by schema, by JSON mode, by words alone."""

TokenLimitField = Literal["max_tokens", "max_completion_tokens"]
"""Name of the limit on output tokens. OpenAI's newer models take the second only."""

SystemRole = Literal["system", "user"]
"""Where instructions go: a system message, or the beginning of the first user message."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one model at one endpoint takes.

    Args:
        schema_mode: the strongest way to ask for the form of an answer.
        token_limit_field: name of the limit on output tokens.
        system_role: where instructions go.
        refused: names of request fields that are never sent, such as `temperature`,
            `logprobs` or `stream_options`.
        context_tokens: context length, where known; prompt and answer together.
        max_output_tokens: longest answer that may be asked for, where known; a larger
            `max_tokens` is lowered to it.
    """

    schema_mode: SchemaMode = "json_schema"
    token_limit_field: TokenLimitField = "max_tokens"  # noqa: S105 - a field's name
    system_role: SystemRole = "system"
    refused: frozenset[str] = frozenset()
    context_tokens: int | None = None
    max_output_tokens: int | None = None
