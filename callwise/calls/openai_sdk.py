"""An OpenAI-compatible endpoint through the `openai` package.

Slower per call than `openai_http`, and with the package's breadth: Azure's deployments
here, and through `OpenAISdkClient.api` files, batches and whatever else it offers. Every
request goes over the same transport, so limits, proxies, errors and the moment of sending
are the same as there.
"""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextvars import ContextVar
from typing import Any, cast
from urllib.parse import quote

import httpx2
import openai
import orjson

from callwise.calls.errors import CallError, ConfigError
from callwise.calls.hosts import custom_headers, openai_headers
from callwise.calls.http_transport import (
    HttpResponse,
    HttpTransport,
    RequestMoment,
    Response,
    TransportFailed,
)
from callwise.calls.openai_http import OpenAIClient

__all__ = ["OpenAISdkClient"]

_MOMENT: ContextVar[RequestMoment | None] = ContextVar("callwise_request_moment", default=None)
"""The moment of the request that the current task makes; the package passes nothing through."""


class OpenAISdkClient(OpenAIClient):
    """A client of one endpoint that sends through `openai.AsyncOpenAI`.

    Args:
        base_url: up to and with the version; of an Azure resource with `api_version`, its
            root, e.g. `https://my-resource.openai.azure.com`.
        api_version: version of Azure's interface, e.g. `2024-10-21`: models are deployments
            there. None for every other endpoint.
    """

    def __init__(self, base_url: str, *, api_version: str | None = None, **options: Any) -> None:
        super().__init__(base_url, **options)
        self._api_version = api_version

    @property
    def api(self) -> openai.AsyncOpenAI:
        """The package's own client, for what is not a call. It is open until `aclose`.

        What is asked through it is counted by no budgeter.
        """
        return cast("_SdkTransport", self._connected()).api

    async def request(self, method: str, url: str, content: bytes = b"", **options: Any) -> bytes:
        """Refuse: batches go over endpoints of kind `openai`.

        Raises:
            ConfigError: always; nothing is sent.
        """
        del content, options
        raise ConfigError(
            f"{method} {url}: an endpoint of kind openai_sdk has no batch interface here; set "
            "`kind` to openai, or leave `load.background.api` out"
        )

    def _open(self) -> "_SdkTransport":
        http = self._new_http()
        # None of the environment's headers and keys goes to a host that it is not for.
        names = {"OpenAI-Organization", "OpenAI-Project", *custom_headers(os.environ)}
        left_out = names - openai_headers(self._host, os.environ).keys()
        if self._api_key is None:
            left_out.add("Authorization")
        return _SdkTransport(self._api(http), http, left_out)

    def _api(self, http: HttpTransport) -> openai.AsyncOpenAI:
        options: dict[str, Any] = {
            "api_key": self._api_key or "",
            "admin_api_key": "",
            "max_retries": 0,
            "timeout": None,  # each attempt has its own limit
            "http_client": httpx2.AsyncClient(
                transport=_HttpxTransport(http), follow_redirects=False
            ),
            "_enforce_credentials": False,
        }
        if self._api_version is None:
            return openai.AsyncOpenAI(base_url=self._base_url, **options)
        base_url = f"{self._base_url.rstrip('/')}/openai"
        return openai.AsyncAzureOpenAI(base_url=base_url, api_version=self._api_version, **options)


class _SdkTransport:
    def __init__(self, api: openai.AsyncOpenAI, http: HttpTransport, left_out: set[str]) -> None:
        self.api = api
        self._http = http
        self._options: openai.RequestOptions = {"headers": dict.fromkeys(left_out, openai.Omit())}

    async def send(self, method: str, path: str, content: bytes, moment: RequestMoment) -> Response:
        """Send one request and return its response; see `http_transport.Transport`."""
        kind: dict[str, Any] = {
            "cast_to": httpx2.Response,
            "stream": True,
            "stream_cls": openai.AsyncStream[Any],
            "options": self._options.copy(),
        }
        token = _MOMENT.set(moment)
        try:
            if method == "GET":
                response = await self.api.get(path, **kind)
            else:
                if isinstance(self.api, openai.AsyncAzureOpenAI):
                    model = quote(orjson.loads(content)["model"], safe="")
                    path = f"/deployments/{model}{path}"
                response = await self.api.post(path, content=content, **kind)
        except openai.APIStatusError as error:
            return _ReadResponse(error.response)
        except openai.APITimeoutError as error:
            raise TimeoutError(str(error)) from error
        except openai.APIConnectionError as error:
            cause = error.__cause__
            if isinstance(cause, CallError | TransportFailed | TimeoutError):
                raise cause from None
            raise TransportFailed(str(cause or error)) from error
        finally:
            _MOMENT.reset(token)
        opened: HttpResponse = response.extensions["opened"]
        return opened

    async def aclose(self) -> None:
        """Close every connection. Safe to call twice."""
        await self.api.close()
        await self._http.aclose()


class _ReadResponse:
    def __init__(self, response: httpx2.Response) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._content = response.content

    async def read(self) -> bytes:
        return self._content

    async def pieces(self) -> AsyncGenerator[bytes]:
        yield self._content

    def close(self) -> None:
        """Do nothing: it has been read."""


class _HttpxTransport(httpx2.AsyncBaseTransport):
    def __init__(self, http: HttpTransport) -> None:
        self._http = http

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request and return its response, the body still to be read."""
        content = await request.aread()
        request.headers.pop("Accept-Encoding", None)  # the transport unpacks
        opened = await self._http.send(
            request.method,
            str(request.url),
            content,
            _MOMENT.get() or RequestMoment(),
            headers=request.headers.multi_items(),
        )
        headers = [
            (name, value)
            for name, value in opened.headers.items()
            if name.lower() != "content-encoding"
        ]
        return httpx2.Response(
            opened.status,
            headers=headers,
            stream=_Stream(opened),
            request=request,
            extensions={"opened": opened},
        )


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, opened: HttpResponse) -> None:
        self._opened = opened

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._opened.pieces()

    async def aclose(self) -> None:
        self._opened.close()
