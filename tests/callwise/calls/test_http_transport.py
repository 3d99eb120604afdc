"""The way to a host: proxies, certificates, and the mark of a request that leaves."""

import asyncio
import ssl

import pytest

from callwise.calls import ConfigError
from callwise.calls.errors import WrongAddress
from callwise.calls.http_transport import HttpTransport, RequestMoment
from callwise.calls.openai_http import openai_headers
from callwise.calls.route import Route


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    """The machine's own proxies do not count here."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_moment_is_marked_once():
    """A body in several pieces is one request."""
    told = []
    moment = RequestMoment(lambda: told.append(1))
    assert not moment.was_sent
    moment.mark()
    moment.mark()
    assert (moment.was_sent, told) == (True, [1])


def test_only_https_needs_certificates():
    """Their context is made once a client, not once a connection."""
    assert Route.to("http://localhost:1/v1").tls is None
    assert isinstance(Route.to("https://api.example.com").tls, ssl.SSLContext)


def test_a_proxy_is_never_shown(monkeypatch):
    """It may hold a password."""
    monkeypatch.setenv("https_proxy", "http://user:password@proxy:1")
    route = Route.to("https://api.example.com")
    assert route.proxy == "http://user:password@proxy:1"
    assert "password" not in repr(route)


def test_a_host_can_be_left_out_of_the_proxy(monkeypatch):
    """By `no_proxy`, as everywhere; this machine always is."""
    monkeypatch.setenv("http_proxy", "http://proxy:1")
    monkeypatch.setenv("no_proxy", "near.example")
    assert Route.to("http://near.example/v1").proxy is None
    assert Route.to("http://127.0.0.1:1/v1").proxy is None
    assert Route.to("http://elsewhere.example/v1").proxy == "http://proxy:1"


def test_a_proxy_of_another_kind_is_refused(client_class, monkeypatch):
    """At once, without repeating it."""
    monkeypatch.setenv("all_proxy", "socks5://user:password@proxy:1")
    with pytest.raises(ConfigError, match="http_proxy") as caught:
        client_class("http://elsewhere.example/v1")
    assert "password" not in str(caught.value)


async def test_requests_go_through_the_proxy(client_class, server, ask, monkeypatch):
    """To a host that only the proxy could reach, and counted once."""
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
    client = client_class("http://elsewhere.invalid/v1")
    sent = []
    [reply] = await client.answer([ask("through")], model="m", on_sent=sent.append)
    assert reply.text == "through"
    assert server.headers[0]["Host"] == "elsewhere.invalid"
    assert sent == [0]
    await client.aclose()


async def test_a_connection_is_not_lost_with_who_leaves_as_it_becomes_free():
    """Of three callers with one connection the second is cancelled, and the third gets it."""
    requests, answers = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def serve(reader, writer):
        while await reader.readuntil(b"\r\n\r\n"):
            requests.release()
            await answers.acquire()
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    transport = HttpTransport(url, Route(None, None), max_connections=1)

    async def ask():
        return await transport.send("GET", "/", b"", RequestMoment())

    first, second, third = (asyncio.create_task(ask()) for _ in range(3))
    await requests.acquire()
    answers.release()
    response = await first
    response.close()
    second.cancel()
    answers.release()
    async with asyncio.timeout(5):
        (await third).close()
    assert second.cancelled()
    await transport.aclose()
    server.close()


def test_headers_of_the_environment_go_to_openai_alone():
    """Organization and project; further headers to the host that its tools would ask."""
    environ = {
        "OPENAI_ORG_ID": "org",
        "OPENAI_PROJECT_ID": "proj",
        "OPENAI_CUSTOM_HEADERS": "X-Team: blue\nno header",
    }
    ours = {"OpenAI-Organization": "org", "OpenAI-Project": "proj", "X-Team": "blue"}
    assert openai_headers("api.openai.com", environ) == ours
    assert openai_headers("api.example.com", environ) == {}
    elsewhere = environ | {"OPENAI_BASE_URL": "https://api.example.com/v1"}
    assert openai_headers("api.example.com", elsewhere) == {"X-Team": "blue"}


async def test_a_redirect_is_not_followed(client_class, server, ask):
    """The key goes to no other host, and nothing is sent twice."""
    headers = {"Location": "http://elsewhere.invalid/v1/chat/completions"}
    server.then(status=307, headers=headers)
    client = client_class(server.url, api_key="test-key-0123456789abcdef")
    [error] = await client.answer([ask()], model="m")
    assert isinstance(error, WrongAddress)
    assert "http://elsewhere.invalid/v1" in str(error)
    assert len(server.bodies) == 1
    await client.aclose()


async def test_connections_are_kept(client_class, server, ask):
    """Calls one after the other share one; streams too, once they are read."""
    client = client_class(server.url)
    for stream in (False, True, False):
        await client.answer([ask("one", stream=stream)], model="m")
    assert len(server.connections) == 1
    await client.aclose()
