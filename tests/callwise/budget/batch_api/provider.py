"""A provider with a batch interface, on loopback: OpenAI's file flow and OpenRouter's inline one.

It behaves as the documentation says: ids are the provider's, results come in another order than
the lines, and a batch that was created exists whether or not its creator got to know.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

__all__ = ["BatchProvider"]


def chat_completion(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return an answer that depends on the question alone."""
    question = body["messages"][-1]["content"]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": model,
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": f"echo {question}"},
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


class BatchProvider:
    """The server. Attributes may be set while it runs.

    Attributes:
        polls_to_end: questions that a batch answers with `in_progress`.
        bought: how often each line was run, by the last message of its question.
        log: method and path of each request.
        faults: called with method and path before a request is answered; returns a response to
            give instead, or `cut` to carry the request out and break the connection.
        answer: returns the response body of a question to a model.
        outcome_of: returns what becomes of a line: `ok`, `expired`, `missing`, or an HTTP status.
        refuses: returns (line or None, message) of the reason why a batch is refused, or None.
    """

    def __init__(self) -> None:
        self.polls_to_end = 1
        self.bought: Counter[str] = Counter()
        self.log: list[str] = []
        self.ends_as = "completed"
        self.faults: Callable[[str, str], web.Response | str | None] = lambda _method, _path: None
        self.outcome_of: Callable[[str], str | int] = lambda _question: "ok"
        self.refuses: Callable[[list[dict[str, Any]]], tuple[int | None, str] | None] = (
            lambda _lines: None
        )
        self.answer: Callable[[Mapping[str, Any], str], dict[str, Any]] = chat_completion
        self.extra_ids = 0
        self.repeats = False
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, dict[str, Any]] = {}
        self._runner: web.AppRunner | None = None
        self.url = ""

    @property
    def questions(self) -> list[dict[str, Any]]:
        """The request bodies of all lines, in the order in which batches were created."""
        return [line["body"] for batch in self.batches for line in batch["_lines"]]

    @property
    def batches(self) -> list[dict[str, Any]]:
        """The batches, oldest first."""
        return list(self._batches.values())

    async def start(self, port: int = 0) -> str:
        """Listen; return the base URL."""
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/v1/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        assert site._server is not None
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"
        return self.url

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/v1")
        self.log.append(f"{request.method} {path}")
        fault = self.faults(request.method, path)
        if isinstance(fault, web.Response):
            return fault
        answer = await self._answer(request, path)
        if fault == "cut":
            assert request.transport is not None
            request.transport.abort()
        return answer

    async def _answer(self, request: web.Request, path: str) -> web.Response:
        match (request.method, path.strip("/").split("/")):
            case ("POST", ["files"]):
                form = await request.post()
                assert form["purpose"] == "batch"
                file = form["file"]
                assert isinstance(file, web.FileField)
                file_id = f"file-{len(self._files) + 1}"
                self._files[file_id] = file.file.read()
                return web.json_response({"id": file_id, "object": "file"})
            case ("GET", ["files", file_id, "content"]):
                return web.Response(body=self._files[file_id])
            case ("POST", ["batches"]):
                return self._create(await request.read())
            case ("GET", ["batches"]):
                return self._list(request)
            case ("GET", ["batches", batch_id]):
                if batch_id not in self._batches:
                    return web.json_response({"error": {"message": "No such batch"}}, status=404)
                return self._poll(batch_id)
            case ("POST", ["chat", "completions"]):
                body = orjson.loads(await request.read())
                self._buy(body["messages"][-1]["content"])
                return web.json_response(self.answer(body, body["model"]))
        return web.json_response({"error": {"message": f"no {path}"}}, status=404)

    def _create(self, data: bytes) -> web.Response:
        fields = orjson.loads(data)
        if "requests" in fields:
            names = list(fields)
            assert names.index("model") < names.index("requests")
            lines = [
                {"custom_id": each["custom_id"], "url": fields["endpoint"], "body": each["body"]}
                for each in fields["requests"]
            ]
        else:
            lines = [*map(orjson.loads, self._files[fields["input_file_id"]].splitlines())]
        batch_id = f"batch_{len(self._batches) + 1}"
        self._batches[batch_id] = {
            "id": batch_id,
            "object": "batch",
            "status": "validating",
            "created_at": 1_700_000_000 + len(self._batches),
            "endpoint": fields["endpoint"],
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            "_lines": lines,
            "_polls": 0,
            **{
                name: fields[name]
                for name in ("metadata", "input_file_id", "model")
                if name in fields
            },
        }
        assert len({each["custom_id"] for each in lines}) == len(lines)
        assert all(len(each["custom_id"]) <= 64 for each in lines)
        return self._shown(batch_id, status=200 if "input_file_id" in fields else 202)

    def _list(self, request: web.Request) -> web.Response:
        ids = list(self._batches)[::-1]
        after, limit = request.query.get("after"), int(request.query.get("limit", "20"))
        if after is not None:
            ids = ids[ids.index(after) + 1 :]
        page = [self._public(each) | {"results": None} for each in ids[:limit]]
        return web.json_response(
            {"object": "list", "data": page, "has_more": len(ids) > limit}, dumps=_dumps
        )

    def _poll(self, batch_id: str) -> web.Response:
        batch = self._batches[batch_id]
        batch["_polls"] += 1
        if batch["status"] == "validating":
            refusal = self.refuses(batch["_lines"])
            if refusal is not None:
                place, message = refusal
                batch["status"] = "failed"
                if "input_file_id" in batch:
                    problem = {"message": message, "line": None if place is None else place + 1}
                    batch["errors"] = {"object": "list", "data": [problem]}
                else:
                    batch["error"] = {"message": message}
            else:
                batch["status"] = "in_progress"
        if batch["status"] == "in_progress" and batch["_polls"] > self.polls_to_end:
            self._run(batch)
        return self._shown(batch_id)

    def _run(self, batch: dict[str, Any]) -> None:
        """Run the lines, and write the results in another order."""
        lines = list(batch["_lines"])
        random.Random(batch["id"]).shuffle(lines)
        results: list[dict[str, Any]] = []
        for line in lines:
            question = line["body"]["messages"][-1]["content"]
            outcome = self.outcome_of(question)
            result: dict[str, Any] = {"id": "r", "custom_id": line["custom_id"], "error": None}
            if outcome == "expired":
                message = "This request could not be executed before the completion window expired."
                result |= {"response": None, "error": {"code": "batch_expired", "message": message}}
            elif outcome == "ok":
                self._buy(question)
                model = batch.get("model") or line["body"]["model"]
                answer = self.answer(line["body"], model)
                result["response"] = {"status_code": 200, "request_id": "q", "body": answer}
            elif isinstance(outcome, int):
                body = {"error": {"message": f"bad: {question}", "type": "invalid_request_error"}}
                result["response"] = {"status_code": outcome, "request_id": "q", "body": body}
            else:
                self._buy(question)
                continue
            results.append(result)
        results += [
            {"custom_id": f"stray-{number}", "response": {"status_code": 200, "body": {}}}
            for number in range(self.extra_ids)
        ]
        if self.repeats:
            refusal = {"status_code": 400, "body": {"error": {"message": "again"}}}
            results += [each | {"response": refusal} for each in results]
        batch["status"] = self.ends_as
        if "input_file_id" not in batch:
            batch["results"] = results
            return
        for name, is_error in (("output_file_id", False), ("error_file_id", True)):
            kept = [each for each in results if bool(each.get("error")) is is_error]
            if kept:
                file_id = f"file-{len(self._files) + 1}"
                self._files[file_id] = b"\n".join(map(orjson.dumps, kept)) + b"\n"
                batch[name] = file_id

    def _buy(self, question: str) -> None:
        self.bought[question] += 1

    def _public(self, batch_id: str) -> dict[str, Any]:
        return {name: each for name, each in self._batches[batch_id].items() if name[0] != "_"}

    def _shown(self, batch_id: str, status: int = 200) -> web.Response:
        return web.json_response(self._public(batch_id), status=status, dumps=_dumps)


def _dumps(document: Any) -> str:
    return orjson.dumps(document).decode()
