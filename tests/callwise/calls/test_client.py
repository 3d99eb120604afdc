"""An endpoint's report of itself: any status is an answer, and each request is counted."""

import asyncio

import pytest

from callwise.calls.client import Getter, look_up
from callwise.calls.errors import CallTimeout, ConfigError, ConnectionFailed

BASE_URL = "http://127.0.0.1:8000/v1"


class Client:
    """A client whose GET returns what it is given."""

    def __init__(self, status=200, content=b"{}"):
        self.end = status, content

    async def get(self, url, *, timeout_seconds, on_sent=None):
        """Send nothing, and return."""
        del url, timeout_seconds
        on_sent()
        return self.end


@pytest.mark.parametrize(
    ("content", "document"),
    [(b'{"data": []}', {"data": []}), (b"<html>", None), (b"", None), (b"\xff", None)],
)
async def test_a_document_is_read_whatever_it_is(content, document):
    """What is no JSON is none."""
    sent = []
    found = await look_up(
        Client(404, content),
        "/models",
        base_url=BASE_URL,
        timeout_seconds=9,
        on_sent=lambda: sent.append(1),
    )
    assert (found, sent) == ((404, document), [1])


async def test_the_key_is_sent_to_its_own_host_only():
    """Another host, or another port, is refused before anything is sent."""
    sent = []
    options = {"base_url": BASE_URL, "timeout_seconds": 9, "on_sent": lambda: sent.append(1)}
    await look_up(Client(), "http://127.0.0.1:8000/props", **options)
    for url in ("http://127.0.0.1:9/props", "https://example.com/v1/models"):
        with pytest.raises(ConfigError):
            await look_up(Client(), url, **options)
    assert sent == [1]


async def test_any_status_is_an_answer(client_class, server):
    """A route that is not there is one too, and the key goes along."""
    sent = []
    client = client_class(server.url, api_key="test-key-0123456789abcdef")
    assert isinstance(client, Getter)
    paths = ("/models", server.url.removesuffix("/v1") + "/props")
    options = {"base_url": server.url, "timeout_seconds": 9, "on_sent": lambda: sent.append(1)}
    found = [await look_up(client, path, **options) for path in paths]
    assert found == [(200, {"data": []}), (404, None)]
    assert len(sent) == 2
    assert server.headers[0]["Authorization"] == "Bearer test-key-0123456789abcdef"
    await client.aclose()


async def test_no_answer_is_an_error(client_class, server, unused_port):
    """With whether the request left."""
    nowhere = client_class(f"http://127.0.0.1:{unused_port}/v1")
    with pytest.raises(ConnectionFailed) as refused:
        await nowhere.get("/models", timeout_seconds=9)
    assert not refused.value.was_sent
    client = client_class(server.url)
    asking = asyncio.create_task(client.get("/hold", timeout_seconds=0.05))
    with pytest.raises(CallTimeout, match=r"127\.0\.0\.1 did not answer in 0\.05 s") as late:
        await asking
    assert late.value.was_sent
    await nowhere.aclose()
    await client.aclose()
