"""Names of hosts: whether one is this machine, and what an endpoint is called for its host."""

import ipaddress
import re
from urllib.parse import urlsplit

__all__ = ["endpoint_name", "is_this_machine"]


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


def endpoint_name(base_url: str) -> str:
    """Return an endpoint's name: its host, and of port and path what is not usual.

    `https://api.deepseek.com/v1` is `api.deepseek.com`, `http://localhost:8000/v1` is
    `localhost-8000`, `https://openrouter.ai/api/v1` is `openrouter.ai-api`.
    """
    parts = urlsplit(base_url)
    words = [parts.hostname or ""]
    if parts.port is not None:
        words.append(str(parts.port))
    words += [word for word in parts.path.split("/") if word not in {"", "v1"}]
    return re.sub(r"[^A-Za-z0-9_.-]", "_", "-".join(words))
