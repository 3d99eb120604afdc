"""Any OpenAI-compatible endpoint as a client: OpenAI, DeepSeek, Groq, OpenRouter, vLLM, Ollama.

One attempt per call, no retries, no redirects: each call is at most one HTTP request,
and `on_sent` is called at the moment it leaves (see `http_transport`). What a model there
takes is learned from what it refuses (see `capabilities`, `learning`): the call that was
refused ends in `ParameterRefused`, and its repetition sends what was learned.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

from callwise.calls import errors
from callwise.calls.batch_interface import LineResult
from callwise.calls.call import Call
from callwise.calls.capabilities import Capabilities
from callwise.calls.http_transport import (
    RequestMoment,
    Response,
    TransportFailed,
)
from callwise.calls.openai_connection import OpenAIConnection
from callwise.calls.openai_stream import StreamAssembly
from callwise.calls.provider_errors import failure_of
from callwise.calls.reply import Reply
from callwise.calls.responses import Refused
from callwise.calls.together import (
    failures_of,
    joint_body,
    replies_of_choices,
    reported_by,
)
from callwise.calls.wire import (
    chat_body,
    embedding_body,
    encoded_body,
    reply_of_chat,
    reply_of_embeddings,
)

__all__ = ["OpenAIClient"]

DRAIN_SECONDS = 0.5
"""Time that the end of a stream is waited for after its end marker, to keep the connection."""


class OpenAIClient(OpenAIConnection):
    """A client of one OpenAI-compatible endpoint; see `OpenAIConnection`."""

    is_simulated = False

    async def answer(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        on_sent: Callable[[int], None] | None = None,
    ) -> Sequence[Reply | errors.CallError]:
        """Answer each call with its own request, all at the same time."""
        reports = [partial(on_sent, index) if on_sent else None for index in range(len(calls))]
        if len(calls) == 1:
            return [await self._attempt(calls[0], model, reports[0])]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._attempt(call, model, report))
                for call, report in zip(calls, reports, strict=True)
            ]
        return [task.result() for task in tasks]

    async def answer_conversations(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        path: str,
        on_sent: Callable[[], None] | None = None,
    ) -> Sequence[Reply | errors.CallError]:
        """Answer chat calls with one request; see `client.ConversationClient`."""
        moment = RequestMoment(on_sent, max_answer_bytes=self._max_answer_bytes)
        started = self._clock()
        failure: errors.CallError
        try:
            exchange = partial(self._conversations, calls, model, path, moment, started)
            return await self._in_time(exchange, calls, moment, started)
        except errors.CallError as error:
            failure = error
        except Refused as refused:
            failure = failure_of(refused.refusal, latency_seconds=self._clock() - started)
        return failures_of(failure, calls)

    @property
    def batch_api(self) -> str:
        """The batch interface of its host; see `batch_interface.BatchClient`."""
        is_router = f".{self._host}".endswith(".openrouter.ai")
        return "openrouter" if is_router else "openai"

    def batch_line(self, call: Call, *, model: str) -> tuple[str, dict[str, Any]]:
        """Return the path of a call's interface, and its request body."""
        call = replace(call, stream=False) if call.stream else call
        return _path(call), _body(call, model, self._known(model).capabilities)

    def batch_answer(
        self, call: Call, body: Mapping[str, Any], result: LineResult
    ) -> Reply | errors.CallError:
        """Return the reply or the error that the result of a line means."""
        try:
            return self._reply(call, self._reader.line(result.status, result.body), 0.0)
        except errors.CallError as error:
            return error
        except Refused as refused:
            return self._error_of(
                refused.refusal,
                body,
                lambda capabilities: _body(call, body["model"], capabilities),
                latency_seconds=0.0,
            )

    async def _attempt(
        self, call: Call, model: str, on_sent: Callable[[], None] | None
    ) -> Reply | errors.CallError:
        """Make one attempt and return its end, whatever it is. Only cancellation is raised."""
        moment = RequestMoment(
            on_sent, max_answer_bytes=self._max_answer_bytes, embeddings=len(call.inputs)
        )
        known = self._known(model)
        body = _body(call, model, known.capabilities)
        if known.takes(body):
            return await self._timed_attempt(call, body, moment)
        async with known.asking(lambda: _body(call, model, known.capabilities)):
            body = _body(call, model, known.capabilities)
            result = await self._timed_attempt(call, body, moment)
            if isinstance(result, Reply):
                known.confirm(body)
            return result

    async def _timed_attempt(
        self, call: Call, body: dict[str, Any], moment: RequestMoment
    ) -> Reply | errors.CallError:
        started = self._clock()
        try:
            return await self._in_time(
                partial(self._exchange, call, body, moment, started), (call,), moment, started
            )
        except errors.CallError as error:
            return error
        except Refused as refused:
            latency_seconds = self._clock() - started
            if refused.was_streamed and refused.refusal.status == 200:
                return errors.StreamCut(str(refused), status=200, latency_seconds=latency_seconds)
            return self._error_of(
                refused.refusal,
                body,
                lambda capabilities: _body(call, body["model"], capabilities),
                latency_seconds=latency_seconds,
            )

    async def _exchange(
        self, call: Call, body: dict[str, Any], moment: RequestMoment, started: float
    ) -> Reply:
        """Return the answer to a call.

        Raises:
            CallError: what has a class already.
            Refused: a status that means failure, or an error under another one.
            TransportFailed: when no connection was made, or it broke.
        """
        response = await self._connected().send("POST", _path(call), encoded_body(body), moment)
        try:
            self._report_headers_of(body["model"], response)
            if not 200 <= response.status < 300:
                content = await response.read()
                raise Refused(self._reader.refusal_of_response(response, content))
            if not call.stream or call.is_embedding:
                return await self._whole(call, response, started)
            if "text/event-stream" in response.headers.get("content-type", ""):
                return await self._streamed(call, response, started)
            reply = await self._whole(call, response, started)  # as some answer a stream
            return replace(reply, chunks=(reply.text,) if reply.text else ())
        finally:
            response.close()

    async def _conversations(
        self, calls: Sequence[Call], model: str, path: str, moment: RequestMoment, started: float
    ) -> Sequence[Reply | errors.CallError]:
        """Return the answers to conversations; raises as `_exchange` does."""
        known = self._known(model).capabilities
        body = joint_body([_body(call, model, known) for call in calls])
        response = await self._connected().send("POST", path, encoded_body(body), moment)
        try:
            self._report_headers_of(model, response)
            content = await response.read()
        finally:
            response.close()
        seconds = self._clock() - started
        if 200 <= response.status < 300:
            document = self._reader.document(response, content, latency_seconds=seconds)
            return replies_of_choices(document, calls, latency_seconds=seconds)
        refusal = self._reader.refusal_of_response(response, content)
        failure = failure_of(refusal, latency_seconds=seconds)
        failure.usage = reported_by(content)
        raise failure

    async def _whole(self, call: Call, response: Response, started: float) -> Reply:
        content = await response.read()
        latency_seconds = self._clock() - started
        document = self._reader.document(response, content, latency_seconds=latency_seconds)
        return self._reply(call, document, latency_seconds)

    async def _streamed(self, call: Call, response: Response, started: float) -> Reply:
        """Return the answer that a stream brings.

        Raises:
            StreamCut: when it broke off before its end.
        """
        assembly = StreamAssembly(None if call.listener is None else call.listener.on_piece)
        timer = asyncio.timeout(self._stream_idle_seconds)
        try:
            async with timer, aclosing(response.pieces()) as pieces:
                problem = await assembly.read(
                    pieces if timer.when() is None else self._watched(pieces, timer),
                    broken=TransportFailed,
                    drain_seconds=DRAIN_SECONDS,
                )
        except TimeoutError:
            if not timer.expired():
                raise
            problem = f"nothing came for {self._stream_idle_seconds:g} s"
        if assembly.error is not None:
            raise Refused(self._reader.refusal_in_body(assembly.error), was_streamed=True)
        latency_seconds = self._clock() - started
        if not assembly.is_whole:
            words = f"broke off a stream after {len(assembly.chunks)} pieces: {problem}"
            raise errors.StreamCut(
                self._reader.error_text(words),
                status=response.status,
                latency_seconds=latency_seconds,
            )
        body = assembly.body()
        document = self._reader.redacted(body)
        reply = self._reply(call, document, latency_seconds, assembly.chunks)
        if document != body:  # a key may be cut by the pieces of a stream
            reply = replace(reply, chunks=(reply.text,) if reply.text else ())
        return reply

    async def _watched(
        self, pieces: AsyncIterator[bytes], timer: asyncio.Timeout
    ) -> AsyncIterator[bytes]:
        """Yield pieces, and give the next one its time from when each came."""
        loop = asyncio.get_running_loop()
        async for piece in pieces:
            timer.reschedule(loop.time() + (self._stream_idle_seconds or 0.0))
            yield piece

    def _reply(
        self,
        call: Call,
        document: Mapping[str, Any],
        seconds: float,
        chunks: tuple[str, ...] = (),
    ) -> Reply:
        if call.is_embedding:
            count = len(call.inputs)
            reply = reply_of_embeddings(document, expected=count, latency_seconds=seconds)
        else:
            is_structured = call.response_model is not None and not call.tools
            reply = reply_of_chat(
                document, latency_seconds=seconds, is_structured=is_structured, chunks=chunks
            )
        if reply.usage.odd:
            self._notice("usage", self._reader.error_text(f"odd usage ({reply.usage.odd})"))
        return reply


def _path(call: Call) -> str:
    return "/embeddings" if call.is_embedding else "/chat/completions"


def _body(call: Call, model: str, capabilities: Capabilities) -> dict[str, Any]:
    make = embedding_body if call.is_embedding else chat_body
    return make(call, model=model, capabilities=capabilities)
