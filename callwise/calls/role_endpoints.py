"""Endpoints of roles and of models: from settings, the environment, or the simulated default.

A role has its own settings; what they leave out is what `main` has, field by field; and
what `main` leaves out is what the environment names (`CALLWISE_BASE_URL`, `CALLWISE_MODEL`,
`CALLWISE_API_KEY`; where a model is named and no URL, `OPENAI_BASE_URL` and `OPENAI_API_KEY`
as OpenAI's own tools read them, which alone make nothing real). A model for a single role may
be in the environment too (`CALLWISE_JUDGE_MODEL`, `CALLWISE_FAST_MODEL`,
`CALLWISE_EMBED_MODEL`): it goes before that of `main`. Only where nothing real is set is a
role simulated: a conversation is never half simulated by accident. The role `embed` is left
out unless an embedding model is named, since a chat model cannot embed.

Other endpoints have names that calls give as their `model`. What the settings of one leave out is
what `main` has, but the model: that is the name itself.

Not inherited from `main` is what is a fact of something else: by another model its prices
and limits, by another base URL also how it is asked, by another host also its key, and by
another kind of endpoint everything.

Keys are in environment variables only. Nothing is sent, and nothing heavy imported,
before a client is needed.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from callwise.calls.call import Role
from callwise.calls.client import Client, Endpoint
from callwise.calls.endpoint_kinds import endpoint_of
from callwise.calls.endpoint_settings import (
    EndpointSettings,
    PriceSettings,
    environment_url,
)
from callwise.calls.errors import ConfigError
from callwise.calls.retry import RetryPolicy
from callwise.calls.trust import EVERYTHING, Trust, require_trust

__all__ = [
    "MODEL_VARIABLES",
    "EndpointSettings",
    "PriceSettings",
    "endpoints_from_settings",
    "model_name_problem",
    "models_from_settings",
    "settings_by_role",
]

MODEL_VARIABLES: Mapping[Role, str] = {
    Role.MAIN: "CALLWISE_MODEL",
    Role.JUDGE: "CALLWISE_JUDGE_MODEL",
    Role.FAST: "CALLWISE_FAST_MODEL",
    Role.EMBED: "CALLWISE_EMBED_MODEL",
}
"""The environment variable that names a role's model."""

_REAL_VARIABLES = ("CALLWISE_BASE_URL", "CALLWISE_API_KEY", *MODEL_VARIABLES.values())
"""The environment variables that mean a real endpoint."""

_MAIN_MISSING = (
    "nothing serves the role main: give it settings, or set the environment variables "
    "CALLWISE_BASE_URL and CALLWISE_MODEL"
)

_OF_A_MODEL = frozenset(
    {
        "prices",
        "system_role",
        "refused",
        "context_tokens",
        "max_output_tokens",
        "alternatives",
    }
)
"""Settings that are a fact of one model."""

_OF_A_SERVER = frozenset({"schema_mode", "token_limit_field", "extra_body", "api_version", "load"})
"""Settings that are a fact of one server, besides those of its models."""


def endpoints_from_settings(
    settings: Mapping[Role, EndpointSettings],
    *,
    environ: Mapping[str, str],
    retry: RetryPolicy | None = None,
    trust: Trust = EVERYTHING,
    is_offline: bool = False,
    clients: dict[Hashable, Client] | None = None,
) -> Mapping[Role, Endpoint]:
    """Return who serves each role. Roles with equal access share one client.

    Args:
        environ: environment variables. An empty one counts as not set.
        retry: what an endpoint's own retry settings are laid over; None takes the defaults.
        is_offline: names and prices alone: no client is made, no code imported, no key read.
        clients: those that were made before, by access; new ones are added to them.

    Raises:
        ConfigError: when something is missing or cannot work, or only a file names it; it
            names the variable or setting. Nothing was sent.
        MissingKey: when a host other than this machine needs a key and has none.
    """
    environ = _set_variables(environ)
    chosen = settings_by_role(settings, environ=environ)
    made = _made(chosen, chosen, environ, retry, trust, is_offline=is_offline, clients=clients)
    return {role: made[role] for role in chosen}


def models_from_settings(
    models: Mapping[str, EndpointSettings],
    settings: Mapping[Role, EndpointSettings] | None = None,
    *,
    environ: Mapping[str, str],
    retry: RetryPolicy | None = None,
    trust: Trust = EVERYTHING,
    is_offline: bool = False,
    clients: dict[Hashable, Client] | None = None,
) -> Mapping[str, Endpoint]:
    """Return the endpoints of models, by the name that calls give as their `model`.

    They are simulated where nothing real is set. For a budgeter, together with those of
    `endpoints_from_settings`.

    Args:
        models: settings by name. What they leave out is what `main` has, but the model itself,
            which is the name.
        settings: those of the roles; of them `main` is read.
        clients: those that were made before, by access; new ones are added to them. Give both
            functions the same, and equal access shares one client.
        environ, retry, trust, is_offline: as for `endpoints_from_settings`.

    Raises:
        ConfigError: for a name that is a role, empty, longer than 80 characters or not
            printable; otherwise as `endpoints_from_settings`.
        MissingKey: likewise.
    """
    environ = _set_variables(environ)
    for problem in filter(None, map(model_name_problem, models)):
        raise ConfigError(problem)
    given = settings or {}
    main = settings_by_role(given, environ=environ)[Role.MAIN]
    whole = {
        name: _with_alternatives(name, _like_main(name, own, main, environ), environ)
        for name, own in models.items()
    }
    if Role.MAIN not in given and main.kind == "simulated":
        real = [name for name, each in whole.items() if each.kind != "simulated"]
        if real:
            raise ConfigError(f"{_MAIN_MISSING}: only {', '.join(real)} would be real")
    everything = {Role.MAIN.value: main, **whole}
    made = _made(everything, whole, environ, retry, trust, is_offline=is_offline, clients=clients)
    return dict(made)


def model_name_problem(name: str) -> str:
    """Return why a model cannot have a name; empty where it can."""
    if name.strip() and len(name) <= 80 and name.isprintable() and name not in tuple(Role):
        return ""
    return (
        f"a model cannot be named {name!r:.100}: choose a name of 1 to 80 printable characters "
        f"that is no role ({', '.join(Role)})"
    )


def _made(
    chosen: Mapping[Any, EndpointSettings],
    served: Iterable[str],
    environ: dict[str, str],
    retry: RetryPolicy | None,
    trust: Trust,
    *,
    is_offline: bool,
    clients: dict[Hashable, Client] | None,
) -> dict[str, Endpoint]:
    """Return endpoints by name, of those that are served; `chosen` has `main` as well."""
    if not is_offline:
        require_trust(chosen, environ, trust)
    main = chosen[Role.MAIN]
    if main.base_url is not None and "api_key_env" not in main.model_fields_set:
        # The default key belongs to the host of `main`, where the environment names no other.
        environ.setdefault("CALLWISE_BASE_URL", main.base_url)
    clients = {} if clients is None else clients
    endpoints: dict[str, Endpoint] = {}
    for name in served:
        asked, *others = (
            endpoint_of(
                name, _with_retry(each, retry, name), environ, clients, is_offline=is_offline
            )
            for each in chosen[name].candidates
        )
        _require_different(name, (asked, *others))
        endpoints[name] = replace(asked, alternatives=tuple(others))
    return endpoints


def _knob(name: str) -> str:
    """Return the path of an endpoint's settings, for errors."""
    return f"endpoints.{name}" if name in tuple(Role) else f"models.{name}"


def _with_retry(
    settings: EndpointSettings, retry: RetryPolicy | None, name: str
) -> EndpointSettings:
    """Return settings whose retry policy is laid over that of the run."""
    if settings.retry is None:
        return settings
    laid_over = _laid_over(retry or RetryPolicy(), settings.retry, name)
    return settings.model_copy(update={"retry": laid_over})


def _require_different(name: str, endpoints: Sequence[Endpoint]) -> None:
    """Do nothing where each endpoint of a role or model is another one.

    Raises:
        ConfigError: when two are one, or simulated and real ones are mixed.
    """
    count = Counter((each.name, each.model) for each in endpoints)
    twice = [f"{name} ({model})" for (name, model), number in count.items() if number > 1]
    if twice:
        raise ConfigError(
            f"{_knob(name)}.alternatives: {', '.join(twice)} is given twice; each needs another "
            "base_url or model"
        )
    if len({each.client.is_simulated for each in endpoints}) > 1:
        raise ConfigError(
            f"{_knob(name)}.alternatives: simulated and real endpoints cannot serve one role; "
            "give all the same kind"
        )


def settings_by_role(
    settings: Mapping[Role, EndpointSettings], *, environ: Mapping[str, str]
) -> dict[Role, EndpointSettings]:
    """Return the whole settings of each role that is served, inheritance resolved.

    A base URL that only the environment names is left out, and a model that nothing names.

    Args:
        environ: environment variables. An empty one counts as not set.

    Raises:
        ConfigError: when only other roles than `main` have settings, and it needs them.
    """
    environ = _set_variables(environ)
    main = settings.get(Role.MAIN)
    if main is None and any(name in environ for name in _REAL_VARIABLES):
        main = EndpointSettings()
    if main is None:
        if any(other.kind != "simulated" for other in settings.values()):
            raise ConfigError(_MAIN_MISSING)
        main = EndpointSettings(kind="simulated")
    if main.is_http and main.model is None:
        main = main.model_copy(update={"model": environ.get(MODEL_VARIABLES[Role.MAIN])})
    chosen = {Role.MAIN: main}
    for role in Role:
        if role is not Role.MAIN:
            own = settings.get(role)
            whole = _like_main(role, own, main, environ)
            is_chat_only = role is Role.EMBED and own is None and whole.kind != "simulated"
            if whole.model or not is_chat_only:
                chosen[role] = whole
    return {role: _with_alternatives(role, whole, environ) for role, whole in chosen.items()}


def _set_variables(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value.strip() for name, value in environ.items() if value.strip()}


def _like_main(
    name: str, own: EndpointSettings | None, main: EndpointSettings, environ: Mapping[str, str]
) -> EndpointSettings:
    """Return the settings of another role, or of a model, with what they have from `main`."""
    given = _given(own) if own is not None else {}
    kind = given.get("kind") or (
        "openai" if "base_url" in given and not main.is_http else main.kind
    )
    inherited = _given(main) if kind == main.kind else {}
    if name == Role.EMBED and kind != "simulated":
        inherited.pop("model", None)
    if name not in tuple(Role):
        if kind != "langchain":
            given["model"] = given.get("model") or name
    elif kind in {"openai", "openai_sdk"}:
        candidates = [given.get("model"), environ.get(MODEL_VARIABLES[Role(name)])]
        if name != Role.EMBED:
            candidates += [inherited.get("model"), environ.get(MODEL_VARIABLES[Role.MAIN])]
        given["model"] = next((each for each in candidates if each), None)
    for field in _facts_of_main(given, main, environ):
        inherited.pop(field, None)
    _lay_over(given, inherited, name)
    return EndpointSettings(**{**inherited, **given, "kind": kind})


def _with_alternatives(
    name: str, asked: EndpointSettings, environ: Mapping[str, str]
) -> EndpointSettings:
    """Return settings whose alternatives have what they leave out from the endpoint asked first."""
    if not asked.alternatives:
        return asked
    whole = []
    for own in asked.alternatives:
        given = _given(own)
        is_http = "base_url" in given and not asked.is_http
        kind = given.get("kind") or ("openai" if is_http else asked.kind)
        inherited = _given(asked) if kind == asked.kind else {}
        for field in (*_facts_of_main(given, asked, environ), "alternatives", "weight"):
            inherited.pop(field, None)
        _lay_over(given, inherited, name)
        whole.append(EndpointSettings(**{**inherited, **given, "kind": kind}))
    return asked.model_copy(update={"alternatives": tuple(whole)})


def _lay_over(given: dict[str, Any], inherited: Mapping[str, Any], name: str) -> None:
    """Lay given groups of settings over inherited ones, field by field; change `given`."""
    if "retry" in given and inherited.get("retry") is not None:
        given["retry"] = _laid_over(inherited["retry"], given["retry"], name)
    if given.get("load") is not None and inherited.get("load") is not None:
        given["load"] = inherited["load"].laid_under(given["load"])


def _given(settings: EndpointSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.model_fields_set}


def _facts_of_main(
    given: Mapping[str, Any], main: EndpointSettings, environ: Mapping[str, str]
) -> frozenset[str]:
    """Return the settings of `main` that do not apply to another role's endpoint."""
    if given.get("langchain", main.langchain) != main.langchain:
        return _OF_A_MODEL | {"model"}
    main_url = main.base_url or environment_url(environ).rstrip("/")
    url = given.get("base_url") or main_url
    if _host(url) != _host(main_url):
        return _OF_A_MODEL | _OF_A_SERVER | {"api_key_env"}
    if url != main_url:
        return _OF_A_MODEL | _OF_A_SERVER
    return _OF_A_MODEL if given.get("model", main.model) != main.model else frozenset()


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:  # of the environment; who builds the endpoint names the variable
        return None


def _laid_over(base: RetryPolicy, over: RetryPolicy | None, name: str) -> RetryPolicy:
    """Return a retry policy with what another one sets laid over it, field by field.

    Raises:
        ConfigError: when the two do not fit together.
    """
    if over is None:
        return base
    given = base.model_dump(exclude_unset=True) | over.model_dump(exclude_unset=True)
    try:
        return RetryPolicy.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{_knob(name)}.retry: {problem}") from None
