"""A LangChain chat model whose calls go through the budgeter.

The other way round from `langchain_client`: existing LangChain or LangGraph code runs
under a budget, and stands in the ledger, by having its model swapped for this one.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SkipValidation

from turnwise.calls.asker import Asker
from turnwise.calls.call import Call, Sampling
from turnwise.calls.errors import ConfigError, InvalidAnswer
from turnwise.calls.langchain_messages import from_langchain
from turnwise.calls.langchain_replies import chat_result, message_chunks
from turnwise.calls.owner_loop import OwnerLoop, owner_of, require_asyncio
from turnwise.calls.reply import Reply
from turnwise.calls.structured import parse_answer
from turnwise.calls.vocabulary import Purpose, Role

__all__ = ["BudgetedChatModel"]

_SAMPLING_ARGUMENTS = frozenset(
    {"temperature", "top_p", "max_tokens", "seed", "n", "reasoning_effort"}
)
_CALL_ARGUMENTS = frozenset({"response_model", "sample", "share", "lease", "timeout_seconds"})
_IGNORED_ARGUMENTS = frozenset({"stream", "ls_structured_output_format"})
"""What LangChain itself adds to an invocation, for its tracing and streaming."""


class BudgetedChatModel(BaseChatModel):
    """A chat model that asks an asker, such as the budgeter.

    Equal calls are answered one by one, as by any chat model: `batch` of one prompt five
    times is five requests and five answers. Only at a temperature of 0, where their answers
    are meant to be equal, equal calls share one, in flight and from the budgeter's cache.
    `share=True` makes them share at any temperature, `share=False` at none; `bind(share=...)`
    does so for some calls. Where calls share, code that wants another answer says which
    resample it is: `model.bind(sample=1)`. LangChain's own cache is off, since the ledger
    cannot see it.

    It may be used from any thread and any asyncio loop, synchronously inside a running loop
    too: every call is carried to the asker's own loop (see `owner_loop`), with the context
    variables of the caller, and clients run there. It lasts until `close`, and begins again
    with a later call. Without an owner loop of its own, an asker runs there as well.

    Attributes:
        asker: who answers.
        role: which model serves its calls.
        purpose: what its calls are for.
        sampling: parameters of every call; `bind` and invocation arguments go before.
        max_repairs: how many times an answer that does not fit a schema is asked again.
        timeout_seconds: longest wait for one attempt; None leaves the client's own.
        share: whether equal calls share one answer; None shares at a temperature of 0.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    asker: SkipValidation[Asker] = Field(exclude=True, repr=False)
    role: Role = Role.MAIN
    purpose: Purpose = Purpose.OTHER
    sampling: Sampling = Sampling()
    max_repairs: int = Field(default=1, ge=0)
    timeout_seconds: float | None = None
    share: bool | None = None
    cache: Any = Field(default=False, exclude=True)

    _owner: OwnerLoop = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Let the asker work on a loop of its own from now on, where it can."""
        super().model_post_init(context)
        self._owner = owner_of(self.asker)
        self._owner.make_private()

    @property
    def _llm_type(self) -> str:
        return "turnwise"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"role": str(self.role), "purpose": str(self.purpose)}

    def close(self) -> None:
        """Close the asker's own loop, and what a budgeter keeps open. Safe to call twice.

        All models of one asker share that loop; their calls in flight are cancelled.
        """
        self._owner.close()

    async def agenerate(self, *args: Any, **kwargs: Any) -> LLMResult:
        """Generate as any chat model does, in an asyncio loop; see `BaseChatModel`.

        Raises:
            ConfigError: in a loop of another kind.
        """
        require_asyncio()
        return await super().agenerate(*args, **kwargs)

    def astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[AIMessageChunk]:
        """Stream as any chat model does, in an asyncio loop; see `BaseChatModel`.

        Raises:
            ConfigError: in a loop of another kind.
        """
        require_asyncio()
        return super().astream(*args, **kwargs)

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

    async def _ask(self, call: Call) -> Reply:
        self._owner.make_private()
        # An asker that has an owner loop finds the way there by itself.
        if getattr(self.asker, "owner", None) is self._owner:
            return await self.asker.ask(call)
        return await self._owner.run(self.asker.ask, call)

    def _ask_and_wait(self, call: Call) -> Reply:
        return self._owner.wait(self.asker.ask, call)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's
        **kwargs: Any,
    ) -> ChatResult:
        return chat_result(await self._ask(self._call(messages, stop, kwargs)))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's
        **kwargs: Any,
    ) -> ChatResult:
        return chat_result(self._ask_and_wait(self._call(messages, stop, kwargs)))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        """Yield the answer in the pieces it came in.

        They come once it is whole: what is counted and recorded is the whole answer.
        """
        call = replace(self._call(messages, stop, kwargs), stream=True)
        for chunk in message_chunks(await self._ask(call)):
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

    def _call(
        self, messages: list[BaseMessage], stop: list[str] | None, arguments: dict[str, Any]
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
            **{"timeout_seconds": self.timeout_seconds, "share": self.share, **extra},
        )


def _with_raw(
    raw: AIMessage, parsed: BaseModel | None, error: InvalidAnswer | None
) -> dict[str, Any]:
    return {"raw": raw, "parsed": parsed, "parsing_error": error}
