"""Trust: endpoints, code and folders that the user named, and not a file alone.

Settings from Python, the command line and the environment are the user's own. A preset file
named by its path, a recording and a sweep file may be anybody's: code that they name is not
imported, and a key or a prompt is not sent where they point, until the user has named the
same thing. One thing needs no naming: a known endpoint's own key at that endpoint's own host.

Invariant: a value of a file is compared with what the user named, and never acted on alone.
"""

import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, PrivateAttr

from callwise.calls.call import Role
from callwise.calls.endpoint_settings import (
    EndpointSettings,
    environment_endpoints,
    environment_url,
)
from callwise.calls.errors import ConfigError
from callwise.calls.hosts import is_this_machine, known_endpoints

__all__ = [
    "EVERYTHING",
    "NOTHING",
    "TRUST_CODE",
    "TRUST_ENDPOINTS",
    "Trust",
    "TrustedSettings",
    "confirmed",
    "endpoint_lines",
    "import_folder",
    "require_trust",
]

TRUST_ENDPOINTS = "CALLWISE_TRUST_ENDPOINTS"
"""Environment variable with endpoints that files may name: `HOST` or `VARIABLE@HOST`."""

TRUST_CODE = "CALLWISE_TRUST_CODE"
"""Environment variable with import strings that files may name: `module:name`."""

_BASE_URL, _API_KEY = "CALLWISE_BASE_URL", "CALLWISE_API_KEY"
_IMPORT_STRING = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_HOST = re.compile(r"[\w.:-]+")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Trust:
    """Hosts, files and programs that the user named, in Python, by options or in the environment.

    Two settings with equal knobs are equal, whatever named them: no field is compared.

    Args:
        is_everything: whether the settings themselves are the user's own.
        endpoints: places, and `VARIABLE@place` for keys; see `place_of`.
        folders: folders and cassettes of the cache that may be used, as they were named.
        allows_this_machine: whether a server on this machine may be asked without a key.
    """

    is_everything: bool = field(default=False, compare=False)
    endpoints: frozenset[str] = field(default=frozenset(), compare=False)
    code: frozenset[str] = field(default=frozenset(), compare=False)
    folders: frozenset[str] = field(default=frozenset(), compare=False)
    allows_this_machine: bool = field(default=False, compare=False)

    @classmethod
    def of_own(
        cls,
        endpoints: object,
        environ: Mapping[str, str],
        *,
        folders: Iterable[str] = (),
        allows_this_machine: bool = False,
    ) -> Self:
        """Return what the user's own settings of endpoints name, and the environment.

        A key counts as meant for the place that it is named with; a file's host with a
        variable of the user's, or the other way round, is not what the user named.

        Args:
            endpoints: the part `endpoints` of overrides and the environment's knobs alone. What
                is of another type than it should be names nothing.
        """
        endpoints = _mapping(endpoints)
        places: set[str] = set()
        for _, url, key_variable in environment_endpoints(environ):
            named = _place_in({"base_url": url})
            places |= {named, f"{key_variable}@{named}"} if named else set()
        default_place = _place_in({"base_url": environment_url(environ)})
        main = _mapping(endpoints.get(str(Role.MAIN)))
        main_place = _place_in(main) or default_place
        code = set()
        for settings in _with_alternatives(endpoints):
            place = _place_in(settings) or main_place
            variable = settings.get("api_key_env")
            if variable is None and place == main_place:
                variable = main.get("api_key_env")
            if variable is None and place == (default_place or main_place):
                variable = _API_KEY
            if place is not None:
                places |= {place} if variable is None else {place, f"{variable}@{place}"}
            if settings.get("langchain") is not None:
                code.add(str(settings["langchain"]))
        own = cls(
            endpoints=frozenset(filter(None, places)),
            code=frozenset(code),
            folders=frozenset(folders),
            allows_this_machine=allows_this_machine,
        )
        return own.confirming(_listed(environ, TRUST_ENDPOINTS), _listed(environ, TRUST_CODE))

    def confirming(
        self,
        endpoints: Iterable[str] = (),
        code: Iterable[str] = (),
    ) -> Self:
        """Return this trust and what else the user named.

        Args:
            endpoints: `HOST`, `HOST:PORT`, a URL, or one of them after `VARIABLE@`.
            code: import strings, `module:name`.

        Raises:
            ConfigError: when one of them is something else.
        """
        places = {each for text in endpoints for each in _named_places(text)}
        targets = {text.strip() for text in code}
        for target in targets:
            if not _IMPORT_STRING.fullmatch(target):
                raise ConfigError(
                    f"code is trusted by its import string, module:name; got {target!r}"
                )
        return replace(self, endpoints=self.endpoints | places, code=self.code | targets)

    def imports(self, target: str) -> bool:
        """Return whether the user named an import string."""
        return self.is_everything or target in self.code

    def writes_to(self, folder: str) -> bool:
        """Return whether the user named a folder, or it is below the working directory."""
        if self.is_everything or folder in self.folders:
            return True
        try:
            return Path(folder).resolve().is_relative_to(Path.cwd().resolve())
        except (OSError, ValueError):  # a NUL, or links in a circle
            return False

    def reaches(self, url: str, variable: str | None) -> bool:
        """Return whether the user named a URL's place, and a key's variable with it."""
        place = place_of(url)
        if self.is_everything or (f"{variable}@{place}" if variable else place) in self.endpoints:
            return True
        if variable is None:
            is_local = is_this_machine(urlsplit(url).hostname or "")
            return (is_local and self.allows_this_machine) or any(
                each.endswith(f"@{place}") for each in self.endpoints
            )
        return any(variable == row.key_variable and place in row.hosts for row in known_endpoints())


NOTHING = Trust()
"""The trust of what a file names and its user does not."""

EVERYTHING = Trust(is_everything=True)
"""The trust of settings that were made in Python, or by the user's own options alone."""


class TrustedSettings(BaseModel):
    """Base of settings that name endpoints, with a record of those that their user named."""

    _trust: Trust = PrivateAttr(default=EVERYTHING)

    @property
    def trust(self) -> Trust:
        """Return what the user named."""
        return self._trust

    def trusting(self, trust: Trust) -> Self:
        """Return the same settings under another trust."""
        copy = self.model_copy()
        copy._trust = trust  # noqa: SLF001 - of the same class
        return copy

    def require_named(self, knob: str, path: str) -> None:
        """Refuse a path that only a file names, unless it is below the working directory.

        Raises:
            ConfigError: when it is so.
        """
        if not self.trust.writes_to(path):
            variable = "__".join(("CALLWISE", *knob.upper().split(".")))
            raise ConfigError(
                f"only a file names the path {knob}={path}, which is not below the working "
                f"directory: set it by --set {knob}=... or {variable}"
            )


def import_folder() -> None:
    """Make the working directory importable, after all else: for code that the user named."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def confirmed(settings: BaseModel, endpoints: Iterable[str], code: Iterable[str]) -> Any:
    """Return settings with what else the user named; others than `TrustedSettings` as they are.

    Raises:
        ConfigError: as `Trust.confirming` does.
    """
    if not isinstance(settings, TrustedSettings):
        return settings
    return settings.trusting(settings.trust.confirming(endpoints, code))


def place_of(url: str) -> str:
    """Return a URL's server: its host, and a port that is not the usual one.

    Without encryption, and not on this machine, the scheme is part of it: `http://host`.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    place = host if parts.port in {None, usual} else f"{host}:{parts.port}"
    is_open = parts.scheme == "http" and not is_this_machine(parts.hostname or "")
    return f"http://{place}" if is_open else place


def require_trust(
    chosen: Mapping[Role, EndpointSettings], environ: Mapping[str, str], trust: Trust
) -> None:
    """Refuse endpoints that only a file names, before a client is made or a key is read.

    Args:
        environ: environment variables, none of them empty.

    Raises:
        ConfigError: naming each, and the options that confirm them, quoted as a shell wants.
    """
    if trust.is_everything:
        return
    refused: dict[str, str] = {}
    default_url = _default_url(chosen, environ)
    for role, asked in chosen.items():
        for settings in asked.candidates:
            for option, text in _unnamed(settings, environ, trust, default_url):
                refused.setdefault(option, f"{role} at {text}")
    if not refused:
        return
    raise ConfigError(
        f"only a file names these endpoints: {'; '.join(refused.values())}. Nothing was imported "
        f"or sent. If you mean them, add {' '.join(refused)} (in Python trust_endpoints= or "
        f"trust_code=; for good the environment variables {TRUST_ENDPOINTS} and {TRUST_CODE})"
    )


def _unnamed(
    settings: EndpointSettings, environ: Mapping[str, str], trust: Trust, default_url: str
) -> list[tuple[str, str]]:
    """Return the options that would confirm an endpoint, and what each is about."""
    if settings.kind == "langchain" and settings.langchain is not None:
        target = settings.langchain
        if trust.imports(target):
            return []
        return [(f"--trust-code {shlex.quote(target)}", f"code: {target}")]
    if not settings.is_http:
        return []
    url = settings.base_url or environment_url(environ)
    if not url:
        return []  # reported elsewhere
    variable = _variable(settings, url, environ, default_url)
    if trust.reaches(url, variable):
        return []
    key = f" with the key in {variable}" if variable else ""
    place = place_of(url)
    named = f"{variable}@{place}" if variable else place
    return [(f"--trust-endpoint {shlex.quote(named)}", f"{place}{key}")]


def _default_url(chosen: Mapping[Role, EndpointSettings], environ: Mapping[str, str]) -> str:
    """Return the URL whose host the default key is for: see `endpoints_from_settings`."""
    main = chosen.get(Role.MAIN)
    of_main = None if main is None or "api_key_env" in main.model_fields_set else main.base_url
    return environ.get(_BASE_URL, "").strip() or of_main or ""


def _variable(
    settings: EndpointSettings, url: str, environ: Mapping[str, str], default_url: str
) -> str | None:
    """Return the variable whose key would be sent; the default one only where it is set.

    With the URL of another host it is not sent: see `endpoint_kinds`.
    """
    if "api_key_env" in settings.model_fields_set:
        return settings.api_key_env
    is_for_it = urlsplit(default_url or url).hostname == urlsplit(url).hostname
    return settings.api_key_env if is_for_it and settings.api_key_env in environ else None


def endpoint_lines(settings: object, environ: Mapping[str, str]) -> list[str]:
    """Return the endpoints of settings that a file had a part in, one line each, to be shown."""
    chosen: Mapping[Role, EndpointSettings] = getattr(settings, "endpoints", {})
    if not isinstance(settings, TrustedSettings) or settings.trust.is_everything:
        return []
    roles: dict[str, list[str]] = {}
    default_url = _default_url(chosen, environ)
    named = [(role, each) for role, asked in chosen.items() for each in asked.candidates]
    for role, each in named:
        if each.kind == "langchain":
            roles.setdefault(f"code: {each.langchain}", []).append(role)
        elif each.is_http and each.base_url is not None:
            variable = _variable(each, each.base_url, environ, default_url)
            key = f", with the key in {variable}" if variable else ", without a key"
            roles.setdefault(f"{place_of(each.base_url)}{key}", []).append(role)
    return [f"endpoint of {', '.join(names)}: {text}" for text, names in roles.items()]


def _with_alternatives(endpoints: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the settings of endpoints, and those of their alternatives as far as they are given.

    An alternative has the place and the key's variable of the endpoint asked first, where it gives
    none; the variable only at that place.
    """
    for asked in map(_mapping, endpoints.values()):
        yield asked
        alternatives = asked.get("alternatives")
        for own in map(_mapping, alternatives if isinstance(alternatives, list | tuple) else ()):
            inherited = {name: asked.get(name) for name in ("base_url", "api_key_env")}
            if _place_in({**inherited, **own}) != _place_in(asked):
                inherited["api_key_env"] = None
            yield {**inherited, **own}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _place_in(settings: Mapping[str, Any]) -> str | None:
    """Return the place of settings' base URL; None without one, and for what is none."""
    url = settings.get("base_url")
    try:
        return place_of(url) if isinstance(url, str) and url else None
    except ValueError:
        return None


def _listed(environ: Mapping[str, str], variable: str) -> list[str]:
    return environ.get(variable, "").replace(",", " ").split()


def _named_places(text: str) -> list[str]:
    variable, at, where = text.strip().rpartition("@")
    where = where if "://" in where else f"https://{where}"
    try:
        parts = urlsplit(where)
        is_host = _HOST.fullmatch(parts.hostname or "") is not None
        is_place = parts.scheme in {"http", "https"} and is_host
        place = place_of(where)
    except ValueError:
        is_place, place = False, ""
    if not is_place or (at and not _VARIABLE.fullmatch(variable)):
        raise ConfigError(
            f"an endpoint is trusted as HOST, HOST:PORT or VARIABLE@HOST; got {text!r}"
        )
    return [place, f"{variable}@{place}"] if at else [place]
