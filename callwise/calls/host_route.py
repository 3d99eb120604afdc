"""The route to an endpoint's host: its proxy, and the certificates that are trusted."""

import os
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from yarl import URL

from callwise.calls.errors import ConfigError
from callwise.calls.hosts import is_this_machine

__all__ = ["Route"]


@dataclass(frozen=True, slots=True)
class Route:
    """Route to a host: read once, outside the event loop, since it reads files.

    Args:
        tls: what is trusted, for https: the certificates of the system, or those that
            `SSL_CERT_FILE` or `SSL_CERT_DIR` name.
        proxy: URL of the proxy; may contain a password, so it is never shown.
    """

    tls: ssl.SSLContext | None
    proxy: str | None = field(repr=False)

    @classmethod
    def to(cls, base_url: str) -> Self:
        """Return the route to a URL's host, by the environment's proxy and certificates.

        Raises:
            ConfigError: when the environment names a proxy that is not an HTTP proxy, or
                certificates that cannot be read.
        """
        parts = urlsplit(base_url)
        host = parts.hostname or ""
        proxy = None
        if not is_this_machine(host) and not proxy_bypass(host):
            proxies = getproxies()
            proxy = proxies.get(parts.scheme) or proxies.get("all")
        if proxy is not None and not _is_http_url(proxy):
            raise ConfigError(
                f"the proxy that the environment names for {host} is not an HTTP proxy: "
                f"set {parts.scheme}_proxy to an http:// URL, or the host in no_proxy"
            )
        return cls(_trusted() if parts.scheme == "https" else None, proxy)


def _is_http_url(text: str) -> bool:
    try:
        url = URL(text)
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and bool(url.host)


def _trusted() -> ssl.SSLContext:
    """Return the certificates that are trusted.

    Raises:
        ConfigError: when the environment names some that cannot be read.
    """
    import httpx2  # noqa: PLC0415 - heavy, and needed for https alone

    file, directory = (os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    if directory and not file and not any(map(_has_certificates, directory.split(os.pathsep))):
        raise ConfigError(
            f"SSL_CERT_DIR is {directory}, which has no certificates under their hashes: set it "
            "to a directory that `openssl rehash` has prepared"
        )
    try:
        return httpx2.create_ssl_context()
    except OSError as error:
        if not file:
            raise
        raise ConfigError(
            f"SSL_CERT_FILE is {file}, from which no certificate can be read ({error}): "
            "set it to a file of certificates in PEM format"
        ) from None


def _has_certificates(directory: str) -> bool:
    """Return whether OpenSSL would look up any file of a directory."""
    path = Path(directory)
    names = (each.name for each in path.iterdir()) if path.is_dir() else ()
    return any(re.fullmatch(r"[0-9a-f]{8}\.\d+", name) for name in names)
