"""`callwise endpoints check`: what is found out, what is written, and what is wrong."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from callwise.calls import Role
from callwise.calls.role_endpoints import endpoints_from_settings
from graph.app import app

KEY = "sk-test-0123456789abcdef"
FORM = '{"hue": "blue", "is_dark": false}'


@dataclass
class Provider:
    """A server that answers as a provider does.

    Args:
        refuses: its answers to request fields that it does not take.
        keeps_to: ways of asking for a form after which its answers have it.
        key: the key that it wants; None wants none.
        models: its list of models; None has no such route.
        routes: further routes by path, with their JSON.
        status: what every chat request is answered with, instead.
        has_usage: whether it reports tokens.
        hangs: whether it takes every request and never answers.
    """

    refuses: Mapping[str, str] = field(default_factory=dict)
    keeps_to: tuple[str, ...] = ("json_schema", "json_object", "prompt")
    key: str | None = None
    models: list[Mapping[str, Any]] | None = None
    routes: Mapping[str, Any] = field(default_factory=dict)
    status: tuple[int, str] | None = None
    has_usage: bool = True
    hangs: bool = False
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    base_url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, and keep it."""
        body = await request.json() if request.method == "POST" else None
        self.requests.append((request.method, request.path, body))
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            return _error(401, f"Incorrect API key provided: {request.headers['Authorization']}")
        if request.path == "/v1/models" and self.models is not None:
            return web.json_response({"object": "list", "data": self.models})
        if request.path in self.routes:
            return web.json_response(self.routes[request.path])
        if request.path == "/v1/embeddings":
            data = [{"index": 0, "embedding": [0.1, 0.2, 0.3]}]
            return web.json_response({"data": data, "model": "e", "usage": {"prompt_tokens": 1}})
        if request.path == "/v1/chat/completions" and request.method == "POST":
            return await self.chat(request, body)
        return _error(404, "Not Found")

    async def chat(self, request: web.Request, body: Any) -> web.StreamResponse:
        """Answer one chat request."""
        if self.status is not None:
            return _error(*self.status)
        form = body.get("response_format", {}).get("type")
        present = {*body, form, *(f"role.{each['role']}" for each in body["messages"])}
        for name, words in self.refuses.items():
            if name in present:
                return _error(400, words)
        usage = {"usage": {"prompt_tokens": 9, "completion_tokens": 3}} if self.has_usage else {}
        head = {"id": "x", "object": "chat.completion", "created": 0, "model": "served"}
        if body.get("stream"):
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            chunk = {"choices": [{"index": 0, "delta": {"content": "OK"}, "finish_reason": "stop"}]}
            for each in ({**head, **chunk}, {**head, "choices": [], **usage}):
                await response.write(f"data: {json.dumps(each)}\n\n".encode())
            await response.write(b"data: [DONE]\n\n")
            return response
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": self._text(body, form)},
            "finish_reason": "stop",
        }
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [{"token": "x", "logprob": -0.1, "top_logprobs": []}]}
        return web.json_response({**head, "choices": [choice], **usage})

    def _text(self, body: Any, form: str | None) -> str:
        words = " ".join(each["content"] for each in body["messages"])
        if "single word" in words:
            return "OK"
        is_told = form == "json_schema" or "hue" in words
        return FORM if is_told and (form or "prompt") in self.keeps_to else "It is blue, and day."


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)


@contextmanager
def _running(provider: Provider) -> Iterator[Provider]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> web.AppRunner:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", provider.handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        provider.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    try:
        yield provider
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(120)
        loop.close()


@pytest.fixture
def providing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Provider]]:
    """Return a function that starts a provider, and sets it as the endpoint unless told not to."""
    with ExitStack() as stack:

        def start(*, is_set: bool = True, **fields: Any) -> Provider:
            provider = stack.enter_context(_running(Provider(**fields)))
            if is_set:
                monkeypatch.setenv("CALLWISE_BASE_URL", provider.base_url)
                monkeypatch.setenv("CALLWISE_MODEL", "m")
            return provider

        yield start


def _table(text: str) -> dict[str, list[str]]:
    """Return the printed table: the cells of each line by its name."""
    lines = text.split("\n\n", maxsplit=1)[0].splitlines()
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    return {row[0]: row[1:] for row in cells}


def test_without_an_endpoint_it_names_the_variables(cli: Any) -> None:
    """In a few lines, and that all answers are simulated."""
    shown = cli("endpoints", "check")
    assert shown.exit_code == 0
    assert "simulated" in shown.stdout
    for word in ("CALLWISE_BASE_URL", "CALLWISE_MODEL", "CALLWISE_API_KEY", "Ollama"):
        assert word in shown.stderr
    assert len(shown.stderr.strip().splitlines()) <= 5


def test_a_capable_endpoint(cli: Any, providing: Any, one_object: Any) -> None:
    """Everything is found out, and every request counted."""
    provider = providing(
        models=[{"id": "other"}, {"id": "m", "max_model_len": 8192}],
        routes={"/v1/batches": {"data": []}},
    )
    found = one_object(cli("endpoints", "check", "--json"))
    [entry] = found["endpoints"]
    expected = {
        "roles": ["main", "judge", "fast"],
        "model": "m",
        "works": True,
        "served_model": "served",
        "schema_mode": "json_schema",
        "has_logprobs": True,
        "has_usage": True,
        "has_stream_usage": True,
        "context_tokens": 8192,
        "batch_route": "/batches",
        "is_priced": False,
        "error": None,
    }
    assert {name: entry[name] for name in expected} == expected
    assert found["requests"] == len(provider.requests) == 5
    assert (found["input_tokens"], found["output_tokens"]) == (27, 9)
    assert [path for method, path, _ in provider.requests if method == "POST"] == [
        "/v1/chat/completions"
    ] * 3


def test_the_table_has_a_column_for_each_model(cli: Any, providing: Any, monkeypatch: Any) -> None:
    """Roles that share one are asked once; an embedding model has its own lines."""
    provider = providing()
    monkeypatch.setenv("CALLWISE_JUDGE_MODEL", "j")
    monkeypatch.setenv("CALLWISE_EMBED_MODEL", "e")
    prices = "endpoints.main.prices={input_usd_per_million: 1, output_usd_per_million: 2}"
    shown = cli("endpoints", "check", "-s", prices)
    assert shown.exit_code == 0, shown.output
    table = _table(shown.stdout)
    assert next(iter(table)) == "main, fast"
    assert table["model"] == ["m", "j", "e"]
    assert table["works"] == ["yes"] * 3
    assert table["embeddings"][-1] == "3 numbers"
    assert table["price"][0] == "yes"
    assert table["price"][1].startswith("unknown")
    assert table["batch route"] == ["no", "no", "-"]
    models = [body["model"] for _, _, body in provider.requests if body]
    assert models == ["m"] * 3 + ["j"] * 3 + ["e"]
    assert f"{len(provider.requests)} requests" in shown.stdout


def test_one_role_can_be_checked(cli: Any, providing: Any, monkeypatch: Any) -> None:
    """And a role that does not exist, or has no model, is named."""
    provider = providing()
    monkeypatch.setenv("CALLWISE_JUDGE_MODEL", "j")
    assert cli("endpoints", "check", "--role", "judge").exit_code == 0
    assert {body["model"] for _, _, body in provider.requests if body} == {"j"}
    for role, words in (("jugde", "main, judge, fast, embed"), ("embed", "CALLWISE_EMBED_MODEL")):
        shown = cli("endpoints", "check", "--role", role)
        assert (shown.exit_code, words in shown.stderr) == (2, True)


@pytest.mark.parametrize(
    ("routes", "context"),
    [
        ({"/props": {"default_generation_settings": {"n_ctx": 2048}}}, 2048),
        ({"/api/ps": {"models": [{"name": "m", "context_length": 4096}]}}, 4096),
        ({"/props": {"default_generation_settings": {"n_ctx": "many"}}}, None),
        (
            {"/props": [], "/api/ps": {"models": [None, {"name": "other", "context_length": 1}]}},
            None,
        ),
    ],
)
def test_a_local_server_is_asked_for_its_context_length(
    cli: Any, providing: Any, one_object: Any, routes: Any, context: int | None
) -> None:
    """In the way of llama.cpp, then in that of Ollama; what it says is not trusted."""
    providing(routes=routes)
    [entry] = one_object(cli("endpoints", "check", "--json"))["endpoints"]
    assert entry["context_tokens"] == context


def test_what_is_refused_is_learned_and_written(
    cli: Any, providing: Any, monkeypatch: Any, tmp_path: Path, one_object: Any
) -> None:
    """Then a run from the written file is refused nothing."""
    provider = providing(
        refuses={
            "json_schema": "This response_format type is unavailable now",
            "temperature": "'temperature' does not support 0.2. Only the default (1)",
            "max_tokens": "Unsupported: 'max_tokens'. Use 'max_completion_tokens' instead.",
            "logprobs": "logprobs is not supported",
            "role.system": "'messages[0].role' does not support 'system' with this model",
        },
    )
    shown = cli("endpoints", "check", "--out", "endpoints.yaml", "--preset", "balanced")
    assert shown.exit_code == 0, shown.output
    assert 'callwise run "Hello" --preset endpoints.yaml' in shown.stderr
    table = _table(shown.stdout)
    assert table["structured output"] == ["json_object"]
    assert table["temperature"] == ["fixed, not sent"]
    assert table["token limit"] == ["max_completion_tokens"]
    assert table["system role"] == ["no, in the user message"]
    assert table["log-probabilities"] == ["no"]
    assert f"{len(provider.requests)} requests" in shown.stdout
    written = yaml.safe_load(Path("endpoints.yaml").read_text())
    assert written["extends"] == "balanced"
    main = written["endpoints"]["main"]
    assert main["base_url"] == provider.base_url
    assert {"temperature", "logprobs"} <= set(main["refused"])
    monkeypatch.delenv("CALLWISE_BASE_URL")
    monkeypatch.delenv("CALLWISE_MODEL")
    settings = app.settings("endpoints.yaml")
    assert settings.overlap  # of balanced
    endpoint = endpoints_from_settings(settings.endpoints, environ={})[Role.JUDGE]
    client: Any = endpoint.client
    assert (endpoint.model, client.capabilities("m").schema_mode) == ("m", "json_object")
    provider.requests.clear()
    again = cli("endpoints", "check", "--preset", "endpoints.yaml")
    assert again.exit_code == 0, again.output
    chats = [body for _, _, body in provider.requests if body]
    assert len(chats) == 3


@pytest.mark.parametrize(("keeps_to", "tried"), [(("json_object", "prompt"), 2), (("prompt",), 3)])
def test_a_way_that_is_taken_and_not_kept_to_is_left(
    cli: Any, providing: Any, one_object: Any, keeps_to: tuple[str, ...], tried: int
) -> None:
    """A server that ignores a schema is asked for JSON, and at last by a text."""
    provider = providing(keeps_to=keeps_to)
    [entry] = one_object(cli("endpoints", "check", "--json"))["endpoints"]
    assert (entry["works"], entry["schema_mode"]) == (True, keeps_to[0])
    assert len([body for _, _, body in provider.requests if body]) == 2 + tried


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"keeps_to": ()}, ("no answer had the form", "CALLWISE_MODEL")),
        ({"key": "another"}, ("AuthFailed", "Set CALLWISE_API_KEY to a key of 127.0.0.1")),
        ({"status": (500, "out of memory")}, ("ServerFailed", "out of memory")),
        pytest.param(
            {"status": (404, "The model `m` does not exist"), "models": [{"id": "a"}, {"id": "b"}]},
            ("UnknownModel", "Set CALLWISE_MODEL to one of: a, b"),
        ),
        pytest.param(
            {"status": (402, "Insufficient Balance")},
            ("QuotaExhausted", "The key in CALLWISE_API_KEY has no quota left"),
        ),
    ],
)
def test_a_role_that_cannot_be_served_is_named(
    cli: Any, providing: Any, monkeypatch: Any, fields: Any, words: tuple[str, ...]
) -> None:
    """With its host and model, what to do, and no key; nothing is written then."""
    provider = providing(**fields)
    monkeypatch.setenv("CALLWISE_API_KEY", KEY)
    shown = cli("endpoints", "check", "--out", "endpoints.yaml")
    assert shown.exit_code == 1
    assert "main and judge and fast at 127.0.0.1-" in shown.stderr
    assert all(word in shown.stderr for word in words), shown.stderr
    assert KEY not in shown.output
    assert not Path("endpoints.yaml").exists()
    assert f"{len(provider.requests)} requests" in shown.stdout


def test_a_server_that_is_not_there(cli: Any, monkeypatch: Any, providing: Any) -> None:
    """The setting of the URL is named: of the role, of main, or the variable."""
    providing()
    dead = "http://127.0.0.1:9/v1"
    shown = cli("endpoints", "check", "-s", f"endpoints.judge.base_url={dead}")
    assert shown.exit_code == 1
    assert "judge at 127.0.0.1-9 (m): ConnectionFailed" in shown.stderr
    assert "is endpoints.judge.base_url right?" in shown.stderr
    assert _table(shown.stdout)["works"] == ["yes", "NO"]
    monkeypatch.setenv("CALLWISE_BASE_URL", dead)
    shown = cli("endpoints", "check")
    assert "is CALLWISE_BASE_URL right?" in shown.stderr


def test_what_is_missing_ends_it_before_anything_is_sent(cli: Any, monkeypatch: Any) -> None:
    """By the variable to set."""
    monkeypatch.setenv("CALLWISE_BASE_URL", "https://api.example.com/v1")
    monkeypatch.setenv("CALLWISE_MODEL", "m")
    shown = cli("endpoints", "check")
    assert (shown.exit_code, "CALLWISE_API_KEY" in shown.stderr) == (2, True)


def test_roles_on_two_hosts_are_written_apart(
    cli: Any, providing: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    """A role has only what differs from main; a preset's file is extended by its path."""
    first, second = providing(), providing(is_set=False)
    Path("own.yaml").write_text("extends: frugal\nsampling: {default: {temperature: 0.5}}\n")
    arguments = (
        "endpoints", "check", "--preset", "own.yaml", "-o", "sub/found.yaml",
        "-s", f"endpoints.judge={{base_url: '{second.base_url}', model: j, api_key_env: J_KEY}}",
    )  # fmt: skip
    monkeypatch.setenv("J_KEY", KEY)
    assert cli(*arguments).exit_code == 0
    text = Path("sub/found.yaml").read_text()
    assert KEY not in text
    written = yaml.safe_load(text)
    assert written["extends"] == "../own.yaml"
    assert set(written["endpoints"]) == {"main", "judge"}
    assert written["endpoints"]["main"]["base_url"] == first.base_url
    assert written["endpoints"]["judge"]["base_url"] == second.base_url
    assert written["endpoints"]["judge"]["api_key_env"] == "J_KEY"
    settings = app.settings("sub/found.yaml")
    assert settings.sampling["default"].temperature == 0.5
    found = endpoints_from_settings(settings.endpoints, environ={"J_KEY": KEY})
    assert [found[role].model for role in (Role.MAIN, Role.JUDGE, Role.FAST)] == ["m", "j", "m"]
    assert cli(*arguments).exit_code == 0  # its own file may be written again


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [("found.json", None, "found.json.yaml"), ("own.yaml", "search: {}", "is not of this command")],
)
def test_no_file_of_someone_else_is_written_over(
    cli: Any, providing: Any, name: str, text: str | None, words: str
) -> None:
    """Nor one that no command could read; nothing is sent then."""
    provider = providing()
    if text is not None:
        Path(name).write_text(text)
    shown = cli("endpoints", "check", "--out", name)
    assert (shown.exit_code, words in shown.stderr) == (2, True)
    assert provider.requests == []


def test_time_is_bounded(cli: Any, providing: Any) -> None:
    """An endpoint that takes a request and never answers ends the check in its time."""
    provider = providing(hangs=True)
    shown = cli("endpoints", "check", "--max-seconds", "1")
    assert shown.exit_code == 1
    assert "no answer in the time there was. Give it more: --max-seconds" in shown.stderr
    assert f"{len(provider.requests)} requests" in shown.stdout
