"""Who answers a test's models, and that nothing is sent unless it was asked for."""

import os
from typing import Any

from turnwise.calls import Client, Endpoint, Role
from turnwise.calls.endpoints import endpoints_from_settings
from turnwise.calls.errors import ConfigError
from turnwise.testing.pytesting.asking import TurnAsker

__all__ = ["Seats", "endpoint_for", "is_sender", "key_values"]

_SENDERS = ("turnwise.calls.openai_client", "turnwise.calls.langchain_client")
"""The modules of Turnwise's own clients that reach other machines."""


def endpoint_for(role: Role, given: Any, *, model: str, is_live: bool) -> Endpoint:
    """Return an endpoint for a role.

    Precedence: what the test gives; on a live run what the environment names
    (`TURNWISE_BASE_URL`, ...); the simulated model.

    Args:
        role: whom it shall serve.
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
            "(turnwise.testing.clients.ScriptedClient), or run pytest with --turnwise-live"
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


class Seats:
    """Who answers which role in a test.

    Args:
        asker: what the test's models ask.
        is_live: whether real endpoints may be asked.

    Attributes:
        has_sender: whether one of them reaches other machines, so that calls may vary.
    """

    def __init__(self, asker: TurnAsker, *, is_live: bool) -> None:
        self._asker = asker
        self._is_live = is_live
        self._given: dict[Role, Any] = {}
        self.has_sender = False

    def take(self, name: str, given: Any, *, model: str) -> Role:
        """Let something answer a role, and return the role; see `endpoint_for`.

        Args:
            name: the role's.
            given: who answers; None keeps who does already.
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
        endpoint = endpoint_for(role, given, model=model, is_live=self._is_live)
        # A chat model of LangChain is judged by itself, not by what wraps it.
        judged = endpoint.client if given is None or isinstance(given, Endpoint) else given
        sends = is_sender(judged)
        self._asker.seat(role, endpoint)
        self._given[role] = given
        self.has_sender = self.has_sender or sends
        return role
