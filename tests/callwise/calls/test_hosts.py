"""Names of hosts, and the table of known endpoints."""

from datetime import date
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from callwise.calls.capabilities import Capabilities
from callwise.calls.endpoint_settings import checked_base_url
from callwise.calls.hosts import (
    KnownEndpoint,
    endpoint_name,
    is_like_a_key,
    known_batch_limits,
    known_capabilities,
    known_endpoints,
    shown_url,
)

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


HOSTS_OF_THE_TABLE = {
    "OpenAI",
    "Anthropic, compatible route",
    "DeepSeek",
    "DashScope (Qwen)",
    "Moonshot (Kimi)",
    "Zhipu (GLM)",
    "Groq",
    "OpenRouter",
    "Gemini, compatible route",
    "Mistral",
    "vLLM",
    "SGLang",
    "llama.cpp server",
    "Ollama",
    "LM Studio",
}


def test_every_endpoint_that_is_promised_has_a_row():
    """Once."""
    names = [row.name for row in known_endpoints()]
    assert sorted(names) == sorted(HOSTS_OF_THE_TABLE)


@pytest.mark.parametrize("row", known_endpoints(), ids=lambda row: row.name)
def test_a_row_is_whole(row):
    """Its URL can be set as it is, and is of a host that the row is recognised by."""
    assert checked_base_url(row.base_url) == row.base_url
    host = urlsplit(row.base_url).hostname
    assert host in row.hosts or (not row.hosts and host == "localhost")
    assert row.date <= date(2026, 11, 30)
    assert (row.key_variable is None) == (not row.hosts)
    assert not row.is_confirmed or row.tried.startswith("yes")


def test_no_host_is_in_two_rows():
    """The first would hide the second."""
    hosts = [host for row in known_endpoints() for host in row.hosts]
    assert len(hosts) == len(set(hosts))


@pytest.mark.parametrize(
    ("url", "model", "expected"),
    [
        ("http://localhost:8000/v1", "any", Capabilities()),
        ("https://api.example.com/v1", "gpt-5", Capabilities()),
        ("https://api.deepseek.com", "deepseek-chat", Capabilities(schema_mode="json_object")),
        (
            "https://api.openai.com/v1",
            "gpt-4o",
            Capabilities(token_limit_field="max_completion_tokens"),
        ),
        (
            "https://eu.api.openai.com/v1",
            "gpt-4-turbo",
            Capabilities(token_limit_field="max_completion_tokens", schema_mode="json_object"),
        ),
        (
            "https://api.groq.com/openai/v1",
            "openai/gpt-oss-20b",
            Capabilities(refused=frozenset({"logprobs", "top_logprobs", "n"})),
        ),
    ],
)
def test_a_host_and_a_model_decide_where_a_model_starts(url, model, expected):
    """Routers put the maker before the model; a host's subdomains are its own."""
    assert known_capabilities(url, model) == (expected, False)


@pytest.mark.parametrize("model", ["o3-mini", "gpt-5", "gpt-5-mini-2025-08-07", "gpt-5.4"])
def test_reasoning_models_are_sent_no_sampling_parameters(model):
    """They refuse each of them."""
    found, _ = known_capabilities("https://api.openai.com/v1", model)
    assert {"temperature", "top_p", "logprobs", "stop"} <= found.refused
    chat, _ = known_capabilities("https://api.openai.com/v1", "gpt-5-chat-latest")
    assert chat.refused == frozenset()


@pytest.mark.parametrize(
    "change",
    [{"schema": "x"}, {"tried": "maybe"}, {"start": {"schema_mode": "xml"}}, {"source": ""}],
)
def test_a_wrong_row_is_refused(change):
    """A typo in the file does not pass."""
    row = {"name": "x", "base_url": "https://x/v1", "source": "s", "date": "2026-11-28"}
    with pytest.raises(ValidationError):
        KnownEndpoint.model_validate({**row, "tried": "no", **change})


@pytest.mark.parametrize(
    ("url", "items"),
    [
        ("https://api.openai.com/v1", 2048),
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", 10),
        ("http://localhost:8000/v1", None),
    ],
)
def test_limits_on_texts_to_embed_are_those_of_the_table(url, items):
    """By the host alone; a server on this machine has none that is known."""
    assert known_batch_limits(url).items == items
