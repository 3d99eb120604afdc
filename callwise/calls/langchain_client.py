"""Any LangChain chat model, or embeddings, as a client: Anthropic and the rest."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from contextvars import Context, copy_context
from copy import copy
from datetime import datetime
from typing import Any, TypeVar

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import RunnableBinding, RunnableConfig
from langchain_core.tracers.context import _configure_hooks
from pydantic import SecretStr

from callwise.calls import errors
from callwise.calls.call import Call
from callwise.calls.capabilities import Capabilities
from callwise.calls.langchain_messages import (
    to_langchain,
    tool_calls_to_wire,
    usage_from_langchain,
)
from callwise.calls.payload import whole_number
from callwise.calls.pieces import Piece
from callwise.calls.provider_errors import (
    Refusal,
    failure_of,
    redacted_line,
    retry_after_seconds,
    utc_now,
)
from callwise.calls.redaction import redact_document, redact_whole
from callwise.calls.reply import Reply, ReportedUsage
from callwise.calls.schema import given_schema
from callwise.calls.wire import messages_with_schema, sampling_fields

__all__ = ["LangChainClient"]

ModelT = TypeVar("ModelT")


_UNREPORTED: RunnableConfig = {"callbacks": []}
"""Without callbacks: the model that was asked reports the stream itself."""


class LangChainClient:
    """A client around a LangChain model.

    What it cannot see: requests that the model sends by itself. It works on a copy with
    `max_retries=0` and without LangChain's own cache, but a model that builds its HTTP
    client when it is constructed (ChatOpenAI does) keeps the retries that it was
    constructed with: construct it with `max_retries=0`. One request is counted for each
    call that the model was asked and that did not fail before it was sent; `on_sent` is
    called once that is known, not when the request leaves.

    The wrapped model answers, whatever `model` is called in `answer`. An answer's form
    is asked for in the prompt, since every chat model understands those; sampling parameters
    are handed over as LangChain's usual invocation arguments, those that are set.

    Args:
        clock: monotonic seconds, for latencies.
        now: the current time with a time zone, for `Retry-After` dates.

    Raises:
        ConfigError: when neither is given.
    """

    is_simulated = False

    def __init__(
        self,
        chat: BaseChatModel | None = None,
        *,
        embeddings: Embeddings | None = None,
        clock: Callable[[], float] = time.perf_counter,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        if chat is None and embeddings is None:
            raise errors.ConfigError("a LangChain client needs a chat model, embeddings, or both")
        self._chat = _counted_copy(chat) if chat is not None else None
        self._embeddings = _counted_copy(embeddings) if embeddings is not None else None
        self._clock = clock
        self._now = now
        self._secrets = [*secrets_of(chat), *secrets_of(embeddings)]

    def __repr__(self) -> str:
        parts = [type(part).__name__ for part in (self._chat, self._embeddings) if part is not None]
        return f"LangChainClient({', '.join(parts)})"

    async def answer(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        on_sent: Callable[[int], None] | None = None,
    ) -> Sequence[Reply | errors.CallError]:
        """Answer each call by one invocation of the model, all at the same time."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._attempt(index, call, model, on_sent))
                for index, call in enumerate(calls)
            ]
        return [task.result() for task in tasks]

    async def aclose(self) -> None:
        """Do nothing: the model belongs to the caller."""

    async def _attempt(
        self, index: int, call: Call, model: str, on_sent: Callable[[int], None] | None
    ) -> Reply | errors.CallError:
        """Make one attempt and return its end, whatever it is. Only cancellation is raised."""
        started = self._clock()
        was_sent = True  # what a cancellation has to assume: the model does not report it
        try:
            async with asyncio.timeout(call.timeout_seconds):
                exchange = self._exchange(call, model, started)
                return await asyncio.create_task(exchange, context=_uncounted_context())
        except errors.CallError as error:
            was_sent = not isinstance(error, errors.EndpointError) or error.was_sent
            return error
        except Exception as error:  # noqa: BLE001 - every library has its own; all are returned
            failure = failure_of_error(
                error,
                secrets=self._secrets,
                now=self._now(),
                latency_seconds=self._clock() - started,
            )
            was_sent = not isinstance(failure, errors.EndpointError) or failure.was_sent
            return failure
        finally:
            if was_sent and on_sent is not None:
                on_sent(index)

    async def _exchange(self, call: Call, model: str, started: float) -> Reply:
        if call.is_embedding:
            return await self._embed(call, model, started)
        if self._chat is None:
            raise errors.EndpointError("this endpoint has embeddings only", was_sent=False)
        messages = [to_langchain(message) for message in messages_with_schema(call)]
        arguments = _invocation_arguments(self._chat, call)
        if call.stream:
            return await self._stream(
                self._chat.astream(messages, _UNREPORTED, **arguments), call, model, started
            )
        result = await self._chat.agenerate([messages], **arguments)
        answers = [generation.message for generation in result.generations[0]]  # type: ignore[union-attr]
        return self._reply(answers, model, started)

    async def _stream(
        self, stream: AsyncIterator[AIMessageChunk], call: Call, model: str, started: float
    ) -> Reply:
        whole: AIMessageChunk | None = None
        chunks: list[str] = []
        try:
            async with aclosing(stream) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    whole = piece if whole is None else whole + piece
                    if piece.text:
                        chunks.append(str(piece.text))
                    if call.listener is not None:
                        call.listener.on_piece(_piece_of(piece))
        except Exception as error:
            if not chunks or isinstance(error, TimeoutError):
                raise
            raise errors.StreamCut(
                redacted_line(
                    f"the stream broke off after {len(chunks)} pieces: {error}", *self._secrets
                ),
                latency_seconds=self._clock() - started,
            ) from None  # its text, and its cause's, may contain a key
        return self._reply([whole] if whole else [], model, started, tuple(chunks))

    async def _embed(self, call: Call, model: str, started: float) -> Reply:
        if self._embeddings is None:
            raise errors.EndpointError("this endpoint has no embeddings", was_sent=False)
        rows = await self._embeddings.aembed_documents(list(call.inputs))
        if len(rows) != len(call.inputs):
            raise errors.BadResponse(f"expected {len(call.inputs)} embeddings, got {len(rows)}")
        return Reply(
            text="",
            vectors=tuple(tuple(map(float, row)) for row in rows),
            usage=ReportedUsage(output_tokens=0),
            model=model,
            latency_seconds=self._clock() - started,
        )

    def _reply(
        self,
        answers: Sequence[BaseMessage],
        model: str,
        started: float,
        chunks: tuple[str, ...] = (),
    ) -> Reply:
        if not answers or not isinstance(answers[0], AIMessage):
            raise errors.BadResponse("the model returned no assistant message")
        said = [str(answer.text) for answer in answers]
        texts = [redact_whole(text, self._secrets) for text in said]
        if texts[0] != said[0] and chunks:  # a key may be cut by the pieces of a stream
            chunks = (texts[0],)
        metadata = answers[0].response_metadata
        reason = metadata.get("finish_reason") or metadata.get("stop_reason")
        return Reply(
            text=texts[0],
            choices=tuple(texts) if len(texts) > 1 else (),
            tool_calls=tuple(redact_document(tool_calls_to_wire(answers[0]), self._secrets)),
            usage=usage_from_langchain(answers[0].usage_metadata),
            model=str(metadata.get("model_name") or metadata.get("model") or model),
            finish_reason=str(reason) if reason else None,
            latency_seconds=self._clock() - started,
            chunks=chunks,
        )


def _uncounted_context() -> Context:
    """Return this context without the handlers that LangChain adds to every model in it.

    The model that was asked reports the answer's usage to them. The wrapped one would report
    it again, as `get_usage_metadata_callback` sums up whatever runs.
    """
    context = copy_context()
    for variable, *_ in _configure_hooks:
        context.run(variable.set, None)
    return context


def _piece_of(chunk: AIMessageChunk) -> Piece:
    tool_calls = tuple(
        {
            "index": part.get("index") or 0,
            "id": part.get("id"),
            "function": {"name": part.get("name") or "", "arguments": part.get("args") or ""},
        }
        for part in getattr(chunk, "tool_call_chunks", ())
    )
    return Piece(str(chunk.text), tool_calls)


def _counted_copy(model: ModelT) -> ModelT:
    """Return a shallow copy of a model, without its own retries and cache where it has them."""
    copied = copy(model)
    for name, value in (("max_retries", 0), ("cache", False)):
        if hasattr(copied, name):
            setattr(copied, name, value)
    return copied


_WITHOUT_LOGPROBS = Capabilities(refused=frozenset({"logprobs"}))
"""A LangChain model is not asked for log-probabilities: its answers have no place for them."""


def _invocation_arguments(chat: BaseChatModel, call: Call) -> dict[str, Any]:
    """Return what to invoke the model with, besides the messages.

    Raises:
        BadRequest: when the call has tools and the model cannot take any.
    """
    fields = sampling_fields(call, _WITHOUT_LOGPROBS)
    arguments = {**fields, **call.unkeyed_body, **call.sampling.extra_body}
    if given_schema(arguments.get("response_format")) is not None:
        del arguments["response_format"]  # asked for in the prompt
    arguments = {name: value for name, value in arguments.items() if value is not None}
    if not call.tools:
        return arguments
    choice = call.tool_choice
    if isinstance(choice, Mapping):
        choice = str((choice.get("function") or {}).get("name"))
    elif choice == "required":
        choice = "any"
    try:
        bound = chat.bind_tools([dict(tool) for tool in call.tools], tool_choice=choice)
    except NotImplementedError as error:
        raise errors.BadRequest("this LangChain model takes no tools", was_sent=False) from error
    # A binding is the model and the arguments to invoke it with; only the arguments are needed.
    return {**arguments, **(bound.kwargs if isinstance(bound, RunnableBinding) else {})}


_NOT_CONNECTED = frozenset(
    {"ConnectError", "ConnectTimeout", "ClientConnectorError", "ConnectionRefusedError"}
)
"""Names of errors, of the usual HTTP libraries, that come before a request is sent."""


def failure_of_error(
    error: Exception, *, secrets: Iterable[str], now: datetime, latency_seconds: float
) -> errors.CallError:
    """Return what an error of some provider's library means.

    Args:
        now: the current time, with a time zone.
    """
    message = redacted_line(f"{type(error).__name__}: {error}", *secrets)
    status = _status_of(error)
    if status is not None:
        headers = getattr(getattr(error, "response", None), "headers", None) or {}
        body = getattr(error, "body", None)
        code = body.get("code") if isinstance(body, Mapping) else None
        refusal = Refusal(
            status,
            message,
            message,
            code=str(code) if code else None,
            retry_after_seconds=retry_after_seconds(headers, now=now),
        )
        return failure_of(refusal, latency_seconds=latency_seconds)
    names = [type(link).__name__ for link in _chain(error)]
    was_sent = not _NOT_CONNECTED.intersection(names)
    if isinstance(error, TimeoutError) or any("Timeout" in name for name in names):
        return errors.CallTimeout(message, was_sent=was_sent, latency_seconds=latency_seconds)
    if isinstance(error, OSError) or any("Connect" in name for name in names):
        return errors.ConnectionFailed(message, was_sent=was_sent, latency_seconds=latency_seconds)
    return errors.EndpointError(message, latency_seconds=latency_seconds)


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(10):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__


def _status_of(error: Exception) -> int | None:
    """Return the HTTP status that an error carries, wherever its library puts it."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore
        return _as_status((response.get("ResponseMetadata") or {}).get("HTTPStatusCode"))
    places = (
        *(getattr(error, name, None) for name in ("status_code", "http_status", "status", "code")),
        getattr(response, "status_code", None),
    )
    return next((status for status in map(_as_status, places) if status is not None), None)


def _as_status(value: object) -> int | None:
    status = whole_number(value)
    return status if status is not None and 300 <= status < 600 else None


def secrets_of(model: object) -> list[str]:
    """Return the keys that a model has, so that no error repeats them."""
    values = vars(model).values() if hasattr(model, "__dict__") else ()
    return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
