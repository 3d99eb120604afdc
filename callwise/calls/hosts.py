"""Hosts: whether one is this machine, what an endpoint is called, and what is known of it.

The table of known endpoints is data, in `known_endpoints.yaml`. A row decides where a
capability starts, so that a well-known refusal need not be paid for; what the endpoint
itself refuses goes before it. Local servers have rows too, to be read: no host distinguishes one
server on this machine from another, so none of those rows is ever chosen.
"""

import ipaddress
import re
from collections.abc import Mapping
from datetime import date
from fnmatch import fnmatchcase
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field

from callwise.calls.capabilities import Capabilities
from callwise.calls.load.batch_knobs import NO_LIMITS, BatchLimits

__all__ = [
    "KnownEndpoint",
    "custom_headers",
    "endpoint_name",
    "is_like_a_key",
    "is_this_machine",
    "known_batch_limits",
    "known_capabilities",
    "known_endpoints",
    "known_timeout_seconds",
    "openai_headers",
    "openai_url",
    "shown_url",
]


OPENAI_HOST = "api.openai.com"

_OPENAI_VARIABLES = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}


def is_this_machine(host: str) -> bool:
    """Return whether a host's name or address is a loopback one. No look-up is made.

    This machine needs no key, and is not asked through a proxy.
    """
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def openai_url(environ: Mapping[str, str]) -> str:
    """Return the URL that OpenAI's own tools would ask with these variables."""
    return environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1")


def custom_headers(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the further headers that the environment names: `Name: value`, one per line."""
    lines = environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines()
    parts = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, colon, value in parts if colon}


def openai_headers(host: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that the environment names as OpenAI's own tools read it.

    Organization and project go to OpenAI alone, further headers to the host that OpenAI's
    tools would ask; no other host gets any of them.
    """
    is_theirs = host == urlsplit(openai_url(environ)).hostname
    headers = custom_headers(environ) if is_theirs else {}
    if host == OPENAI_HOST:
        found = ((name, environ.get(variable)) for name, variable in _OPENAI_VARIABLES.items())
        headers |= {name: value for name, value in found if value}
    return headers


def endpoint_name(base_url: str) -> str:
    """Return an endpoint's name: its host, and of port and path what is not usual.

    `https://api.deepseek.com/v1` is `api.deepseek.com`, `http://localhost:8000/v1` is
    `localhost-8000`, `https://openrouter.ai/api/v1` is `openrouter.ai-api`. A part of the path
    that resembles a key is left out: names are recorded and shown.
    """
    parts = urlsplit(base_url)
    words = [parts.hostname or ""]
    if parts.port is not None:
        words.append(str(parts.port))
    words += [
        word
        for word in unquote(parts.path).split("/")
        if word not in {"", "v1"} and not is_like_a_key(word)
    ]
    return re.sub(r"[^A-Za-z0-9_.-]", "_", "-".join(words))


_KEY_BEGINNING = re.compile(
    r"(?i)(?:sk|pk|gsk|xai|hf|AIza|gh[pousr]|xox[abp]|key|token|eyJ)[-_.:=]?\w*\d"
)
_ID = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHORTEST_KEY = 16
"""A run of letters and digits is taken for a key from this length on, in characters."""


def is_like_a_key(word: str) -> bool:
    """Return whether a part of a URL's path may be a key, or a secret id.

    A model's or deployment's name is made of short words and numbers; a key has a well-known
    beginning, is a UUID, or has a long run that mixes letters and digits or cases.
    """
    if _ID.fullmatch(word) or (len(word) >= _SHORTEST_KEY and _KEY_BEGINNING.match(word)):
        return True
    return any(_is_mixed(run) for run in re.split(r"[^A-Za-z0-9]+", word))


def _is_mixed(run: str) -> bool:
    if len(run) < _SHORTEST_KEY:
        return False
    has_digits = any(char.isdigit() for char in run)
    is_in_cases = run != run.lower() and run != run.upper()
    changes = sum(a.isupper() and b.islower() for a, b in pairwise(run))
    return has_digits or (is_in_cases and changes * 6 > len(run))


def shown_url(url: str) -> str:
    """Return a URL fit to be shown: without user, password, query, and what may be a key."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    port = "" if parts.port is None else f":{parts.port}"
    path = "/".join(
        "[key]" if is_like_a_key(unquote(part)) else part for part in parts.path.split("/")
    )
    return f"{parts.scheme}://{host}{port}{path}"


class _HostRow(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KnownModels(_HostRow):
    """Models of an endpoint that take something else than its others."""

    models: Annotated[tuple[str, ...], Field(min_length=1)]
    """Patterns of model names, as in a shell: `o?`, `gpt-5*`."""
    start: Capabilities


class KnownEndpoint(_HostRow):
    """One endpoint of the table."""

    name: str
    """The provider or server."""
    hosts: tuple[str, ...] = ()
    """Hosts it is recognised by; none for a server that runs anywhere."""
    base_url: str
    """Base URL to set."""
    key_variable: str | None = None
    """Variable that the provider's own documents keep the key in; None needs no key."""
    start: Capabilities = Capabilities()
    """Capabilities before anything is learned."""
    models: tuple[KnownModels, ...] = ()
    """Differences of some models; later entries go before earlier ones."""
    timeout_seconds: Annotated[float, Field(gt=0)] | None = None
    """Longest time for one attempt under `load.timeout.by_provider`; None where none is known."""
    batch: BatchLimits = NO_LIMITS
    """Limits on a request with several texts to embed."""
    is_confirmed: bool = False
    """Whether calls need not wait for the first one to find out what is taken."""
    notes: str = ""
    """Further remarks."""
    source: Annotated[str, Field(min_length=1)]
    """The document, or the report, that the row is from."""
    date: date
    """Day on which that was read."""
    tried: Annotated[str, Field(pattern=r"^(yes|no)\b")]
    """Whether the row was tried, and how."""

    def capabilities(self, model: str) -> Capabilities:
        """Return where a model's capabilities start."""
        found = self.start
        bare = model.rpartition("/")[2]  # routers put the maker before the model
        for each in self.models:
            if any(fnmatchcase(bare, pattern) for pattern in each.models):
                found = found.overlaid(each.start)
        return found


@cache
def known_endpoints() -> tuple[KnownEndpoint, ...]:
    """Return the rows of the table, in its order.

    Raises:
        pydantic.ValidationError: when the file is not what it should be.
    """
    text = Path(__file__).with_name("known_endpoints.yaml").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = yaml.safe_load(text)
    return tuple(KnownEndpoint.model_validate(row) for row in rows)


def known_capabilities(base_url: str, model: str) -> tuple[Capabilities, bool]:
    """Return what a model is taken to take at first, and whether that is confirmed."""
    row = _known_row(base_url)
    return (Capabilities(), False) if row is None else (row.capabilities(model), row.is_confirmed)


def known_batch_limits(base_url: str) -> BatchLimits:
    """Return the limits of an endpoint on a request with several texts to embed."""
    row = _known_row(base_url)
    return NO_LIMITS if row is None else row.batch


def _known_row(base_url: str) -> KnownEndpoint | None:
    host = urlsplit(base_url).hostname or ""
    for row in known_endpoints():
        if any(host == each or host.endswith(f".{each}") for each in row.hosts):
            return row
    return None


@cache
def known_timeout_seconds(name: str) -> float | None:
    """Return the longest time for one attempt at an endpoint by its name; None where not known."""
    for row in known_endpoints():
        if any(name == host or name.startswith(f"{host}-") for host in row.hosts):
            return row.timeout_seconds
    return None
