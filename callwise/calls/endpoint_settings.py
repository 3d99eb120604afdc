"""The settings of one endpoint, as they are written in YAML. Never a key among them."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from callwise.calls.capabilities import Capabilities, SchemaMode, SystemRole, TokenLimitField
from callwise.calls.client import Prices
from callwise.calls.hosts import openai_url
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.retry import RetryPolicy

__all__ = [
    "OPENAI_KEY_VARIABLE",
    "EndpointSettings",
    "PriceSettings",
    "checked_base_url",
    "checked_extra_body",
    "environment_endpoints",
    "environment_url",
]

OPENAI_KEY_VARIABLE = "OPENAI_API_KEY"
"""Name of the key variable of OpenAI's own tools: the key for `openai_url`, and no other host."""

Usd = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]

_VARIABLE_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_LONGEST_WORD = 20
"""A name of a variable has an underscore before it gets longer than this; a key may not."""


_FIELDS_OF_A_CALL = frozenset(
    {"model", "messages", "input", "stream", "stream_options", "n", "response_format", "tools"}
)


def checked_extra_body(body: dict[str, Any]) -> dict[str, Any]:
    """Return further fields of a request's body.

    Raises:
        ValueError: when one of them would make another call of it than is counted.
    """
    taken = sorted(_FIELDS_OF_A_CALL.intersection(body))
    if taken:
        raise ValueError(f"{', '.join(taken)} cannot be set here: it belongs to each call")
    return body


def environment_endpoints(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return (variable, URL, variable of its key) of the endpoints that the environment names.

    Callwise's own first; then what OpenAI's own tools would ask, where one of their variables is
    set. An empty variable counts as not set.
    """
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    own, openai = "CALLWISE_BASE_URL", "OPENAI_BASE_URL"
    found = [(own, given[own], "CALLWISE_API_KEY")] if own in given else []
    if openai in given or OPENAI_KEY_VARIABLE in given:
        variable = openai if openai in given else OPENAI_KEY_VARIABLE
        found.append((variable, openai_url(given), OPENAI_KEY_VARIABLE))
    return found


def environment_url(environ: Mapping[str, str]) -> str:
    """Return the URL of the first endpoint that the environment names; empty where none is."""
    return next((url for _, url, _ in environment_endpoints(environ)), "")


def checked_base_url(url: str) -> str:
    """Return a base URL without its trailing slash.

    Raises:
        ValueError: when it is none, or carries what does not belong into it.
    """
    url = url.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("expected a URL, such as https://api.example.com/v1") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("expected a URL with http:// or https:// and a host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("expected a URL without user, password, query and fragment")
    return url


class PriceSettings(BaseModel):
    """Prices of an endpoint. See `Prices`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_usd_per_million: Usd
    """USD per million prompt tokens."""
    output_usd_per_million: Usd
    """USD per million answer tokens."""
    cached_usd_per_million: Usd | None = None
    """USD per million prompt tokens from the provider's cache; None: like any other."""

    def prices(self) -> Prices:
        """Return them as the budgeter reads them."""
        return Prices(**self.model_dump())


class EndpointSettings(BaseModel):
    """The endpoint of a role. A validation error never repeats what was given.

    What another role than `main` leaves out is what `main` has: see `role_endpoints`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    kind: Literal["openai", "openai_sdk", "langchain", "simulated"] = "openai"
    """`openai` is any OpenAI-compatible endpoint, `openai_sdk` the same through the `openai`
    package (slower; Azure's deployments), `langchain` any LangChain model."""
    base_url: Annotated[str, AfterValidator(checked_base_url)] | None = None
    """Up to and with the version. For `openai`; None takes `CALLWISE_BASE_URL`, else
    `OPENAI_BASE_URL`, else OpenAI's own where `OPENAI_API_KEY` is set."""
    model: str | None = None
    """The model's name there. None takes the role's environment variable."""
    api_key_env: str = "CALLWISE_API_KEY"
    """Name of the environment variable with the key. Never a key. Where this is not
    given, `OPENAI_API_KEY` serves its own host too."""
    api_version: Annotated[str, Field(pattern=r"^[\w.-]+$")] | None = None
    """For `openai_sdk`: version of Azure's interface, such as 2024-10-21, with the root of an
    Azure resource as `base_url` and a deployment as `model`. None for any other endpoint."""
    prices: PriceSettings | None = None
    """Its price list. None means unknown, which is not free."""
    timeout_seconds: Annotated[float, Field(gt=0.0, le=86_400.0)] | None = None
    """Longest time for one attempt, from asking to the last byte. None takes 600 on this
    machine and for LangChain models, and elsewhere 30 to 180 by purpose.
    `sampling.<purpose>.timeout_seconds` goes before it."""
    retry: RetryPolicy | None = None
    """Rules for a further attempt here; what is left out is as in `retry` of the run."""
    load: LoadKnobs | None = None
    """Its knobs of load; what is left out is as in `load` of the run."""
    alternatives: tuple["EndpointSettings", ...] = ()
    """Endpoints that may serve its calls in its place; see `load.route`. What one leaves out is
    what this endpoint has. Simulated only where this endpoint is."""
    weight: Annotated[float, Field(gt=0.0, le=1_000_000.0, allow_inf_nan=False)] = 1.0
    """Its share of the calls next to its alternatives, or as one of them."""
    schema_mode: SchemaMode | None = None
    """Way to request the form of an answer. None starts from what is known of the
    host, and learns from its refusals; so do the five below. For `openai`."""
    token_limit_field: TokenLimitField | None = None
    """Its name for the limit on output tokens. For `openai`."""
    system_role: SystemRole | None = None
    """Place of instructions: a system message, or the first user message. For `openai`."""
    refused: tuple[str, ...] | None = None
    """Request fields that are never sent, such as `temperature` or `logprobs`. For `openai`.
    A policy of `policies` never asks the model for `logprobs`, `tools`, `image_url` or
    `response_format` that are in it."""
    context_tokens: Annotated[int, Field(ge=1)] | None = None
    """Context length in tokens, prompt and answer together. For `openai`, and for `policies`."""
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    """Most output tokens that the model takes as a limit. For `openai`."""
    extra_body: Annotated[dict[str, Any], AfterValidator(checked_extra_body)] = {}
    """Further fields of every chat request that only this endpoint has.
    Part of each call's identity; `sampling.<purpose>.extra_body` goes before it."""
    max_connections: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Most connections at a time. For `openai`."""
    connect_seconds: Annotated[float, Field(gt=0.0, le=3_600.0, allow_inf_nan=False)] = 10.0
    """Longest time to make a connection. It is part of the attempt's. For `openai`."""
    keepalive_seconds: Annotated[float, Field(ge=0.0, le=86_400.0, allow_inf_nan=False)] = 15.0
    """Time that an idle connection is kept for later calls; 0 keeps none. For `openai`."""
    stream_idle_seconds: Annotated[float, Field(gt=0.0, le=86_400.0)] | None = None
    """Longest time without a byte of a streamed answer, once its headers came; then it counts as
    broken off, and what came is kept as evidence, not as an answer. None waits for the whole
    attempt. For `openai`."""
    max_answer_bytes: Annotated[int, Field(ge=1024, le=2**31)] = 32 * 2**20
    """Longest answer that is read, unpacked, whole or streamed; each embedding may add 128 KiB.
    A longer one is a `BadResponse`. For `openai`."""
    langchain: str | None = None
    """For `langchain`: `module:name` of a chat model or embeddings, or of a function
    without arguments that makes one."""
    simulated: dict[str, Any] = {}
    """For `simulated`: the fields of `SimulatedSettings`."""

    @property
    def is_http(self) -> bool:
        """Whether it is asked over HTTP, with a base URL and a key."""
        return self.kind in {"openai", "openai_sdk"}

    def starting_capabilities(self, known: Capabilities) -> Capabilities:
        """Return what is known of a model's endpoint, with what is set by hand before it."""
        given = self.model_dump(include=set(Capabilities.model_fields), exclude_none=True)
        return Capabilities(**known.model_dump() | given)

    @property
    def candidates(self) -> "tuple[EndpointSettings, ...]":
        """Itself, and the endpoints that may serve its calls in its place."""
        return (self, *self.alternatives)

    @model_validator(mode="after")
    def _alternatives_have_none(self) -> Self:
        if any(each.alternatives for each in self.alternatives):
            raise ValueError(
                "an alternative cannot have alternatives: list them all in those of the endpoint "
                "that is asked first"
            )
        return self

    @model_validator(mode="after")
    def _version_is_of_the_sdk(self) -> Self:
        if self.api_version is not None and self.kind != "openai_sdk":
            raise ValueError(
                f"api_version is for endpoints of kind openai_sdk, not {self.kind}: "
                "set `kind` to openai_sdk, or leave `api_version` out"
            )
        return self

    @field_validator("api_key_env")
    @classmethod
    def _names_a_variable(cls, name: str) -> str:
        is_word_too_long = "_" not in name and len(name) > _LONGEST_WORD - 1
        if not _VARIABLE_NAME.fullmatch(name) or is_word_too_long:
            raise ValueError(
                "expected the name of an environment variable, such as CALLWISE_API_KEY "
                "(capitals, digits, underscores); a key itself is never written in settings"
            )
        return name
