"""The way to a host: proxies, certificates, and the mark of a request that leaves."""

import asyncio
import gzip
import json
import os
import re
import socket
import ssl
import traceback
import zlib
from pathlib import Path

import pytest
from aiohttp import web

from callwise.calls import ConfigError
from callwise.calls.errors import CallTimeout, ConnectionFailed, WrongAddress
from callwise.calls.host_route import Route
from callwise.calls.hosts import openai_headers
from callwise.calls.http_transport import HttpTransport, RequestMoment

KEY = "test-key-0123456789abcdef"
LOCALHOST = Path(__file__).with_name("localhost.pem")
"""A self-signed certificate of localhost, and its key, made for these tests alone."""


@pytest.fixture(autouse=True)
def _no_proxies_and_certificates(monkeypatch):
    """The machine's own proxies and certificates do not count here."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
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
    async with asyncio.timeout(60):
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


@pytest.fixture
async def raw_server():
    """Return a maker of servers that send fixed bytes for each request, and their received heads.

    The bytes are sent once a request's head is there; the connection is closed after them.
    """
    servers = []

    async def make(data, **options):
        heads = []

        async def serve(reader, writer):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(data)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, **options)
        servers.append(server)
        return server.sockets[0].getsockname()[1], heads

    yield make
    for server in servers:
        server.close()


async def answer_of(client_class, port, ask, **options):
    """Return the end of one call to a server on this machine."""
    client = client_class(f"http://127.0.0.1:{port}/v1", **options)
    [end] = await client.answer([ask()], model="m")
    await client.aclose()
    return end


def json_answer(document, *headers):
    """Return the bytes of a successful response with a JSON body."""
    body = json.dumps(document).encode()
    lines = [
        b"HTTP/1.1 200 OK",
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def test_a_proxy_is_not_sent_the_key(client_class, raw_server, ask, monkeypatch):
    """A tunnel is asked for with neither the key nor any other header of the endpoint."""
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.invalid/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: blue")
    port, heads = await raw_server(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
    client = client_class("https://elsewhere.invalid/v1", api_key=KEY)
    [error] = await client.answer([ask()], model="m")
    await client.aclose()
    [head] = heads
    assert head.startswith(b"CONNECT elsewhere.invalid:443")
    for part in (KEY.encode(), b"uthorization", b"blue", b"openai"):
        assert part not in head
    assert isinstance(error, ConnectionFailed)
    assert "the proxy answered 403 Forbidden" in str(error)
    assert not error.was_sent


async def test_a_proxy_of_a_plain_endpoint_gets_no_separate_credentials(
    client_class, server, ask, monkeypatch
):
    """The key is in the request's own header alone; a password in the proxy's URL is sent."""
    proxy = server.url.removesuffix("/v1")
    monkeypatch.setenv("http_proxy", proxy)
    client = client_class("http://elsewhere.invalid/v1", api_key=KEY)
    await client.answer([ask()], model="m")
    await client.aclose()
    monkeypatch.setenv("http_proxy", proxy.replace("//", "//user:password@"))
    client = client_class("http://elsewhere.invalid/v1", api_key=KEY)
    await client.answer([ask()], model="m")
    await client.aclose()
    first, second = server.headers
    assert first["Authorization"] == second["Authorization"] == f"Bearer {KEY}"
    assert "Proxy-Authorization" not in first
    assert second["Proxy-Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    "proxy", ["http://user:ge heim@proxy:abc", "http://user:geheim@[::1", "http://user:geheim@"]
)
def test_a_proxy_that_cannot_be_parsed_is_not_repeated(client_class, monkeypatch, proxy):
    """Its password would be in the error."""
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ConfigError, match="http_proxy") as caught:
        client_class("http://elsewhere.example/v1")
    assert "heim" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SSL_CERT_FILE", "nowhere.pem"),
        ("SSL_CERT_FILE", "empty.pem"),
        ("SSL_CERT_DIR", "nowhere"),
        ("SSL_CERT_DIR", ""),
    ],
)
def test_certificates_that_cannot_be_read_are_named(
    client_class, monkeypatch, tmp_path, variable, value
):
    """With the variable that names them."""
    (tmp_path / "empty.pem").touch()
    monkeypatch.setenv(variable, str(tmp_path / value))
    with pytest.raises(ConfigError, match=f"{variable} is .*{value}"):
        client_class("https://elsewhere.example/v1")
    client_class("http://elsewhere.example/v1")


def test_one_of_several_directories_may_have_the_certificates(client_class, monkeypatch, tmp_path):
    """They are named as OpenSSL reads them."""
    (tmp_path / "0a1b2c3d.0").write_bytes(LOCALHOST.read_bytes())
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join(["nowhere", str(tmp_path)]))
    client_class("https://elsewhere.example/v1")


async def test_a_refused_certificate_names_the_way_to_trust_it(
    client_class, raw_server, ask, wire_words, monkeypatch
):
    """Once SSL_CERT_FILE names it, the endpoint answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(LOCALHOST)
    port, _ = await raw_server(json_answer(wire_words.chat_document()), ssl=context)
    url = f"https://localhost:{port}/v1"
    client = client_class(url)
    [error] = await client.answer([ask()], model="m")
    await client.aclose()
    assert isinstance(error, ConnectionFailed)
    assert "self-signed certificate" in str(error)
    assert "set SSL_CERT_FILE" in str(error)
    monkeypatch.setenv("SSL_CERT_FILE", str(LOCALHOST))
    client = client_class(url)
    [reply] = await client.answer([ask()], model="m")
    await client.aclose()
    assert reply.text == "hello"


async def test_a_connection_that_is_not_made_names_the_limit_for_connecting(client_class, ask):
    """Not the longer one of the attempt."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/v1"
        client = client_class(url, connect_seconds=0.05)
        [error] = await client.answer([ask()], model="m")
        await client.aclose()
    assert isinstance(error, CallTimeout)
    assert "no connection to 127.0.0.1 in 0.05 s" in str(error)
    assert not error.was_sent


def _bare_deflate(body):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def _members(body):
    return b"".join(gzip.compress(body[at : at + 9]) for at in range(0, len(body), 9)) + bytes(8)


@pytest.mark.parametrize(
    ("encoding", "pack"), [("deflate", _bare_deflate), ("gzip", _members), ("gzip", gzip.compress)]
)
@pytest.mark.parametrize("size", [1, 20, 10_000])
async def test_every_form_of_packing_is_read(  # noqa: PLR0917 - fixtures
    client_class, server, ask, wire_words, encoding, pack, size
):
    """Deflate without its frame, and gzip of several members, however they are cut."""
    document = wire_words.chat_document("好" * size)
    packed = pack(json.dumps(document).encode())

    async def respond(request, _body):
        response = web.StreamResponse(
            headers={"Content-Type": "application/json", "Content-Encoding": encoding}
        )
        await response.prepare(request)
        for at in range(0, len(packed), 97):
            await response.write(packed[at : at + 97])
        return response

    server.script.append(respond)
    client = client_class(server.url)
    [reply] = await client.answer([ask()], model="m")
    await client.aclose()
    assert reply.text == "好" * size


@pytest.mark.parametrize(
    "headers",
    [[b"X-Long: " + b"a" * 60_000], [b"X-%d: a" % index for index in range(900)]],
    ids=["long", "many"],
)
async def test_long_and_many_headers_are_read(client_class, raw_server, ask, wire_words, headers):
    """Up to 64 KiB each."""
    port, _ = await raw_server(json_answer(wire_words.chat_document(), *headers))
    reply = await answer_of(client_class, port, ask)
    assert reply.text == "hello"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"SSH-2.0-OpenSSH_8.9\r\n", "no valid HTTP response: .*SSH-2.0"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "closed the connection before the end of the headers"),
        (b"", "Server disconnected"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "broke off: Not enough data"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "no valid HTTP response: .*-5"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 90_000, "more than 65536 bytes"),
    ],
)
async def test_a_broken_response_is_not_taken_for_a_status(
    client_class, raw_server, ask, data, words
):
    """The library's own status 400 and its objects are not shown."""
    port, _ = await raw_server(data)
    error = await answer_of(client_class, port, ask)
    assert isinstance(error, ConnectionFailed)
    assert re.search(words, str(error))
    assert not re.search(r"400|message=|RawResponse|Error:", str(error))
