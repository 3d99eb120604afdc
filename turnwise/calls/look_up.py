"""What an endpoint says of itself, by a GET: its models, its limits, the routes it has."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

from turnwise.calls.errors import ConfigError
from turnwise.calls.payload import document_of

__all__ = ["Getter", "look_up"]


@runtime_checkable
class Getter(Protocol):
    """A client that can send a GET to its endpoint."""

    async def get(
        self, url: str, *, timeout_seconds: float, on_sent: Callable[[], None] | None = None
    ) -> tuple[int, bytes]:
        """Return the response's status, whatever it is, and its body.

        Args:
            url: a path below the base URL, or a whole URL of the same host.
            timeout_seconds: longest time for it.
            on_sent: called once, when the request leaves.

        Raises:
            CallError: when no response came.
        """
        ...


async def look_up(
    client: Getter,
    url: str,
    *,
    base_url: str,
    timeout_seconds: float,
    on_sent: Callable[[], None] | None = None,
) -> tuple[int, Any]:
    """Return the status and the JSON document of a GET, None where it is no JSON.

    Args:
        client: whose key is sent.
        url: a path below the base URL, or a whole URL of the same host and port.
        base_url: the client's.
        timeout_seconds: longest time for it.
        on_sent: called once, when the request leaves.

    Raises:
        ConfigError: when the URL is of another host; nothing was sent.
        CallError: when no response came.
    """
    home = urlsplit(base_url).netloc
    if urlsplit(url).netloc not in {"", home}:
        raise ConfigError(f"{url} is not of {home}")
    status, content = await client.get(url, timeout_seconds=timeout_seconds, on_sent=on_sent)
    try:
        return status, document_of(content)
    except ValueError:
        return status, None
