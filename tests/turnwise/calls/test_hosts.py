"""What an endpoint is called: its host and path, and never a key."""

import pytest

from turnwise.calls.hosts import endpoint_name, is_like_a_key, shown_url

KEYS = [
    "sk-proj-abcdefgh12345678",
    "gsk_abcdefghijkl0123456789",
    "AIzaSyA1234567890abcdefghij",
    "ghp_0123456789abcdefABCDEF",
    "0123456789abcdef0123456789abcdef",
    "550e8400-e29b-41d4-a716-446655440000",
    "aB3dE5fG7hI9jK1l",
    "QWxhZGRpbjpvcGVuIHNlc2FtZQ",
    "key_abcdefgh12345678",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "sk%2Dproj%2Dabcdefgh12345678",
]
NAMES = [
    "v1",
    "api",
    "openai",
    "compatible-mode",
    "deployments",
    "gpt-4o-mini-2024-07-18",
    "qwen2.5-72b-instruct-awq",
    "meta-llama",
    "Llama-3.3-70B-Instruct-Turbo",
    "text-embedding-3-large",
    "chat_completions",
    "DeepSeek-R1-Distill-Qwen-32B",
    "accounts",
    "my-team-gateway",
    "internationalization",
]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_in_the_path_is_no_part_of_a_name(key):
    """Nor one in the query, the fragment or before the host; two keys make one name."""
    for url in (
        f"https://gate.example/{key}/v1",
        f"https://gate.example/v1/{key}",
        f"https://{key}:{key}@gate.example/v1?key={key}#{key}",
    ):
        assert endpoint_name(url) == "gate.example"
        shown = shown_url(url)
        assert key not in shown
        assert shown.startswith("https://gate.example")


@pytest.mark.parametrize("name", NAMES)
def test_a_deployment_is_a_part_of_a_name(name):
    """What people call things by is made of words and short numbers."""
    assert not is_like_a_key(name)
    url = f"https://gate.example:8443/{name}/v2"
    assert shown_url(url) == url


def test_names_are_as_they_were():
    """Recordings name endpoints: these names are kept."""
    assert endpoint_name("https://api.deepseek.com/v1") == "api.deepseek.com"
    assert endpoint_name("http://localhost:8000/v1") == "localhost-8000"
    assert endpoint_name("https://openrouter.ai/api/v1") == "openrouter.ai-api"
    assert endpoint_name("https://h/compatible-mode/v1") == "h-compatible-mode"
    assert shown_url("http://[::1]:80/v1") == "http://[::1]:80/v1"
