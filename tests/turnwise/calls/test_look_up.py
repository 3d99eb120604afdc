"""What an endpoint says of itself: any status is an answer, and each request is counted."""

import asyncio

import httpx2
import openai
import pytest

from turnwise.calls.errors import CallTimeout, ConfigError, ConnectionFailed
from turnwise.calls.http_transport import SENDING
from turnwise.calls.look_up import look_up

BASE_URL = "http://127.0.0.1:8000/v1"


class Client:
    """A client whose GET ends as it is told."""

    def __init__(self, end):
        self.end = end
        self.urls = []

    async def get(self, url):
        """Send, and end."""
        self.urls.append(url)
        SENDING.get().mark()
        if isinstance(self.end, asyncio.Event):
            await self.end.wait()
        if isinstance(self.end, Exception):
            raise self.end
        return self.end


def response(status, content):
    """Return a response to a request."""
    return httpx2.Response(status, content=content, request=httpx2.Request("GET", BASE_URL))


async def looked_up(end, url="/models", **options):
    """Return what a look-up brings, and how often it was sent."""
    sent = []
    client = Client(end)
    found = await look_up(
        client,
        url,
        base_url=BASE_URL,
        timeout_seconds=options.get("timeout_seconds", 9),
        on_sent=lambda: sent.append(1),
    )
    return found, len(sent)


@pytest.mark.parametrize(
    ("content", "document"),
    [(b'{"data": []}', {"data": []}), (b"<html>", None), (b"", None), (b"\xff", None)],
)
async def test_a_document_is_read_whatever_it_is(content, document):
    """What is no JSON is none."""
    assert await looked_up(response(200, content)) == ((200, document), 1)


async def test_a_failing_status_is_an_answer_too():
    """A route that is not there says so."""
    missing = response(404, b'{"error": {}}')
    error = openai.APIStatusError("no", response=missing, body=None)
    assert await looked_up(error) == ((404, {"error": {}}), 1)


async def test_no_answer_is_an_error():
    """With whether the request left."""
    request = httpx2.Request("GET", BASE_URL)
    with pytest.raises(ConnectionFailed) as caught:
        await looked_up(openai.APIConnectionError(request=request))
    assert caught.value.was_sent
    with pytest.raises(CallTimeout, match=r"127\.0\.0\.1 did not answer in 0\.01 s"):
        await looked_up(asyncio.Event(), timeout_seconds=0.01)


async def test_the_key_is_sent_to_its_own_host_only():
    """Another host, or another port, is refused before anything is sent."""
    await looked_up(response(200, b"{}"), "http://127.0.0.1:8000/props")
    for url in ("http://127.0.0.1:9/props", "https://example.com/v1/models"):
        with pytest.raises(ConfigError):
            await looked_up(response(200, b"{}"), url)
