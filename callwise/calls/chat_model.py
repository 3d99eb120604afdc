"""A LangChain chat model whose calls go through the budgeter.

The other way round from `langchain_client`: existing LangChain or LangGraph code runs
under a budget, and is in the ledger, by having its model swapped for this one.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from contextvars import ContextVar
from typing import Annotated, Any, Self, cast

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SkipValidation,
    model_validator,
)

from callwise.calls.call import Call, CallEnd, Priority, Purpose, Role, Sampling, as_priority
from callwise.calls.client import LLM, Remaining
from callwise.calls.errors import ConfigError
from callwise.calls.langchain_arguments import (
    FORM_ARGUMENT,
    read_arguments,
    wire_tool_choice,
    wire_tools,
)
from callwise.calls.langchain_asking import (
    AnswerStream,
    Ending,
    FinalCall,
    Invocation,
    fitting,
    in_form,
    parsed,
)
from callwise.calls.langchain_messages import chat_result, from_langchain
from callwise.calls.langgraph_origin import origin_of, watch_runs
from callwise.calls.owner_loop import OwnerLoop, owner_of, require_asyncio
from callwise.calls.reply import Reply

__all__ = ["BudgetedChatModel", "FinalCall"]

_OPENED: ContextVar[list[AnswerStream] | None] = ContextVar("opened_streams", default=None)
"""The streams that an `astream` opens, so that it can close them when it is closed."""

_OF_CALL = (
    "timeout_seconds",
    "priority",
    "deadline_seconds",
    "batch_key",
    "cache_ttl_seconds",
    "share",
)
"""Fields of the model that are those of its calls, unless an invocation has its own."""


def _class_of(given: Any) -> Any:
    return as_priority(given) if isinstance(given, str) else given


class BudgetedChatModel(BaseChatModel):
    """A chat model that asks an LLM, such as the budgeter.

    Equal calls are answered one by one, as by any chat model: `batch` of one prompt five
    times is five requests and five answers. Only at a temperature of 0, where their answers
    are meant to be equal, equal calls share one, in flight and from the budgeter's cache.
    `share=True` makes them share at any temperature, `share=False` at none; `bind(share=...)`
    does so for some calls. Where calls share, code that wants another answer names the
    resample it is: `model.bind(sample=1)`. LangChain's own cache is off, since the ledger
    cannot see it.

    It may be used from any thread and any asyncio loop, synchronously inside a running loop
    too: every call is carried to the own loop of its LLM (see `owner_loop`), with the context
    variables of the caller, and clients run there. It lasts until `close`, and begins again
    with a later call. An LLM without an owner loop runs there as well.

    Attributes:
        sampling: parameters of every call; `bind` and invocation arguments go before.
        model_kwargs: further arguments of every call, as `bind` takes them. Arguments of
            OpenAI's chat models that the constructor is given are moved here.
        timeout_seconds: longest wait for one attempt; None leaves the client's own.
        priority: class of urgency of its calls, such as `critical`; None takes that of the purpose.
            This and the next three are those of `Call`, and `bind` sets them for some calls.
        deadline_seconds: time from asking until which an answer is of use; None for none.
        batch_key: calls with another key never travel in one request; with None, alone always.
        cache_ttl_seconds: time for which answers are kept for equal calls; None takes that of the
            purpose.
        on_end: called with how each asking ended (`CallEnd`), before the answer is returned, in
            the thread of its LLM. Must not raise.
        share: whether equal calls share one answer; None shares at a temperature of 0.
        final_answer: what an agent ends with when its budget allows no call: a
            `FinalCall`, which is held back for it and made without tools, or a fixed text.
            None raises `CallRefused`.
        max_tool_calls: most tool calls in a turn, counted as models ask for them, since the
            last message of the user and in the turn's scope, whichever is more. An answer
            that asks for more is not given out: the model is asked again without tools.
        streaming: stream every answer, and call back with its pieces.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    llm: SkipValidation[LLM] = Field(exclude=True, repr=False)
    role: Role = Role.MAIN
    purpose: Purpose = Purpose.OTHER
    sampling: Sampling = Sampling()
    max_repairs: int = Field(default=1, ge=0)
    timeout_seconds: float | None = None
    priority: Annotated[Priority | None, BeforeValidator(_class_of)] = None
    deadline_seconds: float | None = None
    batch_key: str | None = ""
    cache_ttl_seconds: float | None = None
    on_end: Callable[[CallEnd], None] | None = Field(default=None, exclude=True, repr=False)
    share: bool | None = None
    cache: Any = Field(default=False, exclude=True)
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    final_answer: str | FinalCall | None = None
    max_tool_calls: int | None = Field(default=None, ge=0)
    streaming: bool = False

    _owner: OwnerLoop = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _take_arguments(cls, values: Any) -> Any:
        """Move what is no field to `model_kwargs`, where it is read as an argument."""
        own = cls.model_fields.keys()
        other = {name: value for name, value in dict(values).items() if name not in own}
        kept = {name: value for name, value in dict(values).items() if name in own}
        return {**kept, "model_kwargs": {**other, **kept.get("model_kwargs", {})}}

    def model_post_init(self, context: Any, /) -> None:
        """Read the arguments, and move the LLM to its private loop from now on."""
        super().model_post_init(context)
        read_arguments(self.model_kwargs, self.sampling)
        watch_runs()
        self._owner = owner_of(self.llm)
        self._owner.make_private()

    @property
    def _llm_type(self) -> str:
        return "callwise"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"role": str(self.role), "purpose": str(self.purpose)}

    def close(self) -> None:
        """Close the own loop of its LLM, and what a budgeter keeps open. Safe to call twice.

        All models of one LLM share that loop; their calls in flight are cancelled. `with` and
        `async with` close it at their end.
        """
        self._owner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._owner.aclose()

    async def agenerate(self, *args: Any, **kwargs: Any) -> LLMResult:
        """Generate as any chat model does, in an asyncio loop; see `BaseChatModel`.

        Raises:
            ConfigError: in a loop of another kind.
        """
        require_asyncio()
        return await super().agenerate(*args, **kwargs)

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any | None,
    ) -> list[AIMessage]:
        """Invoke for each input, side by side, as any chat model does.

        They are asked in the order of the inputs, which the threads of LangChain's own batch
        are not, so that equal prompts get their own answers again in a replay.
        """
        return self._owner.wait(
            self.abatch, inputs, config, return_exceptions=return_exceptions, **kwargs
        )

    def batch_as_completed(
        self,
        inputs: Sequence[LanguageModelInput],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any | None,
    ) -> Iterator[tuple[int, Any]]:
        """Invoke for each input, side by side, and yield answers with their input's index.

        They come in the order in which they ended, which those of threads do not, so that a
        replay yields them in that order again.
        """
        begin: Callable[..., Any] = self.abatch_as_completed
        answers = begin(inputs, config, return_exceptions=return_exceptions, **kwargs)

        async def next_answer() -> tuple[int, Any] | None:
            answer: tuple[int, Any] | None = await anext(answers, None)
            return answer

        try:
            while (answer := self._owner.wait(next_answer)) is not None:
                yield answer
        finally:
            # Who leaves early waits for what is in flight, as with threads.
            with suppress(Exception):
                while self._owner.wait(next_answer) is not None:
                    pass

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._call(messages, stop, kwargs, run_manager)
        return chat_result(await self._invocation(kwargs).run(call))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._call(messages, stop, kwargs, run_manager)
        return chat_result(self._owner.wait(self._invocation(kwargs).run, call))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk]:
        """Yield the answer in pieces as they come; see `AnswerStream`."""
        call = self._call(messages, stop, kwargs, run_manager)
        pieces = AnswerStream(self._invocation(kwargs), call)
        if (opened := _OPENED.get()) is not None:
            opened.append(pieces)
        async with aclosing(pieces):
            async for chunk in pieces:
                yield ChatGenerationChunk(message=chunk)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        """Yield the answer in pieces as they come, from the loop of another thread."""
        call = self._call(messages, stop, kwargs, run_manager)
        pieces = AnswerStream(self._invocation(kwargs), call)

        async def next_piece() -> AIMessageChunk | None:
            return await anext(pieces, None)

        try:
            while (piece := self._owner.wait(next_piece)) is not None:
                yield ChatGenerationChunk(message=piece)
        finally:
            pieces.abandon()
            if not pieces.is_here:  # the garbage collector runs in any thread
                self._owner.wait(pieces.aclose)

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
        require_asyncio()
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
            tool_choice: `auto`, `none`, `any`, a tool's name, or the OpenAI wire format;
                True means `any`.
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
        """
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            asking = super().bind(response_model=schema, **kwargs)
            return fitting(asking, schema, include_raw=include_raw)
        bound, parser = in_form(schema, method, strict=strict)
        return parsed(super().bind(**bound, **kwargs), parser, include_raw=include_raw)

    async def _ask(self, call: Call) -> Reply:
        self._owner.make_private()
        # An LLM that has an owner loop finds the way there by itself.
        if getattr(self.llm, "owner", None) is self._owner:
            return await self.llm.ask(call)
        return await self._owner.run(self.llm.ask, call)

    def _advisory(self) -> Remaining:
        return self.llm.advisory()  # which an LLM needs only under some limits

    def _invocation(self, arguments: dict[str, Any]) -> Invocation:
        tool_is_form = arguments.get(FORM_ARGUMENT, False)
        ending = Ending(self.final_answer, self.max_tool_calls, tool_is_form=tool_is_form)
        return Invocation(self._ask, self._advisory, ending, self.on_end)

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
        if stop is not None:
            arguments = {**arguments, "stop": stop}
        given = read_arguments({**self.model_kwargs, **arguments}, self.sampling)
        of_call = {**{name: getattr(self, name) for name in _OF_CALL}, **given.of_call}
        try:
            return Call(
                role=self.role,
                purpose=self.purpose,
                messages=tuple(from_langchain(message) for message in messages),
                sampling=given.sampling,
                tools=given.tools,
                tool_choice=given.tool_choice,
                max_repairs=self.max_repairs,
                unkeyed_body=given.unkeyed_body,
                origin=origin_of(run_manager),
                **of_call,
            )
        except ValueError as problem:
            raise ConfigError(str(problem)) from problem
