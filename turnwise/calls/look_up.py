"""What an endpoint says of itself, by a GET: its models, its limits, the routes it has."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

import httpx2
import openai

from turnwise.calls.errors import CallTimeout, ConfigError, ConnectionFailed
from turnwise.calls.http_transport import SENDING, Sending
from turnwise.calls.payload import document_of

__all__ = ["Getter", "look_up"]


@runtime_checkable
class Getter(Protocol):
    """A client that can send a GET to its endpoint."""

    async def get(self, url: str) -> httpx2.Response:
        """Return the response.

        Raises:
            openai.APIError: when there is none, or its status says failure.
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
    home = urlsplit(base_url)
    if urlsplit(url).netloc not in {"", home.netloc}:
        raise ConfigError(f"{url} is not of {home.netloc}")
    sending = Sending(on_sent)
    token = SENDING.set(sending)
    try:
        async with asyncio.timeout(timeout_seconds):
            response = await client.get(url)
    except openai.APIStatusError as error:
        response = error.response
    except (TimeoutError, openai.APITimeoutError, httpx2.TimeoutException):
        words = f"{home.hostname} did not answer in {timeout_seconds:g} s"
        raise CallTimeout(words, was_sent=sending.was_sent) from None
    except (openai.APIConnectionError, httpx2.HTTPError) as error:
        words = f"{home.hostname}: {error.__cause__ or error}"
        raise ConnectionFailed(words, was_sent=sending.was_sent) from None
    finally:
        SENDING.reset(token)
    try:
        return response.status_code, document_of(response.content)
    except ValueError:
        return response.status_code, None
