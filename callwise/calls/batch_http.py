"""The batch interfaces of OpenAI and OpenRouter over HTTP; see `batch_api`.

OpenAI takes a file of lines, a batch is created from it, and its output and error files are
downloaded. At OpenRouter the lines are in the request, and the answers in the batch. The order of
the answers is arbitrary at both.

Source: platform.openai.com/docs/guides/batch; openrouter.ai/docs/batch-quickstart.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self
from urllib.parse import quote

import orjson

from callwise.calls.batch_interface import (
    BatchClient,
    BatchLine,
    BatchState,
    LineResult,
    PayRequest,
    Submitted,
)
from callwise.calls.errors import BadResponse, CallError
from callwise.calls.payload import body_bytes, document_of, member, whole_number

__all__ = ["BATCH_APIS", "OpenAIBatchApi", "OpenRouterBatchApi"]

_PAGE = 100
"""Batches in a page of the list; the most that both providers give."""

MAX_PAGES = 1000
"""Most pages of a list that are read."""

MAX_RESULT_BYTES = 2**30
"""Longest file of results that is read."""

_BATCHES = "/batches"
"""A POST to it creates a batch, and nothing else buys anything."""

_METADATA = "callwise_submission"


def _for_nothing(may_buy: bool) -> Callable[[], None]:
    del may_buy
    return lambda: None


class _HttpBatchApi:
    """Requests that both interfaces have."""

    def __init__(
        self, client: BatchClient, *, timeout_seconds: float, pay: PayRequest = _for_nothing
    ) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._pay = pay

    def paid_by(self, pay: PayRequest) -> Self:
        """Return the interface with each of its requests paid for."""
        return type(self)(self._client, timeout_seconds=self._timeout_seconds, pay=pay)

    async def newest(self) -> str:
        """Return the id of the newest batch; empty for none."""
        page = await self._document("GET", "/batches?limit=1")
        return next((_id_of(each) for each in _items(page)), "")

    async def state(self, batch_id: str) -> BatchState:
        """Return the batch as it is now."""
        return _state_of(await self._document("GET", f"/batches/{quote(batch_id, safe='')}"))

    async def _bytes(
        self, method: str, url: str, content: bytes = b"", content_type: str = "application/json"
    ) -> bytes:
        on_sent = self._pay(method == "POST" and url == _BATCHES)
        try:
            answer = await self._client.request(
                method,
                url,
                content,
                content_type=content_type,
                timeout_seconds=self._timeout_seconds,
                max_answer_bytes=MAX_RESULT_BYTES,
                on_sent=on_sent,
            )
        except CallError as error:
            if getattr(error, "was_sent", True):
                on_sent()
            raise
        on_sent()
        return answer

    async def _document(
        self, method: str, url: str, content: bytes = b"", content_type: str = "application/json"
    ) -> dict[str, Any]:
        data = await self._bytes(method, url, content, content_type)
        try:
            document = document_of(data)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise BadResponse(f"{method} {url}: expected a JSON object, got {len(data)} bytes")
        return document

    async def _made(self, url: str, content: bytes, content_type: str = "application/json") -> str:
        """Return the id of what a POST has made."""
        document = await self._document("POST", url, content, content_type)
        made_id = _id_of(document)
        if not made_id:
            raise BadResponse(f"POST {url}: no id in an object with keys {sorted(document)[:8]}")
        return made_id

    async def _newer_than(self, marker: str) -> list[Mapping[str, Any]]:
        """Return the batches that are newer than a marker, oldest first.

        Where a list is not known to begin with the newest, all of it is returned.

        Raises:
            BadResponse: when the list does not end.
        """
        found: list[Mapping[str, Any]] = []
        after = ""
        for _ in range(MAX_PAGES):
            page = await self._document("GET", f"/batches?limit={_PAGE}{after}")
            items = _items(page)
            ids = [_id_of(item) for item in items]
            if marker in ids and _is_newest_first(items):
                return [*found, *items[: ids.index(marker)]][::-1]
            found += items
            if not items or not page.get("has_more"):
                return found[::-1]
            after = f"&after={quote(ids[-1], safe='')}"
        raise BadResponse(f"a list of batches longer than {MAX_PAGES * _PAGE:,}")


class OpenAIBatchApi(_HttpBatchApi):
    """OpenAI's: a file of lines, a batch of it, a file of answers and one of errors."""

    max_lines: ClassVar[int] = 50_000
    names_batches: ClassVar[bool] = True

    def line_body(self, body: Mapping[str, Any], *, model: str) -> bytes:
        """Return a request body with the batch's model."""
        return body_bytes({**body, "model": model})

    async def upload(self, name: str, path: str, lines: Sequence[BatchLine]) -> str:
        """Upload the lines as a file; return its id."""
        content = b"\n".join(
            b'{"custom_id":%b,"method":"POST","url":%b,"body":%b}'
            % (orjson.dumps(line.custom_id), orjson.dumps(f"/v1{path}"), line.body)
            for line in lines
        )
        return await self._made("/files", *_form(name, {"purpose": "batch"}, content))

    async def create(self, submitted: Submitted, lines: Sequence[BatchLine]) -> str:
        """Create the batch and return its id."""
        del lines
        content = {
            "input_file_id": submitted.file_id,
            "endpoint": f"/v1{submitted.path}",
            "completion_window": "24h",
            "metadata": {_METADATA: submitted.name},
        }
        return await self._made(_BATCHES, orjson.dumps(content))

    async def find(self, submitted: Submitted, known: frozenset[str]) -> list[str]:
        """Return the ids of the batches with this submission's name or file, oldest first."""
        newer = await self._newer_than(submitted.marker)
        return [
            _id_of(each)
            for each in newer
            if _id_of(each) not in known
            and (
                member(each.get("metadata"), _METADATA) == submitted.name
                or each.get("input_file_id") == submitted.file_id
            )
        ]

    async def results(self, state: BatchState) -> list[LineResult]:
        """Return the lines of the output file and of the error file."""
        results: list[LineResult] = []
        for name in ("output_file_id", "error_file_id"):
            file_id = state.document.get(name)
            if isinstance(file_id, str) and file_id:
                data = await self._bytes("GET", f"/files/{quote(file_id, safe='')}/content")
                results += _results_of_lines(data)
        return results


class OpenRouterBatchApi(_HttpBatchApi):
    """OpenRouter's: the lines in the request, the answers in the batch."""

    max_lines: ClassVar[int] = 5_000
    names_batches: ClassVar[bool] = False

    def line_body(self, body: Mapping[str, Any], *, model: str) -> bytes:
        """Return a request body without a model: the batch has it."""
        del model
        return body_bytes({name: value for name, value in body.items() if name != "model"})

    async def upload(self, name: str, path: str, lines: Sequence[BatchLine]) -> str:
        """Do nothing: the lines are in the request that creates the batch."""
        del name, path, lines
        return ""

    async def create(self, submitted: Submitted, lines: Sequence[BatchLine]) -> str:
        """Create the batch and return its id."""
        requests = b",".join(
            b'{"custom_id":%b,"body":%b}' % (orjson.dumps(line.custom_id), line.body)
            for line in lines
        )
        # The server reads the fields before `requests` first, and refuses another order.
        content = b'{"endpoint":%b,"model":%b,"completion_window":"24h","requests":[%b]}' % (
            orjson.dumps(f"/v1{submitted.path}"),
            orjson.dumps(submitted.model),
            requests,
        )
        return await self._made(_BATCHES, content)

    async def find(self, submitted: Submitted, known: frozenset[str]) -> list[str]:
        """Return the ids of the batches of this size and interface, those of its model first.

        The list has no metadata, so the ids of the lines in the results decide. A model may have
        another name there than in the request.
        """
        newer = await self._newer_than(submitted.marker)
        counts = {submitted.line_count, 0, None}
        found = [
            each
            for each in newer
            if _id_of(each) not in known
            and each.get("endpoint") == f"/v1{submitted.path}"
            and member(each.get("request_counts"), "total") in counts
        ]
        found.sort(key=lambda each: each.get("model") != submitted.model)
        return [_id_of(each) for each in found]

    async def results(self, state: BatchState) -> list[LineResult]:
        """Return the results in the batch, or those of its pages."""
        items = state.document.get("results")
        if isinstance(items, list):
            return list(_results(items))
        results: list[LineResult] = []
        url = f"/batches/{quote(state.batch_id, safe='')}/results"
        cursor = ""
        for _ in range(MAX_PAGES):
            page = await self._document("GET", url + cursor)
            results += _results(_items(page))
            following = page.get("next_cursor")
            if not page.get("has_more") or not isinstance(following, str):
                return results
            cursor = f"?cursor={quote(following, safe='')}"
        raise BadResponse(f"batch {state.batch_id} has more than {MAX_PAGES:,} pages of results")


BATCH_APIS: Mapping[str, type[OpenAIBatchApi] | type[OpenRouterBatchApi]] = {
    "openai": OpenAIBatchApi,
    "openrouter": OpenRouterBatchApi,
}
"""The batch interfaces, by their word in `BackgroundKnobs.api`."""


def _items(page: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    items = page.get("data")
    return [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []


def _is_newest_first(page: Sequence[Mapping[str, Any]]) -> bool:
    first, last = page[0].get("created_at"), page[-1].get("created_at")
    if isinstance(first, int | float) and isinstance(last, int | float) and first > last:
        return True
    return len(page) == 1


def _id_of(document: Mapping[str, Any]) -> str:
    found = document.get("id")
    return found if isinstance(found, str) else ""


def _state_of(document: Mapping[str, Any]) -> BatchState:
    errors = member(document.get("errors"), "data")
    problems = [each for each in errors if isinstance(each, dict)] if errors else []
    words = [str(each.get("message") or each.get("code") or "") for each in problems]
    bad_lines = {
        place - 1: word
        for each, word in zip(problems, words, strict=True)
        if type(place := each.get("line")) is int and place > 0
    }
    single = member(document.get("error"), "message")
    if isinstance(single, str):
        words.append(single)
    problem = "; ".join(dict.fromkeys(filter(None, words)))
    status = str(document.get("status") or "")
    return BatchState(_id_of(document), status, problem, bad_lines, document)


def _results_of_lines(data: bytes) -> Iterator[LineResult]:
    for text in data.splitlines():
        try:
            item = document_of(text)
        except ValueError:
            continue  # a blank line, or one whose call is then without a result
        yield from _results([item])


def _results(items: Sequence[Any]) -> Iterator[LineResult]:
    for item in items:
        custom_id = member(item, "custom_id")
        if not isinstance(custom_id, str):
            continue
        response, error = member(item, "response"), member(item, "error")
        status = whole_number(member(response, "status_code"))
        if status is not None:
            yield LineResult(custom_id, status, member(response, "body"))
        elif error:
            code = str(member(error, "code") or member(error, "type") or "")
            if code == "invalid_request_error":
                yield LineResult(custom_id, 400, {"error": error})
            else:
                yield LineResult(custom_id, None, error, code)


def _form(name: str, fields: Mapping[str, str], content: bytes) -> tuple[bytes, str]:
    """Return a form with one file as bytes, and its content type."""
    boundary = f"callwise-{name}"
    while boundary.encode() in content:
        boundary += "-"
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
        for field, value in fields.items()
    )
    head += (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}.jsonl"\r\n'
        "Content-Type: application/jsonl\r\n\r\n"
    )
    body = b"%b%b\r\n--%b--\r\n" % (head.encode(), content, boundary.encode())
    return body, f"multipart/form-data; boundary={boundary}"
