"""Endpoints of the pipeline: of its roles, and of the further models that its settings name."""

import os
from collections.abc import Mapping

from callwise.calls import Endpoint, Role
from callwise.calls.endpoint_settings import OPENAI_KEY_VARIABLE
from callwise.calls.role_endpoints import (
    EndpointSettings,
    endpoints_from_settings,
    models_from_settings,
)
from graph.settings import PipelineSettings

__all__ = ["endpoints_of", "secret_values"]

_DEFAULT_KEY_VARIABLE = "CALLWISE_API_KEY"


def endpoints_of(
    settings: PipelineSettings,
    *,
    environ: Mapping[str, str] | None = None,
    is_offline: bool = False,
) -> dict[str, Endpoint]:
    """Return the endpoint of each role, and of each further model by its name.

    Args:
        environ: environment variables; None takes the process's own.
        is_offline: no endpoint answers; no client is made, no code imported and no key read.

    Raises:
        ConfigError: when an endpoint is incomplete, or only a file names it; names the variable
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
    own: dict[str, Endpoint] = {role: endpoints[role] for role in endpoints}
    return own | dict(_models_of(settings, variables, is_offline=is_offline))


def _models_of(
    settings: PipelineSettings, environ: Mapping[str, str], *, is_offline: bool
) -> Mapping[str, Endpoint]:
    """Return the endpoints of further models, by name; raises as `endpoints_of` does."""
    if not settings.models:
        return {}
    return models_from_settings(
        {name: _seeded(each, settings.seed) for name, each in settings.models.items()},
        settings.endpoints,
        environ=environ,
        retry=settings.retry,
        trust=settings.trust,
        is_offline=is_offline,
    )


def _seeded(endpoint: EndpointSettings, seed: int) -> EndpointSettings:
    if endpoint.alternatives:
        alternatives = tuple(_seeded(each, seed) for each in endpoint.alternatives)
        endpoint = endpoint.model_copy(update={"alternatives": alternatives})
    if endpoint.kind != "simulated" or seed == 0 or "seed" in endpoint.simulated:
        return endpoint
    return endpoint.model_copy(update={"simulated": {**endpoint.simulated, "seed": seed}})


def secret_values(settings: PipelineSettings) -> list[str]:
    """Return the keys that are in use, so that they can be kept out of every error."""
    names = {_DEFAULT_KEY_VARIABLE, OPENAI_KEY_VARIABLE}
    served = (*settings.endpoints.values(), *settings.models.values())
    names |= {each.api_key_env for asked in served for each in asked.candidates}
    return [os.environ[name] for name in sorted(names) if os.environ.get(name)]
