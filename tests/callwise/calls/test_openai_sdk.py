"""Additions of the `openai` package: Azure's deployments, and its own interface."""

import httpx2

from callwise.calls import Role
from callwise.calls.openai_sdk import OpenAISdkClient
from callwise.calls.role_endpoints import EndpointSettings, endpoints_from_settings

KEY = "test-key-0123456789abcdef"


async def test_a_model_of_azure_is_a_deployment(server, ask):
    """Its path, version and key header are Azure's; the rest is like any endpoint."""
    root = server.url.removesuffix("/v1")
    settings = EndpointSettings(
        kind="openai_sdk", base_url=root, model="my model", api_version="2024-10-21"
    )
    endpoint = endpoints_from_settings({Role.MAIN: settings}, environ={"CALLWISE_API_KEY": KEY})[
        Role.MAIN
    ]
    [reply] = await endpoint.client.answer([ask("hello")], model=endpoint.model)
    assert reply.text == "hello"
    [path] = server.paths
    assert path == "/openai/deployments/my%20model/chat/completions?api-version=2024-10-21"
    assert server.headers[0]["api-key"] == KEY
    assert "Authorization" not in server.headers[0]
    await endpoint.client.aclose()


async def test_the_package_is_usable_for_what_is_not_a_call(server):
    """Over the same connections, with the same key."""
    client = OpenAISdkClient(server.url, api_key=KEY)
    listed = await client.api.get("/models", cast_to=httpx2.Response)
    assert listed.json() == {"data": []}
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    await client.aclose()
