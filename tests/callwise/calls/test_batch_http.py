"""The batch interfaces of OpenAI and OpenRouter on the wire."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from callwise.calls.batch_http import OpenAIBatchApi, OpenRouterBatchApi
from callwise.calls.batch_interface import BatchClient, BatchLine, LineResult, Submitted
from callwise.calls.errors import BadResponse
from callwise.calls.openai_http import OpenAIClient

SUBMITTED = Submitted("cw1-2", "/chat/completions", "m", "b2", "file-9", 2)
LINES = (BatchLine("k-0", b'{"model":"m"}'), BatchLine("k-1", b'{"model":"m","x":1}'))


class Wire:
    """A client that answers from a table, and remembers what was sent."""

    batch_api = "openai"

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers
        self.sent: list[tuple[str, bytes, str]] = []

    async def request(
        self, method: str, url: str, content: bytes = b"", *, content_type: str, **_limits: Any
    ) -> bytes:
        """Return the answer of the table."""
        self.sent.append((f"{method} {url}", content, content_type))
        answer = self._answers[f"{method} {url}"]
        return answer if isinstance(answer, bytes) else orjson.dumps(answer)

    def batch_line(self, *_arguments: Any, **_options: Any) -> Any:
        """Fail: no call is made here."""
        raise NotImplementedError

    batch_answer = batch_line


def openai(answers: Mapping[str, Any]) -> tuple[OpenAIBatchApi, Wire]:
    """Return OpenAI's interface over a table of answers."""
    wire = Wire(answers)
    return OpenAIBatchApi(wire, timeout_seconds=1.0), wire


def listed(*ids: str, is_newest_first: bool = True, **fields: Any) -> dict[str, Any]:
    """Return a page of the list of batches."""
    data = [
        {"id": each, "created_at": 100 - number if is_newest_first else number, **fields}
        for number, each in enumerate(ids)
    ]
    return {"data": data, "has_more": False}


def test_a_client_of_an_endpoint_can_speak_both() -> None:
    """The shipped client has what the interfaces need, and knows which one its host has."""
    client = OpenAIClient("https://openrouter.ai/api/v1", api_key="k")
    assert isinstance(client, BatchClient)
    assert client.batch_api == "openrouter"
    for host in ("api.example.com", "notopenrouter.ai"):
        assert OpenAIClient(f"https://{host}/v1").batch_api == "openai"


async def test_the_file_has_one_line_for_each_call():
    """The form carries the purpose, and the boundary is in no line."""
    api, wire = openai({"POST /files": {"id": "file-1"}})
    assert await api.upload("cw1-2", "/embeddings", LINES) == "file-1"
    ((_, content, content_type),) = wire.sent
    boundary = content_type.removeprefix("multipart/form-data; boundary=").encode()
    parts = content.split(b"--" + boundary)
    assert b'name="purpose"\r\n\r\nbatch' in parts[1]
    lines = parts[2].split(b"\r\n\r\n", 1)[1].strip().split(b"\n")
    assert [orjson.loads(each) for each in lines] == [
        {"custom_id": "k-0", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m"}},
        {
            "custom_id": "k-1",
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {"model": "m", "x": 1},
        },
    ]


async def test_a_creation_names_its_submission():
    """The list gives the name back, so that a lost batch is found."""
    api, wire = openai({"POST /batches": {"id": "b3"}})
    assert await api.create(SUBMITTED, LINES) == "b3"
    body = orjson.loads(wire.sent[0][1])
    assert body["metadata"] == {"callwise_submission": "cw1-2"}
    assert (body["input_file_id"], body["endpoint"]) == ("file-9", "/v1/chat/completions")


@pytest.mark.parametrize("answer", [{"object": "batch"}, b"<html>", b"[]", {"id": 7}])
async def test_a_creation_without_an_id_is_no_creation(answer):
    """Whether the batch exists is then found out."""
    api, _ = openai({"POST /batches": answer})
    with pytest.raises(BadResponse):
        await api.create(SUBMITTED, LINES)


async def test_only_what_is_newer_than_the_marker_is_searched():
    """An older batch of the same name is another's."""
    own = {"metadata": {"callwise_submission": "cw1-2"}}
    api, _ = openai({"GET /batches?limit=100": listed("b4", "b3", "b2", "b1", **own)})
    assert await api.find(SUBMITTED, frozenset({"b4"})) == ["b3"]


async def test_a_list_that_begins_with_the_oldest_is_searched_as_a_whole():
    """The marker is then no end of the search."""
    own = {"input_file_id": "file-9"}
    api, _ = openai(
        {"GET /batches?limit=100": listed("b1", "b2", "b3", is_newest_first=False, **own)}
    )
    assert "b3" in await api.find(SUBMITTED, frozenset())


async def test_the_pages_of_a_list_are_read_to_the_marker():
    """One page may not have all that is newer."""
    first = {**listed("b6", "b5"), "has_more": True}
    own = {"metadata": {"callwise_submission": "cw1-2"}}
    api, wire = openai(
        {
            "GET /batches?limit=100": first,
            "GET /batches?limit=100&after=b5": {**listed("b4", "b2", **own), "has_more": True},
        }
    )
    assert await api.find(SUBMITTED, frozenset()) == ["b4"]
    assert len(wire.sent) == 2


async def test_results_are_those_of_both_files_and_broken_lines_are_left_out():
    """A line that cannot be read is as if it were missing."""
    output = (
        b'{"custom_id":"k-1","response":{"status_code":200,"body":{"a":1}},"error":null}\nx\n\n'
    )
    error = b'{"custom_id":"k-0","response":null,"error":{"code":"batch_expired","message":"late"}}'
    batch = {"id": "b", "status": "expired", "output_file_id": "o", "error_file_id": "e"}
    api, _ = openai(
        {
            "GET /batches/b": batch,
            "GET /files/o/content": output,
            "GET /files/e/content": error,
        }
    )
    state = await api.state("b")
    assert state.has_ended
    assert state.is_partial
    results = await api.results(state)
    assert results == [
        LineResult("k-1", 200, {"a": 1}),
        LineResult("k-0", None, {"code": "batch_expired", "message": "late"}, "batch_expired"),
    ]
    assert [each.was_run for each in results] == [True, False]


@pytest.mark.parametrize("status", [429, "429", 429.0])
async def test_a_status_of_a_line_may_be_a_text(status):
    """It is read as the number that it is; another text is as if the line were missing."""
    lines = [
        {"custom_id": "k-0", "response": {"status_code": status, "body": {"error": "slow down"}}},
        {"custom_id": "k-1", "response": {"status_code": "fine", "body": {}}},
    ]
    wire = Wire({"GET /batches/b": {"id": "b", "status": "completed", "results": lines}})
    api = OpenRouterBatchApi(wire, timeout_seconds=1.0)
    assert await api.results(await api.state("b")) == [
        LineResult("k-0", 429, {"error": "slow down"})
    ]


async def test_openrouters_request_has_the_lines_last_and_without_models():
    """Its server reads the fields in order."""
    wire = Wire({"POST /batches": {"id": "b", "status": "validating"}})
    api = OpenRouterBatchApi(wire, timeout_seconds=1.0)
    bodies = [api.line_body({"model": "m", "x": number}, model="m") for number in range(2)]
    lines = [BatchLine(f"k-{number}", body) for number, body in enumerate(bodies)]
    assert await api.create(SUBMITTED._replace(model="m:batch"), lines) == "b"
    body = orjson.loads(wire.sent[0][1])
    assert list(body) == ["endpoint", "model", "completion_window", "requests"]
    assert body["model"] == "m:batch"
    assert body["requests"] == [
        {"custom_id": "k-0", "body": {"x": 0}},
        {"custom_id": "k-1", "body": {"x": 1}},
    ]


async def test_openrouters_results_may_come_in_pages():
    """Where the batch has none itself."""
    result = {"custom_id": "k", "response": {"status_code": 200, "body": {}}, "error": None}
    wire = Wire(
        {
            "GET /batches/b": {"id": "b", "status": "completed", "results": None},
            "GET /batches/b/results": {"data": [result], "has_more": True, "next_cursor": "c"},
            "GET /batches/b/results?cursor=c": {"data": [result], "has_more": False},
        }
    )
    api = OpenRouterBatchApi(wire, timeout_seconds=1.0)
    assert len(await api.results(await api.state("b"))) == 2


async def test_a_model_with_another_name_in_the_list_is_found_all_the_same():
    """Else its batch would be bought twice; the one of equal name is tried first."""
    fields = {"endpoint": "/v1/chat/completions", "request_counts": {"total": 2}}
    page = listed("b5", "b4", "b3", "b2", **fields)
    page["data"][0]["model"] = "vendor/m:batch"
    page["data"][1]["model"] = "m"
    page["data"][2]["request_counts"] = {"total": 9}
    api = OpenRouterBatchApi(Wire({"GET /batches?limit=100": page}), timeout_seconds=1.0)
    assert await api.find(SUBMITTED, frozenset()) == ["b4", "b5"]
