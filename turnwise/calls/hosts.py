"""Names of hosts: whether one is this machine, and what an endpoint is called for its host."""

import ipaddress
import re
from collections.abc import Mapping
from itertools import pairwise
from urllib.parse import unquote, urlsplit

__all__ = ["endpoint_name", "is_like_a_key", "is_this_machine", "openai_url", "shown_url"]


def is_this_machine(host: str) -> bool:
    """Return whether a host's name or address is a loopback one. Looks nothing up.

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


def endpoint_name(base_url: str) -> str:
    """Return an endpoint's name: its host, and of port and path what is not usual.

    `https://api.deepseek.com/v1` is `api.deepseek.com`, `http://localhost:8000/v1` is
    `localhost-8000`, `https://openrouter.ai/api/v1` is `openrouter.ai-api`. A part of the path
    that looks like a key is left out: names are recorded and shown.
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
