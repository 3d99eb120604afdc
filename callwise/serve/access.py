"""Access to the service: a token, the names of this server, and the origins of pages.

Invariant: the token is compared in constant time, and is taken from a header or from a message,
never from a URL, which others log.
"""

import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from callwise.calls.errors import ConfigError

__all__ = ["TOKEN_VARIABLE", "Access", "is_loopback", "made_token"]

TOKEN_VARIABLE = "CALLWISE_SERVE_TOKEN"  # noqa: S105 - the name of a variable
"""Environment variable of the token."""

LEAST_TOKEN_CHARS = 16
"""Shortest token that is taken."""

MAX_TOKEN_CHARS = 512
"""Longest token that is taken, or compared."""

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def made_token() -> str:
    """Return a new random token of 192 bits."""
    return secrets.token_urlsafe(24)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(authority: str) -> str:
    """Return the name of a `Host` header without its port, in lower case; empty for none."""
    try:
        return (urlsplit(f"//{authority}").hostname or "").rstrip(".")
    except ValueError:
        return ""


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one server.

    Args:
        token: shared with all clients.
        host: address that the server listens at. Behind a wildcard any name is taken.
        origins: origins, such as `https://chat.example`, whose pages may connect next to the
            server's own.

    Raises:
        ConfigError: for a token that is too short or has other signs than visible ASCII, or an
            origin that is none.
    """

    token: str = field(repr=False)
    host: str = "127.0.0.1"
    origins: Iterable[str] = ()

    def __post_init__(self) -> None:
        token = self.token
        is_visible = all("!" <= sign <= "~" for sign in token)
        if not LEAST_TOKEN_CHARS <= len(token) <= MAX_TOKEN_CHARS or not is_visible:
            raise ConfigError(
                f"the token of {TOKEN_VARIABLE} has {len(token)} characters. Use "
                f"{LEAST_TOKEN_CHARS} to {MAX_TOKEN_CHARS} letters, digits and signs of ASCII, "
                "without spaces; or leave the variable out, and one is made"
            )
        object.__setattr__(self, "origins", frozenset(map(_checked_origin, self.origins)))

    def is_token(self, given: object) -> bool:
        """Return whether a value is the token, in a time that does not depend on it."""
        if not isinstance(given, str) or len(given) > MAX_TOKEN_CHARS:
            return False
        return hmac.compare_digest(
            given.encode("utf-8", "backslashreplace"), self.token.encode("ascii")
        )

    def is_bearer(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request has the token in its header `Authorization`."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.is_token(given.strip())

    def is_known_host(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request names this server.

        A page of another name that was made to lead here (DNS rebinding) does not.
        """
        name = _host_name(headers.get("host", ""))
        if self.host in {"0.0.0.0", "::", ""}:  # noqa: S104 - compared, not listened at
            return bool(name)
        known = {self.host.lower(), *(_host_name(urlsplit(each).netloc) for each in self.origins)}
        if is_loopback(self.host):
            known |= _LOOPBACK_NAMES
        return name in known

    def is_known_origin(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request comes from no page, from ours, or from one that is allowed."""
        origin = headers.get("origin")
        if origin is None:
            return True
        host = headers.get("host", "").lower()
        return origin.lower() == f"http://{host}" or origin.lower() in set(self.origins)


def _checked_origin(origin: str) -> str:
    """Return an origin in lower case.

    Raises:
        ConfigError: when it is none.
    """
    try:
        parts = urlsplit(origin)
        is_origin = bool(parts.hostname) and f"{parts.scheme}://{parts.netloc}" == origin
    except ValueError:  # such as half an IPv6 address
        is_origin = False
    if not is_origin or parts.scheme not in {"http", "https"}:
        raise ConfigError(
            f"origin {origin[:80]!r}: give a scheme and a host alone, such as https://chat.example"
        )
    return origin.lower()
