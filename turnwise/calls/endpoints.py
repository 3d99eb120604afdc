"""Which model serves which role: from settings, the environment, or the simulated default.

A role's settings win. What they leave open, and a role that has none, is filled from
the environment (`TURNWISE_BASE_URL`, `TURNWISE_MODEL`, `TURNWISE_API_KEY`, and a model
for a single role in `TURNWISE_JUDGE_MODEL`, `TURNWISE_FAST_MODEL`, `TURNWISE_EMBED_MODEL`),
then from the settings of `main`, and only where nothing real is set by the simulated
model: a conversation is never half simulated by accident. The role `embed` is left out
unless an embedding model is named, since a chat model cannot embed.

Keys stand in environment variables only. Nothing is sent, and nothing heavy imported,
before a client is needed.
"""

from collections.abc import Hashable, Mapping

from turnwise.calls.client import Client, Endpoint
from turnwise.calls.endpoint_kinds import KINDS
from turnwise.calls.endpoint_settings import EndpointSettings, PriceSettings
from turnwise.calls.errors import ConfigError
from turnwise.calls.vocabulary import Role

__all__ = ["EndpointSettings", "PriceSettings", "endpoints_from_settings"]

MODEL_VARIABLES: Mapping[Role, tuple[str, ...]] = {
    Role.MAIN: ("TURNWISE_MODEL",),
    Role.JUDGE: ("TURNWISE_JUDGE_MODEL", "TURNWISE_MODEL"),
    Role.FAST: ("TURNWISE_FAST_MODEL", "TURNWISE_MODEL"),
    Role.EMBED: ("TURNWISE_EMBED_MODEL",),
}
"""Where a role's model is looked up; the first that is set counts."""


def endpoints_from_settings(
    settings: Mapping[Role, EndpointSettings], *, environ: Mapping[str, str]
) -> Mapping[Role, Endpoint]:
    """Return who serves each role. Roles with equal access share one client.

    Args:
        settings: by role; roles may be missing.
        environ: environment variables. An empty one counts as not set.

    Raises:
        ConfigError: when something is missing or cannot work; it names the variable
            or setting. Nothing was sent.
        MissingKey: when a host other than this machine needs a key and has none.
    """
    environ = {name: value.strip() for name, value in environ.items() if value.strip()}
    clients: dict[Hashable, Client] = {}
    endpoints: dict[Role, Endpoint] = {}
    for role in Role:
        chosen = _settings_of(role, settings, environ)
        if chosen is not None:
            endpoints[role] = KINDS[chosen.kind].endpoint(role, chosen, environ, clients)
    return endpoints


def _settings_of(
    role: Role, settings: Mapping[Role, EndpointSettings], environ: Mapping[str, str]
) -> EndpointSettings | None:
    """Return the settings that serve a role, its model filled in, or None for nobody.

    Raises:
        ConfigError: when only other roles than `main` have settings, and it needs them.
    """
    variables = MODEL_VARIABLES[role]
    model = next((environ[name] for name in variables if name in environ), None)
    chosen, main = settings.get(role), settings.get(Role.MAIN)
    if chosen is not None:
        if chosen.model is None and chosen.kind == "openai":
            return chosen.model_copy(update={"model": model})
        return chosen
    is_in_environment = any(name in environ for name in ("TURNWISE_API_KEY", *variables))
    if "TURNWISE_BASE_URL" in environ or (main is None and is_in_environment):
        return EndpointSettings(model=model) if model or role is not Role.EMBED else None
    if main is not None:
        return _like_main(role, main, own_model=environ.get(variables[0]))
    if all(other.kind == "simulated" for other in settings.values()):
        return EndpointSettings(kind="simulated")
    if role is Role.EMBED:
        return None
    raise ConfigError(
        f"nobody serves the role {role}: give it settings, or `main`, or set the environment "
        f"variables TURNWISE_BASE_URL and {variables[0]}"
    )


def _like_main(
    role: Role, main: EndpointSettings, *, own_model: str | None
) -> EndpointSettings | None:
    """Return the settings of `main` for another role, with that role's own model if named."""
    if main.kind == "simulated":
        return main
    if own_model is not None and main.kind == "openai":
        return main.model_copy(update={"model": own_model, "prices": None})
    return main if role is not Role.EMBED else None
