"""Who answers each role of the pipeline; in a replay that must send nothing, nobody."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from graph.settings import Settings
from turnwise.calls import Call, CallError, Endpoint, Reply, Role
from turnwise.calls.endpoint_settings import OPENAI_KEY_VARIABLE
from turnwise.calls.endpoints import (
    MODEL_VARIABLES,
    EndpointSettings,
    endpoints_from_settings,
)
from turnwise.calls.errors import CassetteMiss

__all__ = ["endpoints_of", "secret_values"]

_DEFAULT_KEY_VARIABLE = "TURNWISE_API_KEY"


@dataclass(frozen=True, slots=True)
class _OfflineClient:
    """A client that sends nothing and answers nothing."""

    is_simulated: bool

    async def answer(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        on_sent: Callable[[int], None] | None = None,  # noqa: ARG002 - nothing is sent
    ) -> Sequence[Reply | CallError]:
        """Return an error for every call."""
        return [CassetteMiss(f"offline: nothing is sent to {model}") for _ in calls]

    async def aclose(self) -> None:
        """Do nothing: there is nothing to release."""


def _offline(endpoints: Mapping[Role, Endpoint]) -> dict[Role, Endpoint]:
    """Return the same endpoints, names and prices, with nobody behind them."""
    return {
        role: replace(endpoint, client=_OfflineClient(endpoint.client.is_simulated))
        for role, endpoint in endpoints.items()
    }


def endpoints_of(
    settings: Settings, *, environ: Mapping[str, str] | None = None, is_offline: bool = False
) -> dict[Role, Endpoint]:
    """Return who answers each role.

    Args:
        settings: the knobs.
        environ: environment variables; None takes the process's own.
        is_offline: nobody answers, and no key is needed.

    Raises:
        ConfigError: when an endpoint is not whole; names the variable to set.
    """
    variables = dict(os.environ if environ is None else environ)
    chosen = {
        role: _seeded(endpoint, settings.seed) for role, endpoint in settings.endpoints.items()
    }
    if not is_offline:
        return _seeded_default(settings, chosen, variables)
    # A key is part of no call's identity: a replay on a machine without one is the same.
    # The default one is set only beside an endpoint or a model: on its own it would ask for one.
    names = {each.api_key_env for each in chosen.values() if each.kind == "openai"}
    if any(map(variables.get, ("TURNWISE_BASE_URL", *MODEL_VARIABLES.values()))):
        names.add(_DEFAULT_KEY_VARIABLE)
    for name in names:
        variables.setdefault(name, "offline")
    return _offline(_seeded_default(settings, chosen, variables))


def _seeded_default(
    settings: Settings, chosen: Mapping[Role, EndpointSettings], environ: Mapping[str, str]
) -> dict[Role, Endpoint]:
    """Return the endpoints; where none is chosen, the simulated default takes the seed."""
    endpoints = endpoints_from_settings(chosen, environ=environ, retry=settings.retry)
    is_default = not chosen and all(each.client.is_simulated for each in endpoints.values())
    if is_default and settings.seed:
        default = _seeded(EndpointSettings(kind="simulated"), settings.seed)
        endpoints = endpoints_from_settings({Role.MAIN: default}, environ=environ)
    return dict(endpoints)


def _seeded(endpoint: EndpointSettings, seed: int) -> EndpointSettings:
    if endpoint.kind != "simulated" or seed == 0 or "seed" in endpoint.simulated:
        return endpoint
    return endpoint.model_copy(update={"simulated": {**endpoint.simulated, "seed": seed}})


def secret_values(settings: Settings) -> list[str]:
    """Return the keys that are in use, so that they can be kept out of every error."""
    names = {_DEFAULT_KEY_VARIABLE, OPENAI_KEY_VARIABLE}
    names |= {each.api_key_env for each in settings.endpoints.values()}
    return [os.environ[name] for name in sorted(names) if os.environ.get(name)]
