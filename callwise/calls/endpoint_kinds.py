"""The kinds of endpoint that settings can name. A new kind is one class, listed in `KINDS`."""

import hashlib
import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import orjson
from pydantic import ValidationError

from callwise.calls.call import Role
from callwise.calls.capabilities import Capabilities
from callwise.calls.client import Client, Endpoint, OfflineClient
from callwise.calls.endpoint_settings import (
    OPENAI_KEY_VARIABLE,
    EndpointSettings,
    checked_base_url,
    environment_endpoints,
)
from callwise.calls.errors import ConfigError, MissingKey
from callwise.calls.hosts import endpoint_name, is_this_machine, known_capabilities, openai_url
from callwise.calls.reply import SIMULATED_ENDPOINT
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


Clients = dict[Hashable, Client]
"""The clients made so far, by what makes them different. Roles with equal access share one."""


class EndpointKind(ABC):
    """One kind of endpoint: how settings become a name, and a client.

    The name is made without the client, so that a replay imports nothing and reads no key.

    Args:
        name: role that it serves, or name that calls give as their `model`; for error messages
            only, never part of its name.
        settings: whole ones of this kind.
        environ: environment variables, none of them empty.
    """

    is_simulated: ClassVar[bool] = False
    """Whether its answers are."""

    def __init__(self, name: str, settings: EndpointSettings, environ: Mapping[str, str]) -> None:
        self.served = f"the {'role' if name in tuple(Role) else 'model'} {name}"
        self.is_for_embeddings = name == Role.EMBED
        self.settings = settings
        self.environ = environ

    @abstractmethod
    def described(self, client: Client) -> Endpoint:
        """Return the endpoint, with a client behind it.

        Raises:
            ConfigError: when it cannot work.
        """

    @abstractmethod
    def client(self, clients: Clients) -> Client:
        """Return the client, which is one of `clients` or added to them.

        Heavy libraries are imported in here, when the kind is used.

        Raises:
            ConfigError: when it cannot work.
        """

    def _endpoint(
        self,
        name: str,
        model: str,
        client: Client,
        *,
        default_timeout_seconds: float | None = None,
        key_variable: str | None = None,
        known: Capabilities | None = None,
    ) -> Endpoint:
        """Return an endpoint with the settings that all kinds have."""
        settings, timeout_seconds = self.settings, self.settings.timeout_seconds
        return Endpoint(
            name,
            model,
            client,
            prices=settings.prices.prices() if settings.prices is not None else None,
            retry=settings.retry,
            load=settings.load,
            weight=settings.weight,
            timeout_seconds=default_timeout_seconds if timeout_seconds is None else timeout_seconds,
            extra_body=settings.extra_body,
            key_variable=key_variable,
            capabilities=settings.starting_capabilities(known or Capabilities()),
        )


class OpenAIKind(EndpointKind):
    """Any OpenAI-compatible endpoint, over our own client or the `openai` package's.

    Named for its host, whichever of the two is used. Its URL comes from the environment where
    settings have none.
    """

    def described(self, client: Client) -> Endpoint:
        """Return the endpoint."""
        base_url, model = self._address()
        is_local = is_this_machine(urlsplit(base_url).hostname or "")
        return self._endpoint(
            endpoint_name(base_url),
            model,
            client,
            default_timeout_seconds=LONG_TIMEOUT_SECONDS if is_local else None,
            key_variable=self.settings.api_key_env,
            known=known_capabilities(base_url, model)[0],
        )

    def client(self, clients: Clients) -> Client:
        """Return the client."""
        settings = self.settings
        base_url, model = self._address()
        api_key = self._key_for(base_url)
        known, _ = known_capabilities(base_url, model)
        capabilities = settings.starting_capabilities(known)
        options: dict[str, Any] = {
            "api_key": api_key,
            "capabilities": None if capabilities == known else capabilities,
            "max_connections": settings.max_connections,
            "connect_seconds": settings.connect_seconds,
            "keepalive_seconds": settings.keepalive_seconds,
            "stream_idle_seconds": settings.stream_idle_seconds,
            "max_answer_bytes": settings.max_answer_bytes,
        }
        if settings.kind == "openai_sdk":
            options["api_version"] = settings.api_version
        identity = (settings.kind, base_url, capabilities, *options.values())
        if identity not in clients:
            if settings.kind == "openai_sdk":
                from callwise.calls.openai_sdk import OpenAISdkClient  # noqa: PLC0415 - heavy

                clients[identity] = OpenAISdkClient(base_url, **options)
            else:
                from callwise.calls.openai_http import OpenAIClient  # noqa: PLC0415 - heavy

                clients[identity] = OpenAIClient(base_url, **options)
        return clients[identity]

    def _address(self) -> tuple[str, str]:
        """Return base URL and model.

        Raises:
            ConfigError: when one of them is missing; names what sets it.
        """
        settings = self.settings
        base_url = settings.base_url or self._url_of_environment()
        if settings.model is None:
            variable = "CALLWISE_EMBED_MODEL" if self.is_for_embeddings else "CALLWISE_MODEL"
            raise ConfigError(
                f"{self.served} has an endpoint and no model: set the environment variable "
                f"{variable}, or `model` in its settings"
            )
        return base_url, settings.model

    def _url_of_environment(self) -> str:
        for variable, url, _ in environment_endpoints(self.environ):
            try:
                return checked_base_url(url)
            except ValueError as error:
                raise ConfigError(f"the environment variable {variable}: {error}") from None
        if self.settings.model is not None:
            raise ConfigError(
                f"{self.served} has a model and no endpoint: set the environment variable "
                "CALLWISE_BASE_URL, or `base_url` in its settings"
            )
        given = "a key" if self.settings.api_key_env in self.environ else "settings"
        raise ConfigError(
            f"{self.served} has {given}, but neither an "
            "endpoint nor a model: set the environment variables CALLWISE_BASE_URL and "
            "CALLWISE_MODEL, or `base_url` and `model` in its settings"
        )

    def _key_for(self, base_url: str) -> str | None:
        """Return the key to send, or None where none is needed.

        A key that the environment sets for the URL of one host is not sent to
        another, unless the settings of that other host name its variable themselves. The key of
        OpenAI's own tools goes to the host that they would ask.

        Raises:
            MissingKey: when the host needs a key and has none.
        """
        environ, variable = self.environ, self.settings.api_key_env
        is_named = "api_key_env" in self.settings.model_fields_set
        host = urlsplit(base_url).hostname or ""
        its_host = urlsplit(environ.get("CALLWISE_BASE_URL", base_url)).hostname
        is_for_it = is_named or host == its_host
        api_key = environ.get(variable) if is_for_it else None
        openai_key = environ.get(OPENAI_KEY_VARIABLE)
        openai_host = urlsplit(openai_url(environ)).hostname
        if api_key is None and not is_named and host == openai_host:
            api_key = openai_key
        if api_key is not None or is_this_machine(host):
            return api_key
        name = endpoint_name(base_url)
        if not is_for_it:
            raise ConfigError(
                f"{variable} is the key for {its_host}: set `api_key_env` in the settings "
                f"of the endpoint {name} to the variable that has its own key"
            )
        if openai_key is None or host == openai_host:
            raise MissingKey(name, variable)
        reason = f"; {OPENAI_KEY_VARIABLE} is the key for {openai_host}, and is not sent elsewhere"
        raise MissingKey(name, variable, reason)


class LangChainKind(EndpointKind):
    """A LangChain chat model or embeddings, by import string. Named for its class."""

    def described(self, client: Client) -> Endpoint:
        """Return the endpoint; nothing is imported."""
        target = self._target()
        name = "langchain-" + re.sub(r"[^A-Za-z0-9_.-]", "-", target)
        model = self.settings.model or target
        return self._endpoint(name, model, client, default_timeout_seconds=LONG_TIMEOUT_SECONDS)

    def client(self, clients: Clients) -> Client:
        """Return the client; what the import string names is made once."""
        from langchain_core.embeddings import Embeddings  # noqa: PLC0415 - heavy
        from langchain_core.language_models import BaseChatModel  # noqa: PLC0415 - heavy

        from callwise.calls.langchain_client import LangChainClient  # noqa: PLC0415 - heavy

        target = self._target()
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

    def _target(self) -> str:
        if self.settings.langchain is None:
            raise ConfigError(
                f"{self.served} has an endpoint of kind `langchain`: set `langchain` in its "
                "settings to `module:name` of a chat model or embeddings"
            )
        return self.settings.langchain


class SimulatedKind(EndpointKind):
    """The simulated model, in process. Always named `simulated`.

    Settings that change its answers are in its model's name, because they are part
    of what a call is.
    """

    is_simulated = True

    def described(self, client: Client) -> Endpoint:
        """Return the endpoint; its model's name has a digest of what changes its answers."""
        _, given = self._options()
        model = self.settings.model or "simulated"
        changed = {key: value for key, value in given.items() if key not in SPEED_AND_FAULTS}
        if changed:
            digest = hashlib.sha256(orjson.dumps(changed, option=orjson.OPT_SORT_KEYS))
            model = f"{model}-{digest.hexdigest()[:8]}"
        return self._endpoint(SIMULATED_ENDPOINT, model, client)

    def client(self, clients: Clients) -> Client:
        """Return the client; equal settings share one model."""
        from callwise.simulator import SimulatedClient  # noqa: PLC0415 - heavy

        options, given = self._options()
        identity = ("simulated", orjson.dumps(given, option=orjson.OPT_SORT_KEYS))
        if identity not in clients:
            clients[identity] = SimulatedClient(options)
        return clients[identity]

    def _options(self) -> tuple["SimulatedSettings", dict[str, Any]]:
        """Return the settings of the simulated model, and those that are not at their default."""
        from callwise.simulator import SimulatedSettings  # noqa: PLC0415 - heavy

        try:
            options = SimulatedSettings.model_validate(self.settings.simulated)
        except ValidationError as error:
            raise ConfigError(f"the simulated endpoint of {self.served}: {error}") from error
        return options, options.model_dump(mode="json", exclude_defaults=True)


KINDS: Mapping[str, type[EndpointKind]] = {
    "openai": OpenAIKind,
    "openai_sdk": OpenAIKind,
    "langchain": LangChainKind,
    "simulated": SimulatedKind,
}
"""Every kind, by its word in `EndpointSettings.kind`."""


def endpoint_of(
    name: str,
    settings: EndpointSettings,
    environ: Mapping[str, str],
    clients: Clients,
    *,
    is_offline: bool = False,
) -> Endpoint:
    """Return the endpoint of a role, or of another name; see `EndpointKind`.

    Args:
        is_offline: make no client, import nothing and read no key.

    Raises:
        ConfigError: when it cannot work.
    """
    kind = KINDS[settings.kind](name, settings, environ)
    client = OfflineClient(kind.is_simulated) if is_offline else kind.client(clients)
    return kind.described(client)


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
