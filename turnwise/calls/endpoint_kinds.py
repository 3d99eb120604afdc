"""The kinds of endpoint that settings can name. A new kind is one class, listed in `KINDS`."""

import hashlib
import importlib
import re
from collections.abc import Hashable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

import orjson
from pydantic import ValidationError

from turnwise.calls.client import Client, Endpoint
from turnwise.calls.endpoint_settings import (
    OPENAI_KEY_VARIABLE,
    EndpointSettings,
    checked_base_url,
    environment_url,
    openai_url,
)
from turnwise.calls.errors import ConfigError, MissingKey
from turnwise.calls.hosts import endpoint_name, is_this_machine
from turnwise.calls.known_endpoints import known_capabilities
from turnwise.calls.vocabulary import Role

__all__ = ["KINDS", "EndpointKind"]

LONG_TIMEOUT_SECONDS = 600.0
"""Longest time for one attempt at an endpoint on this machine, or at a LangChain model, where
nothing else is set: a model on a CPU may need minutes, and an answer that was cut is
computed again."""

SPEED_AND_FAULTS = frozenset(
    {
        "latency_scale",
        "latency_base_seconds",
        "latency_seconds_per_input_token",
        "latency_seconds_per_output_token",
        "latency_sigma",
        "error_rate_429",
        "error_rate_500",
        "timeout_rate",
        "cut_stream_rate",
        "retry_after_seconds",
        "timeout_seconds",
    }
)
"""Settings of the simulated model that do not change what it answers."""


class EndpointKind(Protocol):
    """One kind of endpoint: how its settings become a client with a name."""

    def endpoint(
        self,
        role: Role,
        settings: EndpointSettings,
        environ: Mapping[str, str],
        clients: dict[Hashable, Client],
    ) -> Endpoint:
        """Return the endpoint that settings describe.

        Heavy libraries are imported in here, when the kind is used.

        Args:
            role: whom it serves; for error messages only, never part of its name.
            settings: of this kind.
            environ: environment variables, none of them empty.
            clients: the clients made so far, by what makes them different. Added to.

        Raises:
            ConfigError: when it cannot work.
        """
        ...


class OpenAIKind:
    """Any OpenAI-compatible endpoint. Named for its host."""

    def endpoint(
        self,
        role: Role,
        settings: EndpointSettings,
        environ: Mapping[str, str],
        clients: dict[Hashable, Client],
    ) -> Endpoint:
        """Return the endpoint; its URL comes from the environment where settings have none."""
        base_url = settings.base_url or _url_from(environ, role, settings)
        if settings.model is None:
            variable = "TURNWISE_EMBED_MODEL" if role is Role.EMBED else "TURNWISE_MODEL"
            raise ConfigError(
                f"the role {role} has an endpoint and no model: set the environment variable "
                f"{variable}, or `model` in its settings"
            )
        name = endpoint_name(base_url)
        api_key = _key_for(base_url, name, settings, environ)
        known, _ = known_capabilities(base_url, settings.model)
        capabilities = settings.starting_capabilities(known)
        sizes = (settings.max_connections, settings.max_answer_bytes)
        identity = ("openai", base_url, api_key, capabilities, sizes)
        if identity not in clients:
            from turnwise.calls.openai_client import OpenAIClient  # noqa: PLC0415 - heavy

            clients[identity] = OpenAIClient(
                base_url,
                api_key=api_key,
                capabilities=None if capabilities == known else capabilities,
                max_connections=settings.max_connections,
                max_answer_bytes=settings.max_answer_bytes,
            )
        is_local = is_this_machine(urlsplit(base_url).hostname or "")
        return _endpoint(
            name,
            settings.model,
            clients[identity],
            settings,
            default_timeout_seconds=LONG_TIMEOUT_SECONDS if is_local else None,
            key_variable=settings.api_key_env,
        )


class LangChainKind:
    """A LangChain chat model or embeddings, by import string. Named for its class."""

    def endpoint(
        self,
        role: Role,
        settings: EndpointSettings,
        environ: Mapping[str, str],  # noqa: ARG002 - LangChain models read it themselves
        clients: dict[Hashable, Client],
    ) -> Endpoint:
        """Return the endpoint; what the import string names is made once."""
        from langchain_core.embeddings import Embeddings  # noqa: PLC0415 - heavy
        from langchain_core.language_models import BaseChatModel  # noqa: PLC0415 - heavy

        from turnwise.calls.langchain_client import LangChainClient  # noqa: PLC0415 - heavy

        target = settings.langchain
        if target is None:
            raise ConfigError(
                f"the role {role} has an endpoint of kind `langchain`: set `langchain` in its "
                "settings to `module:name` of a chat model or embeddings"
            )
        identity = ("langchain", target)
        if identity not in clients:
            found = _imported(target)
            if not isinstance(found, BaseChatModel | Embeddings) and callable(found):
                found = found()
            if isinstance(found, BaseChatModel):
                clients[identity] = LangChainClient(found)
            elif isinstance(found, Embeddings):
                clients[identity] = LangChainClient(embeddings=found)
            else:
                raise ConfigError(
                    f"{target} is a {type(found).__name__}; expected a LangChain chat model or "
                    "embeddings, or a function without arguments that makes one"
                )
        client = clients[identity]
        name = "langchain-" + re.sub(r"[^A-Za-z0-9_.-]", "-", target)
        return _endpoint(
            name,
            settings.model or target,
            client,
            settings,
            default_timeout_seconds=LONG_TIMEOUT_SECONDS,
        )


class SimulatedKind:
    """The simulated model, in process. Always named `simulated`.

    Settings that change its answers stand in its model's name, because they are part
    of what a call is.
    """

    def endpoint(
        self,
        role: Role,
        settings: EndpointSettings,
        environ: Mapping[str, str],  # noqa: ARG002 - it needs nothing from outside
        clients: dict[Hashable, Client],
    ) -> Endpoint:
        """Return the endpoint; equal settings share one model."""
        from turnwise.calls.simulated import (  # noqa: PLC0415 - heavy
            SimulatedClient,
            SimulatedSettings,
        )

        try:
            options = SimulatedSettings.model_validate(settings.simulated)
        except ValidationError as error:
            raise ConfigError(f"the simulated endpoint of the role {role}: {error}") from error
        given = options.model_dump(mode="json", exclude_defaults=True)
        document = orjson.dumps(given, option=orjson.OPT_SORT_KEYS)
        identity = ("simulated", document)
        if identity not in clients:
            clients[identity] = SimulatedClient.from_settings(options)
        model = settings.model or "simulated"
        changed = {key: value for key, value in given.items() if key not in SPEED_AND_FAULTS}
        if changed:
            digest = hashlib.sha256(orjson.dumps(changed, option=orjson.OPT_SORT_KEYS))
            model = f"{model}-{digest.hexdigest()[:8]}"
        return _endpoint("simulated", model, clients[identity], settings)


KINDS: Mapping[str, EndpointKind] = {
    "openai": OpenAIKind(),
    "langchain": LangChainKind(),
    "simulated": SimulatedKind(),
}
"""Every kind, by its word in `EndpointSettings.kind`."""


def _endpoint(
    name: str,
    model: str,
    client: Client,
    settings: EndpointSettings,
    *,
    default_timeout_seconds: float | None = None,
    key_variable: str | None = None,
) -> Endpoint:
    """Return an endpoint with what all kinds have in common."""
    timeout_seconds = settings.timeout_seconds
    return Endpoint(
        name,
        model,
        client,
        prices=settings.prices.prices() if settings.prices is not None else None,
        retry=settings.retry,
        timeout_seconds=default_timeout_seconds if timeout_seconds is None else timeout_seconds,
        extra_body=settings.extra_body,
        key_variable=key_variable,
    )


def _url_from(environ: Mapping[str, str], role: Role, settings: EndpointSettings) -> str:
    found = environment_url(environ)
    if found is None and settings.model is not None:
        raise ConfigError(
            f"the role {role} has a model and no endpoint: set the environment variable "
            "TURNWISE_BASE_URL, or `base_url` in its settings"
        )
    if found is None:
        key = settings.api_key_env
        raise ConfigError(
            f"the role {role} has {'a key' if key in environ else 'settings'}, but neither an "
            "endpoint nor a model: set the environment variables TURNWISE_BASE_URL and "
            "TURNWISE_MODEL, or `base_url` and `model` in its settings"
        )
    variable, url = found
    try:
        return checked_base_url(url)
    except ValueError as error:
        raise ConfigError(f"the environment variable {variable}: {error}") from None


def _key_for(
    base_url: str, name: str, settings: EndpointSettings, environ: Mapping[str, str]
) -> str | None:
    """Return the key to send, or None where none is needed.

    A key that stands in the environment beside the URL of one host is not sent to
    another, unless the settings of that other host name its variable themselves. The key of
    OpenAI's own tools goes to the host that they would ask.

    Raises:
        MissingKey: when the host needs a key and has none.
    """
    host = urlsplit(base_url).hostname or ""
    its_host = urlsplit(environ.get("TURNWISE_BASE_URL", base_url)).hostname
    is_for_it = "api_key_env" in settings.model_fields_set or host == its_host
    api_key = environ.get(settings.api_key_env) if is_for_it else None
    openai_key = environ.get(OPENAI_KEY_VARIABLE)
    openai_host = urlsplit(openai_url(environ)).hostname
    if api_key is None and "api_key_env" not in settings.model_fields_set and host == openai_host:
        api_key = openai_key
    if api_key is not None or is_this_machine(host):
        return api_key
    if not is_for_it:
        raise ConfigError(
            f"{settings.api_key_env} is the key for {its_host}: set `api_key_env` in the settings "
            f"of the endpoint {name} to the variable that holds its own key"
        )
    if openai_key is None or host == openai_host:
        raise MissingKey(name, settings.api_key_env)
    reason = f"; {OPENAI_KEY_VARIABLE} is the key for {openai_host}, and is not sent elsewhere"
    raise MissingKey(name, settings.api_key_env, reason)


def _imported(target: str) -> object:
    """Return what `module:name` names.

    Raises:
        ConfigError: when there is no such thing.
    """
    module_name, _, name = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"cannot import {target!r} (expected `module:name`): {error}") from error
