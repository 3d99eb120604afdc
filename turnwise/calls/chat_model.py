"""A LangChain chat model whose calls go through the budgeter.

The other way round from `langchain_client`: existing LangChain or LangGraph code runs
under a budget, and stands in the ledger, by having its model swapped for this one.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, cast

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SkipValidation, model_validator

from turnwise.calls.asker import Advisory, Asker
from turnwise.calls.call import Call, Sampling
from turnwise.calls.errors import ConfigError
from turnwise.calls.langchain_arguments import (
    FORM_ARGUMENT,
    read_arguments,
    wire_tool_choice,
    wire_tools,
)
from turnwise.calls.langchain_asking import AnswerStream, Ending, FinalCall, Invocation
from turnwise.calls.langchain_messages import from_langchain
from turnwise.calls.langchain_replies import Asked, chat_result
from turnwise.calls.langchain_structured import fitting, in_form, parsed
from turnwise.calls.loop_thread import LoopThread, wait_for
from turnwise.calls.reply import Reply
from turnwise.calls.vocabulary import Purpose, Role

__all__ = ["BudgetedChatModel", "FinalCall"]

_OPENED: ContextVar[list[AnswerStream] | None] = ContextVar("opened_streams", default=None)
"""The streams that an `astream` opens, so that it can close them when it is closed."""

_making_a_loop = threading.Lock()
"""Threads of one batch share a private loop: a second one, forgotten, would cancel its calls.

It belongs to no model, since a model with a lock could not be copied.
"""


class BudgetedChatModel(BaseChatModel):
    """A chat model that asks an asker, such as the budgeter.

    Equal calls may share one answer, as everywhere in Turnwise. Code that asks the same
    prompt again and wants another answer says which resample it is:
    `model.bind(sample=1)`. LangChain's own cache is off, since the ledger cannot see it.

    Synchronous code may use it from a thread while the loop that the model was made (or
    last awaited) in runs elsewhere. Where no loop runs, the model keeps a private one in
    a thread of its own until `close`. Inside a running loop's own thread only the
    asynchronous methods work.

    Attributes:
        asker: who answers.
        role: which model serves its calls.
        purpose: what its calls are for.
        sampling: parameters of every call; `bind` and invocation arguments go before.
        model_kwargs: further arguments of every call, as `bind` takes them. Arguments of
            OpenAI's chat models that the constructor is given are moved here.
        max_repairs: how many times an answer that does not fit a schema is asked again.
        timeout_seconds: longest wait for one attempt; None leaves the client's own.
        final_answer: what an agent ends with when its budget has no room for a call: a
            `FinalCall`, which is held back for it and made without tools, or a fixed text.
            None raises `CallRefused`.
        max_tool_calls: most tool calls in a turn, counted as models ask for them, since the
            last message of the user and in the turn's scope, whichever is more. An answer
            that asks for more is not given out: the model is asked again without tools.
        streaming: stream every answer, and call back with its pieces.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    asker: SkipValidation[Asker] = Field(exclude=True, repr=False)
    role: Role = Role.MAIN
    purpose: Purpose = Purpose.OTHER
    sampling: Sampling = Sampling()
    max_repairs: int = Field(default=1, ge=0)
    timeout_seconds: float | None = None
    cache: Any = Field(default=False, exclude=True)
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    final_answer: str | FinalCall | None = None
    max_tool_calls: int | None = Field(default=None, ge=0)
    streaming: bool = False

    _loop: asyncio.AbstractEventLoop | None = PrivateAttr(default=None)
    _own_loop: LoopThread | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _take_arguments(cls, values: Any) -> Any:
        """Move what is no field to `model_kwargs`, where it is read as an argument."""
        own = cls.model_fields.keys()
        other = {name: value for name, value in dict(values).items() if name not in own}
        kept = {name: value for name, value in dict(values).items() if name in own}
        return {**kept, "model_kwargs": {**other, **kept.get("model_kwargs", {})}}

    def model_post_init(self, context: Any, /) -> None:
        """Read the arguments, and remember the loop that runs where the model is made."""
        super().model_post_init(context)
        read_arguments(self.model_kwargs, self.sampling)
        self._loop = _running_loop()

    @property
    def _llm_type(self) -> str:
        return "turnwise"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"role": str(self.role), "purpose": str(self.purpose)}

    def close(self) -> None:
        """End the private loop, if synchronous calls made one. Safe to call twice."""
        with _making_a_loop:
            own, self._own_loop = self._own_loop, None
        if own is not None:
            own.close()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's
        **kwargs: Any,
    ) -> ChatResult:
        self._loop = asyncio.get_running_loop()
        return chat_result(await self._invoke(messages, stop, kwargs))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's
        **kwargs: Any,
    ) -> ChatResult:
        wait = self._waiter()
        return chat_result(wait(self._invoke, messages, stop, kwargs))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk]:
        """Yield the answer in pieces as they come; see `AnswerStream`."""
        self._loop = asyncio.get_running_loop()
        call = self._call(messages, stop, kwargs)
        pieces = AnswerStream(self._ask, self._advisory, self._ending(kwargs), call)
        if (opened := _OPENED.get()) is not None:
            opened.append(pieces)
        async with aclosing(pieces):
            async for chunk in pieces:
                yield ChatGenerationChunk(message=chunk)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        """Yield the answer in pieces as they come, from the loop of another thread."""
        wait = self._waiter()
        call = self._call(messages, stop, kwargs)
        pieces = AnswerStream(self._ask, self._advisory, self._ending(kwargs), call)

        async def next_piece() -> AIMessageChunk | None:
            return await anext(pieces, None)

        try:
            while (piece := wait(next_piece)) is not None:
                yield ChatGenerationChunk(message=piece)
        finally:
            pieces.abandon()
            if not pieces.is_here:  # the garbage collector runs in any thread
                wait(pieces.aclose)

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[AIMessageChunk]:
        """Yield the answer in pieces as they come.

        A stream that is closed before its end is settled when `aclose` returns; LangChain's
        own would leave that to the garbage collector.
        """
        opened: list[AnswerStream] = []
        stream_of_chunks = super().astream(input, config, stop=stop, **kwargs)
        pieces = cast("AsyncGenerator[AIMessageChunk]", stream_of_chunks)
        try:
            while True:
                token = _OPENED.set(opened)
                try:
                    piece = await anext(pieces, None)
                finally:
                    _OPENED.reset(token)
                if piece is None:
                    return
                yield piece
        finally:
            await pieces.aclose()
            for each in opened:
                await each.aclose()

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return this model with tools to call.

        Args:
            tools: in any form that LangChain knows.
            tool_choice: `auto`, `none`, `any`, a tool's name, or the OpenAI wire format;
                True means `any`.
            strict: whether the tools' arguments must fit their schemas exactly.
            kwargs: bound along with them.
        """
        wire = [*wire_tools(tools, strict=strict)]
        return super().bind(tools=wire, tool_choice=wire_tool_choice(tool_choice), **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: str | None = None,
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable that answers in the form of a schema.

        A pydantic class goes along as the call's response model: it is asked for in the
        way that the endpoint understands, whatever the method, and repairs are counted.
        Any other schema is asked for by the method, without repairs.

        Args:
            schema: a pydantic class, a TypedDict, or a JSON schema; None for any object,
                under method `json_mode`.
            method: `function_calling`, the default, `json_schema` or `json_mode`.
            include_raw: return `{"raw", "parsed", "parsing_error"}`, and keep an answer
                that does not fit in `parsing_error` instead of raising it.
            strict: whether the answer must fit the schema exactly.
            kwargs: bound along with them.
        """
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            asking = super().bind(response_model=schema, **kwargs)
            return fitting(asking, schema, include_raw=include_raw)
        bound, parser = in_form(schema, method, strict=strict)
        return parsed(super().bind(**bound, **kwargs), parser, include_raw=include_raw)

    def _waiter(self) -> Callable[..., Any]:
        """Return what runs a coroutine function on another thread's loop, and waits for it."""
        loop = self._other_loop()
        return lambda work, *args: wait_for(work(*args), loop)

    def _other_loop(self) -> asyncio.AbstractEventLoop:
        """Return a running loop of another thread to wait for.

        Raises:
            ConfigError: when this thread is the one whose loop would have to run.
        """
        if _running_loop() is not None:
            raise ConfigError(
                "a BudgetedChatModel cannot be invoked synchronously inside a running event "
                "loop, since waiting would stop the loop: use `await model.ainvoke(...)`, or "
                "make the node or tool that calls it `async`"
            )
        if self._loop is not None and self._loop.is_running():
            return self._loop
        with _making_a_loop:
            if self._own_loop is None or not self._own_loop.is_open:
                self._own_loop = LoopThread()
            return self._own_loop.loop

    async def _ask(self, call: Call) -> Reply:
        return await self.asker.ask(call)

    def _advisory(self) -> Advisory:
        return self.asker.advisory()

    async def _invoke(
        self, messages: list[BaseMessage], stop: list[str] | None, arguments: dict[str, Any]
    ) -> Asked:
        call = self._call(messages, stop, arguments)
        ending = self._ending(arguments)
        return await Invocation(self._ask, self._advisory, ending).run(call)

    def _ending(self, arguments: dict[str, Any]) -> Ending:
        tool_is_form = arguments.get(FORM_ARGUMENT, False)
        return Ending(self.final_answer, self.max_tool_calls, tool_is_form=tool_is_form)

    def _call(
        self, messages: list[BaseMessage], stop: list[str] | None, arguments: dict[str, Any]
    ) -> Call:
        """Return an invocation as a call.

        Raises:
            ConfigError: when an argument cannot be honoured.
        """
        if stop is not None:
            arguments = {**arguments, "stop": stop}
        given = read_arguments({**self.model_kwargs, **arguments}, self.sampling)
        return Call(
            role=self.role,
            purpose=self.purpose,
            messages=tuple(from_langchain(message) for message in messages),
            sampling=given.sampling,
            tools=given.tools,
            tool_choice=given.tool_choice,
            max_repairs=self.max_repairs,
            unkeyed_body=given.unkeyed_body,
            **{"timeout_seconds": self.timeout_seconds, **given.of_call},
        )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
