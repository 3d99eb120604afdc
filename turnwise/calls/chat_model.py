"""A LangChain chat model whose calls go through the budgeter.

The other way round from `langchain_client`: existing LangChain or LangGraph code runs
under a budget, and stands in the ledger, by having its model swapped for this one.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SkipValidation

from turnwise.calls.asker import Asker
from turnwise.calls.call import Call, Sampling
from turnwise.calls.errors import ConfigError, InvalidAnswer
from turnwise.calls.langchain_messages import from_langchain
from turnwise.calls.langchain_replies import chat_result, message_chunks
from turnwise.calls.langgraph_origin import origin_of, watch_runs
from turnwise.calls.loop_thread import LoopThread, wait_for
from turnwise.calls.structured import parse_answer
from turnwise.calls.vocabulary import Purpose, Role

__all__ = ["BudgetedChatModel"]

_SAMPLING_ARGUMENTS = frozenset(
    {"temperature", "top_p", "max_tokens", "seed", "n", "reasoning_effort"}
)
_CALL_ARGUMENTS = frozenset({"response_model", "sample", "lease", "timeout_seconds"})
_IGNORED_ARGUMENTS = frozenset({"stream", "ls_structured_output_format"})
"""What LangChain itself adds to an invocation, for its tracing and streaming."""


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
        max_repairs: how many times an answer that does not fit a schema is asked again.
        timeout_seconds: longest wait for one attempt; None leaves the client's own.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    asker: SkipValidation[Asker] = Field(exclude=True, repr=False)
    role: Role = Role.MAIN
    purpose: Purpose = Purpose.OTHER
    sampling: Sampling = Sampling()
    max_repairs: int = Field(default=1, ge=0)
    timeout_seconds: float | None = None
    cache: Any = Field(default=False, exclude=True)

    _loop: asyncio.AbstractEventLoop | None = PrivateAttr(default=None)
    _own_loop: LoopThread | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any, /) -> None:
        """Remember the loop that runs where the model is made, if one does."""
        super().model_post_init(context)
        watch_runs()
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
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        self._loop = asyncio.get_running_loop()
        return chat_result(await self.asker.ask(self._call(messages, stop, kwargs, run_manager)))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._call(messages, stop, kwargs, run_manager)
        loop = self._other_loop()
        return chat_result(wait_for(self.asker.ask(call), loop))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        """Yield the answer in the pieces it came in.

        They come once it is whole: what is counted and recorded is the whole answer.
        """
        self._loop = asyncio.get_running_loop()
        call = replace(self._call(messages, stop, kwargs, run_manager), stream=True)
        for chunk in message_chunks(await self.asker.ask(call)):
            yield ChatGenerationChunk(message=chunk)

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
        wire = [convert_to_openai_tool(tool, strict=strict) for tool in tools]
        if tool_choice is True or tool_choice == "any":
            tool_choice = "required"
        elif isinstance(tool_choice, str) and tool_choice not in {"auto", "none", "required"}:
            tool_choice = {"type": "function", "function": {"name": tool_choice}}
        return super().bind(tools=wire, tool_choice=tool_choice or None, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Return a runnable that answers in the form of a schema.

        A pydantic class goes along as the call's response model: it is asked for in the
        way that the endpoint understands, and repairs are counted. Any other schema is
        asked for as a tool call, as LangChain does by default, without repairs.

        Args:
            schema: a pydantic class, a TypedDict, or a JSON schema.
            include_raw: return `{"raw", "parsed", "parsing_error"}`, and keep an answer
                that does not fit in `parsing_error` instead of raising it.
            kwargs: `method` and `strict` are accepted and left to the endpoint.
        """
        if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
            return super().with_structured_output(schema, include_raw=include_raw, **kwargs)
        if unknown := kwargs.keys() - {"method", "strict"}:
            raise ConfigError(f"with_structured_output does not know {sorted(unknown)}")
        asking = super().bind(response_model=schema)

        def finish(message: AIMessage) -> dict[str, Any] | BaseModel:
            parsed = parse_answer(str(message.text), schema)
            return _with_raw(message, parsed, None) if include_raw else parsed

        def invoke(prompt: Any, config: RunnableConfig) -> dict[str, Any] | BaseModel:
            try:
                return finish(asking.invoke(prompt, config))
            except InvalidAnswer as error:
                if not include_raw:
                    raise
                return _with_raw(AIMessage(error.text), None, error)

        async def ainvoke(prompt: Any, config: RunnableConfig) -> dict[str, Any] | BaseModel:
            try:
                return finish(await asking.ainvoke(prompt, config))
            except InvalidAnswer as error:
                if not include_raw:
                    raise
                return _with_raw(AIMessage(error.text), None, error)

        return RunnableLambda(invoke, ainvoke, name=f"structured_{schema.__name__}")

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

    def _call(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        arguments: dict[str, Any],
        run_manager: Any,
    ) -> Call:
        """Return an invocation as a call.

        Raises:
            ConfigError: when an argument cannot be honoured.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        tools = tuple(given.pop("tools", ()))
        tool_choice = given.pop("tool_choice", None)
        sampling = {name: given.pop(name) for name in _SAMPLING_ARGUMENTS & given.keys()}
        extra = {name: given.pop(name) for name in _CALL_ARGUMENTS & given.keys()}
        if unknown := given.keys() - _IGNORED_ARGUMENTS:
            known = {*_SAMPLING_ARGUMENTS, *_CALL_ARGUMENTS, "stop", "tools", "tool_choice"}
            raise ConfigError(
                f"a BudgetedChatModel does not know the arguments {sorted(unknown)}; "
                f"it knows {sorted(known)}"
            )
        if stop is not None:
            sampling["stop"] = tuple(stop)
        return Call(
            role=self.role,
            purpose=self.purpose,
            messages=tuple(from_langchain(message) for message in messages),
            sampling=replace(self.sampling, **sampling),
            tools=tools,
            tool_choice=tool_choice,
            max_repairs=self.max_repairs,
            origin=origin_of(run_manager),
            **{"timeout_seconds": self.timeout_seconds, **extra},
        )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _with_raw(
    raw: AIMessage, parsed: BaseModel | None, error: InvalidAnswer | None
) -> dict[str, Any]:
    return {"raw": raw, "parsed": parsed, "parsing_error": error}
