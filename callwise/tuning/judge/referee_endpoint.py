"""The endpoint of a referee: of settings, else of the environment, else the simulated model.

    CALLWISE_REFEREE_MODEL      the referee's model
    CALLWISE_REFEREE_BASE_URL   where it is served; CALLWISE_BASE_URL when not set, and then
                                OPENAI_BASE_URL
    CALLWISE_REFEREE_API_KEY    its key; CALLWISE_API_KEY or OPENAI_API_KEY when not set, and
                                only for that variable's own host
    CALLWISE_REFEREE_USD_PER_MILLION
                                its prices, such as 0.3,0.5: input and output tokens

Where any real endpoint is set and no referee, that is an error: a real sweep is never
judged by a simulated model by accident.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from callwise.calls.call import Role
from callwise.calls.client import Endpoint
from callwise.calls.endpoint_kinds import endpoint_of
from callwise.calls.endpoint_settings import (
    OPENAI_KEY_VARIABLE,
    EndpointSettings,
    PriceSettings,
    checked_base_url,
    environment_endpoints,
)
from callwise.calls.errors import ConfigError
from callwise.calls.hosts import openai_url

__all__ = ["API_KEY", "MODEL", "PRICES", "referee_endpoint", "referee_secrets", "same_model_notice"]

MODEL, BASE_URL, API_KEY = (
    "CALLWISE_REFEREE_MODEL",
    "CALLWISE_REFEREE_BASE_URL",
    "CALLWISE_REFEREE_API_KEY",
)
PRICES = "CALLWISE_REFEREE_USD_PER_MILLION"
"""Its price list: USD per million input and output tokens, with a comma between."""

REFEREE_VARIABLES = (MODEL, BASE_URL, API_KEY)
"""The environment variables that are the referee's own."""

_SHARED = ("CALLWISE_BASE_URL", "CALLWISE_API_KEY", "CALLWISE_MODEL", "CALLWISE_JUDGE_MODEL")


def referee_endpoint(
    environ: Mapping[str, str],
    settings: EndpointSettings | None = None,
    *,
    simulated_seed: int = 0,
) -> Endpoint:
    """Return the endpoint of the referee. Nothing is sent.

    Args:
        environ: environment variables. An empty one counts as not set.
        simulated_seed: of the simulated model where nothing is set: that of the run whose
            replies are judged, since another seed prefers other phrases.

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
    names = (API_KEY, "CALLWISE_API_KEY", OPENAI_KEY_VARIABLE)
    return tuple(environ[name] for name in names if environ.get(name))


def same_model_notice(referee: Endpoint, judge_model: str | None) -> str | None:
    """Return a warning when the referee is the model that the search judges with, else None."""
    if judge_model is None or referee.model != judge_model:
        return None
    return (
        f"the referee is {judge_model}, which is also the search's judge: with another rubric, "
        f"but with the same preferences. Set {MODEL} to another model"
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
    """Return settings with model, URL and key variable from the environment where open."""
    model = settings.model or environ.get(MODEL)
    if model is None:
        raise ConfigError(f"the referee has no model: set {MODEL}")
    base_url = settings.base_url or _url(environ)
    update: dict[str, Any] = {"model": model, "base_url": base_url}
    if settings.prices is None and PRICES in environ:
        update["prices"] = _prices(environ[PRICES])
    if "api_key_env" not in settings.model_fields_set:
        update["api_key_env"] = _key_variable(base_url, environ)
    return settings.model_copy(update=update)


def _key_variable(base_url: str, environ: Mapping[str, str]) -> str:
    """Return the variable of the referee's key: its own, or another one for its own host.

    It is named even where it is not set: then the error names it, and no other host's key is
    sent.
    """
    host = urlsplit(base_url).hostname
    shared_url = environ.get("CALLWISE_BASE_URL", "")
    owners = {
        API_KEY: host,
        "CALLWISE_API_KEY": urlsplit(shared_url).hostname,
        OPENAI_KEY_VARIABLE: urlsplit(openai_url(environ)).hostname,
    }
    of_host = [name for name, owner in owners.items() if owner == host]
    is_shared = "CALLWISE_API_KEY" in of_host
    missing = "CALLWISE_API_KEY" if is_shared else API_KEY
    return next((name for name in of_host if name in environ), missing)


def _prices(text: str) -> PriceSettings:
    try:
        input_price, output_price = map(float, text.split(","))
        return PriceSettings(input_usd_per_million=input_price, output_usd_per_million=output_price)
    except ValueError:
        raise ConfigError(
            f"the environment variable {PRICES}: {text[:40]!r} is no price list; expected USD per "
            "million input and output tokens, such as 0.3,0.5"
        ) from None


def _url(environ: Mapping[str, str]) -> str:
    own = [(BASE_URL, environ[BASE_URL], "")] if BASE_URL in environ else []
    found = own or environment_endpoints(environ)
    if not found:
        raise ConfigError(f"the referee has a model and no endpoint: set {BASE_URL}")
    name, url, _ = found[0]
    try:
        return checked_base_url(url)
    except ValueError as error:
        raise ConfigError(f"the environment variable {name}: {error}") from None
