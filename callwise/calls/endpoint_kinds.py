"""The kinds of endpoint that settings can name. A new kind is one class, listed in `KINDS`."""

import hashlib
import importlib
import re
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import orjson
from pydantic import ValidationError

from callwise.calls.call import Role
from callwise.calls.client import Client, Endpoint, OfflineClient
from callwise.calls.endpoint_settings import (
    OPENAI_KEY_VARIABLE,
    EndpointSettings,
    checked_base_url,
    environment_url,
)
from callwise.calls.errors import ConfigError, MissingKey
from callwise.calls.hosts import endpoint_name, is_this_machine, known_capabilities, openai_url
from callwise.calls.trust import import_folder

if TYPE_CHECKING:
    from callwise.simulator import SimulatedSettings

__all__ = ["KINDS", "EndpointKind", "endpoint_of"]

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
    """One kind of endpoint: how its settings become a name, and a client.

    The name is made without the client, so that a replay imports nothing and reads no key.
    """

    is_simulated: bool
    """Whether its answers are."""

    def described(
        self, role: Role, settings: EndpointSettings, environ: Mapping[str, str], client: Client
    ) -> Endpoint:
        """Return the endpoint that settings describe, with a client behind it.

        Args:
            role: the role it serves; for error messages only, never part of its name.
            settings: of this kind.
            environ: environment variables, none of them empty.
            client: who sends.

        Raises:
            ConfigError: when it cannot work.
        """
        ...

    def client(
        self,
        role: Role,
        settings: EndpointSettings,
        environ: Mapping[str, str],
        clients: dict[Hashable, Client],
    ) -> Client:
        """Return the client that settings describe.

        Heavy libraries are imported in here, when the kind is used.

        Args:
            role: the role it serves; for error messages only.
            settings: of this kind.
            environ: environment variables, none of them empty.
            clients: the clients made so far, by what makes them different. Added to.

        Raises:
            ConfigError: when it cannot work.
        """
        ...


class OpenAIKind:
    """Any OpenAI-compatible endpoint, over our own client or the `openai` package's.

    Named for its host, whichever of the two asks it.
    """

    is_simulated = False

    def described(
        self, role: Role, settings: EndpointSettings, environ: Mapping[str, str], client: Client
    ) -> Endpoint:
        """Return the endpoint; its URL comes from the environment where settings have none."""
        base_url, model = _address(role, settings, environ)
        is_local = is_this_machine(urlsplit(base_url).hostname or "")
        return _endpoint(
            endpoint_name(base_url),
            model,
            client,
            settings,
            default_timeout_seconds=LONG_TIMEOUT_SECONDS if is_local else None,
            key_variable=settings.api_key_env,
        )

    def client(
        self,
        role: Role,
        settings: EndpointSettings,
        environ: Mapping[str, str],
        clients: dict[Hashable, Client],
    ) -> Client:
        """Return the client; roles with equal access share one."""
        base_url, model = _address(role, settings, environ)
        api_key = _key_for(base_url, endpoint_name(base_url), settings, environ)
        known, _ = known_capabilities(base_url, model)
        capabilities = settings.starting_capabilities(known)
        sizes = (settings.max_connections, settings.max_answer_bytes)
        identity = (settings.kind, base_url, api_key, capabilities, sizes, settings.api_version)
        if identity not in clients:
            clients[identity] = self._make(
                settings,
                base_url,
                api_key=api_key,
                capabilities=None if capabilities == known else capabilities,
                max_connections=settings.max_connections,
                max_answer_bytes=settings.max_answer_bytes,
            )
        return clients[identity]

    @staticmethod
    def _make(settings: EndpointSettings, base_url: str, **options: Any) -> Client:
        if settings.kind == "openai_sdk":
            from callwise.calls.openai_sdk import OpenAISdkClient  # noqa: PLC0415 - heavy

            return OpenAISdkClient(base_url, api_version=settings.api_version, **options)
        from callwise.calls.openai_http import OpenAIClient  # noqa: PLC0415 - heavy

        return OpenAIClient(base_url, **options)


class LangChainKind:
    """A LangChain chat model or embeddings, by import string. Named for its class."""

    is_simulated = False

    def described(
        self,
        role: Role,
        settings: EndpointSettings,
        environ: Mapping[str, str],  # noqa: ARG002 - LangChain models read it themselves
        client: Client,
    ) -> Endpoint:
        """Return the endpoint; nothing is imported."""
        target = _target(role, settings)
        name = "langchain-" + re.sub(r"[^A-Za-z0-9_.-]", "-", target)
        return _endpoint(
            name,
            settings.model or target,
            client,
            settings,
            default_timeout_seconds=LONG_TIMEOUT_SECONDS,
        )

    def client(
        self,
        role: Role,
        settings: EndpointSettings,
        environ: Mapping[str, str],  # noqa: ARG002 - LangChain models read it themselves
        clients: dict[Hashable, Client],
    ) -> Client:
        """Return the client; what the import string names is made once."""
        from langchain_core.embeddings import Embeddings  # noqa: PLC0415 - heavy
        from langchain_core.language_models import BaseChatModel  # noqa: PLC0415 - heavy

        from callwise.calls.langchain_client import LangChainClient  # noqa: PLC0415 - heavy

        target = _target(role, settings)
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
        return clients[identity]


class SimulatedKind:
    """The simulated model, in process. Always named `simulated`.

    Settings that change its answers are in its model's name, because they are part
    of what a call is.
    """

    is_simulated = True

    def described(
        self,
        role: Role,
        settings: EndpointSettings,
        environ: Mapping[str, str],  # noqa: ARG002 - it needs nothing from outside
        client: Client,
    ) -> Endpoint:
        """Return the endpoint; its model's name has a digest of what changes its answers."""
        given = self._options(role, settings).model_dump(mode="json", exclude_defaults=True)
        model = settings.model or "simulated"
        changed = {key: value for key, value in given.items() if key not in SPEED_AND_FAULTS}
        if changed:
            digest = hashlib.sha256(orjson.dumps(changed, option=orjson.OPT_SORT_KEYS))
            model = f"{model}-{digest.hexdigest()[:8]}"
        return _endpoint("simulated", model, client, settings)

    def client(
        self,
        role: Role,
        settings: EndpointSettings,
        environ: Mapping[str, str],  # noqa: ARG002 - it needs nothing from outside
        clients: dict[Hashable, Client],
    ) -> Client:
        """Return the client; equal settings share one model."""
        from callwise.simulator import SimulatedClient  # noqa: PLC0415 - heavy

        options = self._options(role, settings)
        given = options.model_dump(mode="json", exclude_defaults=True)
        identity = ("simulated", orjson.dumps(given, option=orjson.OPT_SORT_KEYS))
        if identity not in clients:
            clients[identity] = SimulatedClient(options)
        return clients[identity]

    @staticmethod
    def _options(role: Role, settings: EndpointSettings) -> "SimulatedSettings":
        from callwise.simulator import SimulatedSettings  # noqa: PLC0415 - heavy

        try:
            return SimulatedSettings.model_validate(settings.simulated)
        except ValidationError as error:
            raise ConfigError(f"the simulated endpoint of the role {role}: {error}") from error


KINDS: Mapping[str, EndpointKind] = {
    "openai": OpenAIKind(),
    "openai_sdk": OpenAIKind(),
    "langchain": LangChainKind(),
    "simulated": SimulatedKind(),
}
"""Every kind, by its word in `EndpointSettings.kind`."""


def endpoint_of(
    role: Role,
    settings: EndpointSettings,
    environ: Mapping[str, str],
    clients: dict[Hashable, Client],
    *,
    is_offline: bool = False,
) -> Endpoint:
    """Return who serves a role.

    Args:
        role: the role it serves.
        settings: whole ones of any kind.
        environ: environment variables, none of them empty.
        clients: the clients made so far. Added to.
        is_offline: make no client, import nothing and read no key.

    Raises:
        ConfigError: when it cannot work.
    """
    kind = KINDS[settings.kind]
    if is_offline:
        return kind.described(role, settings, environ, OfflineClient(kind.is_simulated))
    return kind.described(role, settings, environ, kind.client(role, settings, environ, clients))


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


def _address(role: Role, settings: EndpointSettings, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return base URL and model.

    Raises:
        ConfigError: when one of them is missing; names what sets it.
    """
    base_url = settings.base_url or _url_from(environ, role, settings)
    if settings.model is None:
        variable = "CALLWISE_EMBED_MODEL" if role is Role.EMBED else "CALLWISE_MODEL"
        raise ConfigError(
            f"the role {role} has an endpoint and no model: set the environment variable "
            f"{variable}, or `model` in its settings"
        )
    return base_url, settings.model


def _target(role: Role, settings: EndpointSettings) -> str:
    if settings.langchain is None:
        raise ConfigError(
            f"the role {role} has an endpoint of kind `langchain`: set `langchain` in its "
            "settings to `module:name` of a chat model or embeddings"
        )
    return settings.langchain


def _url_from(environ: Mapping[str, str], role: Role, settings: EndpointSettings) -> str:
    found = environment_url(environ)
    if found is None and settings.model is not None:
        raise ConfigError(
            f"the role {role} has a model and no endpoint: set the environment variable "
            "CALLWISE_BASE_URL, or `base_url` in its settings"
        )
    if found is None:
        key = settings.api_key_env
        raise ConfigError(
            f"the role {role} has {'a key' if key in environ else 'settings'}, but neither an "
            "endpoint nor a model: set the environment variables CALLWISE_BASE_URL and "
            "CALLWISE_MODEL, or `base_url` and `model` in its settings"
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

    A key that the environment sets for the URL of one host is not sent to
    another, unless the settings of that other host name its variable themselves. The key of
    OpenAI's own tools goes to the host that they would ask.

    Raises:
        MissingKey: when the host needs a key and has none.
    """
    host = urlsplit(base_url).hostname or ""
    its_host = urlsplit(environ.get("CALLWISE_BASE_URL", base_url)).hostname
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
    import_folder()
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"cannot import {target!r} (expected `module:name`): {error}") from error
