"""Who the referee is: settings, then the environment, then the simulated model.

    TURNWISE_REFEREE_MODEL      the referee's model
    TURNWISE_REFEREE_BASE_URL   where it is served; TURNWISE_BASE_URL when not set
    TURNWISE_REFEREE_API_KEY    its key; TURNWISE_API_KEY when not set, and only for that
                                variable's own host

Where any real endpoint is set and no referee, that is an error: a real sweep is never
judged by a simulated model by accident.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from turnwise.calls.client import Endpoint
from turnwise.calls.endpoint_kinds import endpoint_of
from turnwise.calls.endpoint_settings import EndpointSettings, checked_base_url
from turnwise.calls.errors import ConfigError
from turnwise.calls.vocabulary import Role

__all__ = ["REFEREE_VARIABLES", "referee_endpoint", "referee_secrets", "same_model_notice"]

MODEL, BASE_URL, API_KEY = (
    "TURNWISE_REFEREE_MODEL",
    "TURNWISE_REFEREE_BASE_URL",
    "TURNWISE_REFEREE_API_KEY",
)
REFEREE_VARIABLES = (MODEL, BASE_URL, API_KEY)
"""The environment variables that are the referee's own."""

_SHARED = ("TURNWISE_BASE_URL", "TURNWISE_API_KEY", "TURNWISE_MODEL", "TURNWISE_JUDGE_MODEL")


def referee_endpoint(
    environ: Mapping[str, str],
    settings: EndpointSettings | None = None,
    *,
    simulated_seed: int = 0,
) -> Endpoint:
    """Return who judges. Nothing is sent.

    Args:
        environ: environment variables. An empty one counts as not set.
        settings: what goes before the environment, such as prices; None takes the
            environment alone.
        simulated_seed: of the simulated model where nothing is set: that of the run whose
            replies are judged, since another seed likes other phrases.

    Raises:
        ConfigError: when something is missing or cannot work; names the variable.
        MissingKey: when a host other than this machine needs a key and has none.
    """
    environ = {name: value.strip() for name, value in environ.items() if value.strip()}
    chosen = settings if settings is not None else _from_environment(environ, simulated_seed)
    if chosen.kind == "openai":
        chosen = _filled(chosen, environ)
    return endpoint_of(Role.JUDGE, chosen, environ, {})


def referee_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the keys that may be sent, to be kept out of every error."""
    return tuple(environ[name] for name in (API_KEY, "TURNWISE_API_KEY") if environ.get(name))


def same_model_notice(referee: Endpoint, judge_model: str | None) -> str | None:
    """Return a warning when the referee is the model that the search judges with, else None.

    Args:
        referee: who judges the replies.
        judge_model: the search judge's model; None when there is none.
    """
    if judge_model is None or referee.model != judge_model:
        return None
    return (
        f"the referee is {judge_model}, which is also the search's judge: with another rubric, "
        f"but it likes what that judge likes. Set {MODEL} to another model"
    )


def _from_environment(environ: Mapping[str, str], simulated_seed: int) -> EndpointSettings:
    if any(name in environ for name in REFEREE_VARIABLES):
        return EndpointSettings()
    named = next((name for name in _SHARED if name in environ), None)
    if named is None:
        simulated = {"seed": simulated_seed} if simulated_seed else {}
        return EndpointSettings(kind="simulated", simulated=simulated)
    raise ConfigError(
        f"{named} is set and no referee is: set {MODEL} to the model that judges the replies, "
        "best another one than the search's judge"
    )


def _filled(settings: EndpointSettings, environ: Mapping[str, str]) -> EndpointSettings:
    """Return settings with model, URL and key variable from the environment where open.

    Raises:
        ConfigError: when there is no model or no URL.
    """
    model = settings.model or environ.get(MODEL)
    if model is None:
        raise ConfigError(f"the referee has no model: set {MODEL}")
    base_url = settings.base_url or _url(environ)
    update: dict[str, str] = {"model": model, "base_url": base_url}
    if "api_key_env" not in settings.model_fields_set:
        shared_host = urlsplit(environ.get("TURNWISE_BASE_URL", "")).hostname
        is_shared = API_KEY not in environ and urlsplit(base_url).hostname == shared_host
        # Named even where it is not set: then the error names it, and no other host's key is
        # sent.
        update["api_key_env"] = "TURNWISE_API_KEY" if is_shared else API_KEY
    return settings.model_copy(update=update)


def _url(environ: Mapping[str, str]) -> str:
    name = BASE_URL if BASE_URL in environ else "TURNWISE_BASE_URL"
    url = environ.get(name)
    if url is None:
        raise ConfigError(f"the referee has a model and no endpoint: set {BASE_URL}")
    try:
        return checked_base_url(url)
    except ValueError as error:
        raise ConfigError(f"the environment variable {name}: {error}") from None
