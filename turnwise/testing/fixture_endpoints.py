"""Who answers a test's models, and that nothing is sent unless it was asked for."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from turnwise.calls import Client, Endpoint, Role
from turnwise.calls.client import OfflineClient
from turnwise.calls.endpoints import endpoints_from_settings
from turnwise.calls.errors import ConfigError
from turnwise.testing.turn_llm import TurnLLM

__all__ = ["FixtureEndpoints", "endpoint_for", "is_sender", "key_values", "played_endpoint"]

_SENDERS = ("turnwise.calls.openai_client", "turnwise.calls.langchain_client")
"""The modules of Turnwise's own clients that reach other machines."""

Recorded = Mapping[Role, tuple[str, str]]
"""Endpoint and model that answered each role in a recording."""


def endpoint_for(role: Role, given: Any, *, model: str, is_live: bool) -> Endpoint:
    """Return an endpoint for a role.

    Precedence: what the test gives; on a live run what the environment names
    (`TURNWISE_BASE_URL`, ...); the simulated model.

    Args:
        role: which role it serves.
        given: a client, an endpoint, a LangChain chat model, or None.
        model: name of the model there, for a client that is given.
        is_live: whether real endpoints may be asked.

    Raises:
        ConfigError: when it would send something and the run is not live, or cannot
            answer at all.
    """
    if given is None:
        return endpoints_from_settings({}, environ=os.environ if is_live else {})[role]
    client = given.client if isinstance(given, Endpoint) else given
    if not is_live:
        _refuse_sender(client)
    if isinstance(given, Endpoint):
        return given
    if isinstance(client, Client):
        return Endpoint(f"test-{role}", model, client)
    return Endpoint(f"test-{role}", model, _wrapped(client))


def played_endpoint(role: Role, given: Any, *, model: str, recorded: Recorded) -> Endpoint:
    """Return an endpoint for a role whose calls are all played. Nothing real is made or asked.

    Args:
        role: which role it serves.
        given: as in `endpoint_for`, or a function that makes it, which is not called.
        model: name of the model there.
        recorded: endpoint and model that answered each role in the recording.
    """
    if isinstance(given, Endpoint):
        return replace(given, client=OfflineClient())
    name, model = recorded.get(role, (f"test-{role}", model))
    return Endpoint(name, model, OfflineClient())


def _made(given: Any) -> Any:
    """Return what a test gives, or what the function that it gives makes."""
    is_made = isinstance(given, Endpoint | Client) or hasattr(given, "ainvoke")
    return given() if callable(given) and not is_made else given


def key_values() -> tuple[str, ...]:
    """Return the keys that the environment holds, so that they stay out of every error."""
    return tuple(value for name, value in os.environ.items() if name.endswith("_API_KEY") and value)


def is_sender(client: Any) -> bool:
    """Return whether a client is known to reach other machines.

    What a test wrote itself is taken at its word.
    """
    modules = [kind.__module__ for kind in type(client).__mro__]
    # langchain_openai and the rest; langchain_core has only fakes and base classes.
    package = modules[0].partition(".")[0]
    is_provider = package.startswith("langchain") and package != "langchain_core"
    return is_provider or any(module in _SENDERS for module in modules)


def _refuse_sender(client: Any) -> None:
    """Refuse a client that sends.

    Raises:
        ConfigError: when it does.
    """
    if is_sender(client):
        raise ConfigError(
            f"a {type(client).__name__} sends requests, and nothing is sent without "
            "--turnwise-live; give the test a simulated model (no client), a scripted one "
            "(turnwise.testing.fakes.ScriptedClient), or run pytest with --turnwise-live"
        )


def _wrapped(chat: Any) -> Client:
    """Return a LangChain chat model as a client.

    Raises:
        ConfigError: when it is none.
    """
    from langchain_core.language_models import BaseChatModel  # noqa: PLC0415 - it is heavy

    from turnwise.calls.langchain_client import LangChainClient  # noqa: PLC0415 - it is heavy

    if not isinstance(chat, BaseChatModel):
        raise ConfigError(
            f"client is a {type(chat).__name__}; give a turnwise Client or Endpoint, or a "
            "LangChain chat model"
        )
    return LangChainClient(chat)


class FixtureEndpoints:
    """Who answers which role in a test.

    Args:
        asker: what the test's models ask.
        is_live: whether real endpoints may be asked.

    Attributes:
        has_sender: whether one of them reaches other machines.
        is_recorded: whether every call is played from a recording, or recorded.
    """

    def __init__(self, asker: TurnLLM, *, is_live: bool) -> None:
        self._asker = asker
        self._is_live = is_live
        self._given: dict[Role, Any] = {}
        self._recorded: Recorded | None = None
        self.is_recorded = False
        self.has_sender = False

    @property
    def is_live(self) -> bool:
        """Whether calls vary by themselves. What is recorded is the same each time."""
        return self.has_sender and not self.is_recorded

    def record(self, recorded: Recorded | None) -> None:
        """Let every call be played or recorded.

        Args:
            recorded: who answered each role in the recording, where every call is played;
                None where what it lacks is asked and recorded.

        Raises:
            ConfigError: when a role has a client already.
        """
        if self._given:
            raise ConfigError(
                "a model was made before its cassette was named; call turnwise.cassette(...) first"
            )
        self.is_recorded, self._recorded = True, recorded

    def take(self, name: str, given: Any, *, model: str) -> Role:
        """Let something answer a role, and return the role; see `endpoint_for`.

        Args:
            name: the role's.
            given: who answers, or a function that makes it; None keeps who does already.
            model: name of the model there.

        Raises:
            ConfigError: when there is no such role, somebody else answers it, or it would
                send and may not.
        """
        try:
            role = Role(name)
        except ValueError:
            raise ConfigError(f"there is no role {name!r}; there are: {', '.join(Role)}") from None
        if role in self._given and (given is None or self._given[role] is given):
            return role
        if self._recorded is not None:
            endpoint = played_endpoint(role, given, model=model, recorded=self._recorded)
            sends = False
        else:
            made = _made(given)
            is_live = self._is_live or self.is_recorded
            endpoint = endpoint_for(role, made, model=model, is_live=is_live)
            # A chat model of LangChain is judged by itself, not by what wraps it.
            sends = is_sender(endpoint.client if isinstance(made, Endpoint | None) else made)
        self._asker.seat(role, endpoint)
        self._given[role] = given
        self.has_sender = self.has_sender or sends
        return role
