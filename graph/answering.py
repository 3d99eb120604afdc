"""Who answers each role of the pipeline; in a replay that must send nothing, nobody."""

import os
from collections.abc import Mapping

from graph.settings import Settings
from turnwise.calls import Endpoint, Role
from turnwise.calls.endpoint_settings import OPENAI_KEY_VARIABLE
from turnwise.calls.endpoints import EndpointSettings, endpoints_from_settings

__all__ = ["endpoints_of", "secret_values"]

_DEFAULT_KEY_VARIABLE = "TURNWISE_API_KEY"


def endpoints_of(
    settings: Settings, *, environ: Mapping[str, str] | None = None, is_offline: bool = False
) -> dict[Role, Endpoint]:
    """Return who answers each role.

    Args:
        settings: the knobs.
        environ: environment variables; None takes the process's own.
        is_offline: nobody answers; no client is made, no code imported and no key read.

    Raises:
        ConfigError: when an endpoint is not whole, or only a file names it; names the variable
            or option to set.
    """
    variables = dict(os.environ if environ is None else environ)
    chosen = {
        role: _seeded(endpoint, settings.seed) for role, endpoint in settings.endpoints.items()
    }
    endpoints = endpoints_from_settings(
        chosen,
        environ=variables,
        retry=settings.retry,
        trust=settings.trust,
        is_offline=is_offline,
    )
    is_default = not chosen and all(each.client.is_simulated for each in endpoints.values())
    if is_default and settings.seed:
        default = {Role.MAIN: _seeded(EndpointSettings(kind="simulated"), settings.seed)}
        endpoints = endpoints_from_settings(default, environ=variables, is_offline=is_offline)
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
