"""A server that answers as real providers do: good answers, refused or reshaped by a script.

The good answers are the simulated model's, in any way of asking for a form: by schema, by
JSON mode, by words alone, with or without a system message. They depend on the material
and the form only, so a turn whose oddities were all read ends in the same reply as a turn
without any.
"""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from aiohttp import web

from callwise.simulator.model import SimulatedModel
from callwise.simulator.request import asked_schema
from callwise.simulator.server_responses import chat_response

__all__ = ["Asked", "LogEntry", "ProviderServer", "Script", "Sent", "chars_of", "text_of"]

JUDGE_MODEL = "judge-model"
"""What the judge's model is called where a behaviour is the judge's alone."""

SCHEMA_WORDS = "JSON schema:"

TEXT_LENGTHS = frozenset({"minLength", "maxLength", "pattern", "$defs"})
"""What only some ways of asking for a form can say."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Bytes that are sent instead of a good answer, or made from it.

    Args:
        body: a JSON document, or bytes as they are; None closes the connection unanswered.
        status: HTTP status.
        headers: more headers; `Content-Type` is JSON unless named.
        delay_seconds: how long the answer is kept back; None never answers.
        promised_bytes: what `Content-Length` says, where that is not the truth: the
            connection breaks off after the body.
        has_usage: whether a client can know the tokens that it was charged for.
        is_usable: whether it is an answer that the model gave, and not a failure on the way.
    """

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float | None = 0.0
    promised_bytes: int | None = None
    has_usage: bool = True
    is_usable: bool = True


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that the server received.

    Args:
        number: which one; starts at 1, and again at 1 when a behaviour begins late.
        times: how often the same question was asked before; starts at 0.
        body: as it was sent.
        properties: names of the fields that the answer must have.
        schema: the form of the answer, however it was asked for; None for plain text.
        question: identifies material and form, whatever the parameters; a repair asks the
            same question.
        headers: of the request.
    """

    number: int
    times: int
    body: Mapping[str, Any]
    properties: frozenset[str]
    schema: Mapping[str, Any] | None
    question: str
    headers: Mapping[str, str]

    @property
    def is_judge(self) -> bool:
        """Whether it asks for scores."""
        return "verdicts" in self.properties or self.body.get("model") == JUDGE_MODEL

    @property
    def wants_candidates(self) -> bool:
        """Whether it asks for candidates of the reply."""
        return "candidates" in self.properties

    @property
    def max_tokens(self) -> int:
        """The limit on the answer; 0 for none."""
        return int(self.body.get("max_completion_tokens") or self.body.get("max_tokens") or 0)


class Script(Protocol):
    """The answers of one server to its requests. Made for each server: it may count."""

    def __call__(self, asked: Asked, good: dict[str, Any]) -> Sent | None:
        """Return what to send, or None for the good answer."""
        ...


@dataclass(slots=True)
class LogEntry:
    """One received request and what it got.

    Args:
        asked: the request.
        status: HTTP status; None when it got no response.
        input_tokens: prompt tokens that the response names; 0 where it names none.
        output_tokens: answer tokens that the response names.
        is_odd: whether the script meddled with it.
        is_answered: whether it got an answer of the model, odd or not.
    """

    asked: Asked
    status: int | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    is_odd: bool = False
    is_answered: bool = False


def text_of(message: Mapping[str, Any]) -> str:
    """Return a message's text."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content or ())


def chars_of(body: Mapping[str, Any]) -> int:
    """Return how many characters the messages of a request have."""
    return sum(len(text_of(message)) for message in body["messages"])


def _split(text: str) -> tuple[str, str] | None:
    """Return instructions and material of a message that has both, or None."""
    decoder = json.JSONDecoder()
    start = text.find("\n{")
    while start >= 0:
        try:
            _, end = decoder.raw_decode(text, start + 1)
        except ValueError:
            end = start + 1
        else:
            if not text[end:].strip():
                return text[:start].strip(), text[start + 1 :].strip()
        start = text.find("\n{", end)
    return None


def _plain_form(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema without references and lengths of texts, which not every way has."""

    def plain(node: Any) -> Any:
        if isinstance(node, list):
            return [plain(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return plain(schema["$defs"][node["$ref"].rpartition("/")[2]])
        if isinstance(node.get("properties"), dict):
            forms = {name: plain(form) for name, form in node["properties"].items()}
            return {"type": "object", "properties": forms, "required": list(forms)}
        return {key: plain(value) for key, value in node.items() if key not in TEXT_LENGTHS}

    found: dict[str, Any] = plain(schema)
    return found


def _canonical(body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return a request as the simulated model reads it, and the schema as it was given."""
    messages = [dict(message) for message in body["messages"]]
    if all(message.get("role") not in {"system", "developer"} for message in messages):
        parts = _split(text_of(messages[0]))
        if parts is not None:
            messages[:1] = [
                {"role": "system", "content": parts[0]},
                {"role": "user", "content": parts[1]},
            ]
    form = asked_schema({**body, "messages": messages})
    for message in messages:
        before, marker, _ = text_of(message).partition(SCHEMA_WORDS)
        if marker and message.get("role") in {"system", "developer"}:
            message["content"] = before.rpartition("\n\n")[0]
    kept = {name: body[name] for name in ("n", "logprobs", "top_logprobs") if name in body}
    canonical = {"model": body.get("model"), "messages": messages, **kept}
    if form is not None:
        schema = {"name": "answer", "strict": True, "schema": _plain_form(form)}
        canonical["response_format"] = {"type": "json_schema", "json_schema": schema}
    return canonical, form


class ProviderServer:
    """An OpenAI-compatible endpoint on this machine, with the oddities of its script.

    Args:
        script: None is a server without any.
        port: 0 takes a free one.
        prefix: the path before `/chat/completions`.

    Attributes:
        log: every request to the chat route, in the order of arrival.
        strays: requests to other routes.
        is_scripted: whether the script is in force; a run may switch it on late.
    """

    def __init__(self, script: Script | None = None, *, port: int = 0, prefix: str = "/v1") -> None:
        self.log: list[LogEntry] = []
        self.strays = 0
        self.is_scripted = True
        self._script = script
        self._model = SimulatedModel()
        self._answered: Counter[str] = Counter()
        self._times: Counter[str] = Counter()
        self._number = 0
        self._port = port
        self._prefix = prefix
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def origin(self) -> str:
        """The URL without a path. Known once the server runs."""
        if self._runner is None:
            raise RuntimeError("the server does not run: use `async with`")
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    @property
    def base_url(self) -> str:
        """The URL for an OpenAI client."""
        return f"{self.origin}{self._prefix}"

    async def __aenter__(self) -> Self:
        """Listen."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post(f"{self._prefix}/chat/completions", self._chat)
        app.router.add_post("/{stray:.*}", self._stray)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.2
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of hanging requests, and stop."""
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()

    def begin(self) -> None:
        """Put the script in force, counting from here."""
        self.is_scripted = True
        self._number = 0
        self._times.clear()

    def mend(self) -> None:
        """Answer well from now on."""
        self.is_scripted = False

    async def _stray(self, _request: web.Request) -> web.Response:
        self.strays += 1
        return web.json_response({"detail": "Not Found"}, status=404)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        entry = self._received(json.loads(await request.read()), request.headers)
        asked = entry.asked
        sample = asked.body.get("seed")
        if not isinstance(sample, int):
            sample = self._answered[asked.question]
        good = self._good(asked, sample)
        usage = dict(good["usage"])
        sent = self._script(asked, good) if self.is_scripted and self._script else None
        entry.is_odd = sent is not None
        sent = sent or Sent(good)
        entry.is_answered = sent.is_usable and sent.status == 200
        if entry.is_answered:
            self._answered[asked.question] += 1
        return await self._send(request, sent, entry, usage)

    def _received(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> LogEntry:
        canonical, schema = _canonical(body)
        properties = frozenset((schema or {}).get("properties") or ())
        material = next(each for each in canonical["messages"] if each["role"] != "system")
        key = json.dumps([material, sorted(properties)], sort_keys=True)
        question = hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=16).hexdigest()
        self._number += 1
        asked = Asked(
            number=self._number,
            times=self._times[question],
            body=body,
            properties=properties,
            schema=schema,
            question=question,
            headers=dict(headers),
        )
        self._times[question] += 1
        entry = LogEntry(asked)
        self.log.append(entry)
        return entry

    def _good(self, asked: Asked, sample: int) -> dict[str, Any]:
        canonical, _ = _canonical(asked.body)
        answer = self._model.answer(canonical, sample, digest=asked.question)
        model = str(asked.body.get("model"))
        good = chat_response(answer, model=model, request_id=asked.question[:16])
        return {**good, "id": f"chatcmpl-{asked.question[:16]}", "model": model}

    async def _send(
        self, request: web.Request, sent: Sent, entry: LogEntry, usage: Mapping[str, int]
    ) -> web.StreamResponse:
        if sent.delay_seconds is None:
            await self._closing.wait()
        elif sent.delay_seconds:
            await asyncio.sleep(sent.delay_seconds)
        if sent.body is None or sent.delay_seconds is None:
            if request.transport is not None:
                request.transport.close()
            return web.Response()
        entry.status = sent.status
        if sent.status == 200 and sent.has_usage:
            entry.input_tokens = usage["prompt_tokens"]
            entry.output_tokens = usage["completion_tokens"]
        data = sent.body if isinstance(sent.body, bytes) else json.dumps(sent.body).encode()
        headers = {"Content-Type": "application/json", **sent.headers}
        if sent.promised_bytes is None:
            return web.Response(body=data, status=sent.status, headers=headers)
        headers["Content-Length"] = str(sent.promised_bytes)
        response = web.StreamResponse(status=sent.status, headers=headers)
        await response.prepare(request)
        await response.write(data)
        if request.transport is not None:
            request.transport.close()
        return response
