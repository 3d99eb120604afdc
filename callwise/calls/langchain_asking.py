"""One invocation of a `BudgetedChatModel`: its calls, its pieces, and its end.

An agent asks until its model calls no more tools. Under a limit it would end in an error;
here it can end in an answer. Where the budget allows no call, or the model has asked
for more tools than it may, a last call is made without tools, from capacity that was held
back for it, or a fixed text is returned. Either way the agent gets a message without tool
calls, and stops by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from operator import itemgetter
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import BaseOutputParser, JsonOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser
from langchain_core.runnables import (
    Runnable,
    RunnableConfig,
    RunnableLambda,
    RunnableMap,
    RunnablePassthrough,
)
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field

from callwise.calls import errors
from callwise.calls.call import Call, CallEnd, HoldBack, Message
from callwise.calls.client import Remaining
from callwise.calls.langchain_arguments import FORM_ARGUMENT, response_format_of
from callwise.calls.langchain_messages import Asked, chunk_of_piece, last_chunk
from callwise.calls.pieces import Piece, pieces_of
from callwise.calls.reply import Reply, ReportedUsage
from callwise.calls.structured import parse_answer

__all__ = ["AnswerStream", "Ending", "FinalCall", "Invocation", "fitting", "in_form", "parsed"]

INSTRUCTION = "No further tools can be called. Answer now, as well as you can with what you know."

LEASE = "final_answer"

CLOCK_SECONDS = 0.05
"""Time before its deadline at which a call may have been cut: timers are not exact."""


class FinalCall(BaseModel):
    """A call held back for an agent's last answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    instruction: str = INSTRUCTION
    """Text that is added to the messages, so that the model answers and asks for no tool."""
    text: str | None = "The limit is reached before there is an answer."
    """Answer where even this call is refused or brings no text; None raises."""
    calls: int = Field(default=1, ge=1)
    """Number of such calls reserved in each turn: one for each agent that shares it."""
    seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """The end of the turn's time to hold back as well, where its time is limited."""


@dataclass(frozen=True, slots=True)
class Ending:
    """End of an agent that has reached a limit.

    Args:
        final_answer: what takes the place of a refused call; None raises.
        max_tool_calls: most tool calls in a turn; None does not limit them.
        tool_is_form: whether the call's only tool is the form of its answer: it is not
            counted as a tool, and the last call keeps it.
    """

    final_answer: str | FinalCall | None = None
    max_tool_calls: int | None = None
    tool_is_form: bool = False

    @property
    def final_call(self) -> FinalCall:
        """Return the way to ask without tools."""
        final = self.final_answer
        return final if isinstance(final, FinalCall) else FinalCall(text=final)


class _InvocationListener:
    """Listener of one call: passes on its pieces, and keeps how its askings ended."""

    def __init__(
        self,
        ends: list[CallEnd],
        on_piece: Callable[[Piece], None] | None,
        on_end: Callable[[CallEnd], None] | None,
        *,
        withholds_tools: bool,
    ) -> None:
        self._ends = ends
        self._on_piece = on_piece
        self._on_end = on_end
        self._withholds_tools = withholds_tools
        self.has_given = False

    def on_piece(self, piece: Piece) -> None:
        """Pass a piece on; its tool calls are withheld where they may be too many."""
        if self._withholds_tools:
            piece = piece._replace(tool_calls=())
        if self._on_piece is not None and piece.is_answer:
            self.has_given = True
            self._on_piece(piece)

    def on_end(self, end: CallEnd) -> None:
        """Keep how an asking ended, and pass it on."""
        self._ends.append(end)
        if self._on_end is not None:
            self._on_end(end)

    def complete(self, reply: Reply) -> None:
        """Pass on what of a reply was not passed on as it came."""
        for piece in pieces_of(reply) if self._on_piece is not None else ():
            if not self.has_given or (self._withholds_tools and piece.tool_calls):
                self._on_piece(piece)  # type: ignore[misc] # checked above


class Invocation:
    """One invocation, from the first asking to the answer.

    Args:
        on_end: called with the end of each of its askings; None calls nothing.

    Attributes:
        on_piece: called with the pieces of the answer as they come; or None.
    """

    def __init__(
        self,
        asking: Callable[[Call], Awaitable[Reply]],
        advisory: Callable[[], Remaining],
        ending: Ending,
        on_end: Callable[[CallEnd], None] | None = None,
    ) -> None:
        self.on_piece: Callable[[Piece], None] | None = None
        self._asking = asking
        self._advisory = advisory
        self._ending = ending
        self._on_end = on_end
        self._ends: list[CallEnd] = []

    async def run(self, call: Call) -> Asked:
        """Return the answer to a call, or the one that ends its agent at a limit.

        Raises:
            CallError: whatever ended the call instead.
        """
        ending = self._ending
        if isinstance(ending.final_answer, FinalCall):
            final = ending.final_answer
            later = self._last(call, final, note="")
            call = replace(call, held_back=HoldBack(later, final.calls, final.seconds))
        asked_before = _tool_calls_since_user(call.messages)
        most = None if ending.tool_is_form else ending.max_tool_calls
        if most is not None and call.tools and asked_before >= most:
            return await self._end(call, f"max_tool_calls={most}")
        listener = self._listener(withholds_tools=most is not None)
        try:
            reply = await self._asking(replace(call, listener=listener))
        except (errors.CallRefused, errors.CallTimeout) as error:
            limit = self._limit_of(error)
            if ending.final_answer is None or listener.has_given or not limit:
                raise
            return await self._end(call, limit, error)
        in_turn = (self._ends[-1].turn_tool_calls if self._ends else None) or 0
        asked = max(asked_before + len(reply.tool_calls), in_turn)
        if most is not None and reply.tool_calls and asked > most:
            listener.complete(replace(reply, tool_calls=()))
            return await self._end(call, f"max_tool_calls={most}")
        listener.complete(reply)
        return Asked(reply, tuple(self._ends))

    async def _end(self, call: Call, limit: str, error: errors.CallError | None = None) -> Asked:
        final = self._ending.final_call
        has_form = (
            self._ending.tool_is_form
            or call.response_model is not None
            or "response_format" in call.sampling.extra_body
        )
        if error is None or isinstance(self._ending.final_answer, FinalCall):
            last = self._last(call, final, note=f"final answer under {limit}")
            listener = self._listener(withholds_tools=True)
            try:
                reply = await self._asking(replace(last, listener=listener))
            except (errors.CallRefused, errors.CallTimeout, errors.EmptyAnswer) as problem:
                error = problem
            else:
                if not self._ending.tool_is_form:
                    reply = replace(reply, tool_calls=())
                if not reply.is_empty:
                    listener.complete(reply)
                    return Asked(reply, tuple(self._ends), limit)
                error = errors.EmptyAnswer("the final answer is empty", is_cut=False)
        if final.text is None or has_form:
            raise error
        if self.on_piece is not None:
            self.on_piece(Piece(final.text))
        reply = Reply(final.text, usage=ReportedUsage(0, 0), finish_reason="stop")
        return Asked(reply, tuple(self._ends), limit)

    def _last(self, call: Call, final: FinalCall, *, note: str) -> Call:
        instruction = Message("user", final.instruction)
        *before, last = call.messages
        messages = (*call.messages, instruction)
        if last.role == "user":
            messages = (*before, last.followed_by(instruction))
        if isinstance(self._ending.final_answer, FinalCall):
            call = replace(call, lease=LEASE, held_back=None)
        call = replace(call, messages=messages, note=note)
        if self._ending.tool_is_form or not call.tools:
            return call
        body = dict(call.sampling.extra_body)
        body.pop("parallel_tool_calls", None)  # refused where there are no tools
        sampling = replace(call.sampling, extra_body=body)
        return replace(call, tools=(), tool_choice=None, sampling=sampling)

    def _listener(self, *, withholds_tools: bool) -> _InvocationListener:
        return _InvocationListener(
            self._ends, self.on_piece, self._on_end, withholds_tools=withholds_tools
        )

    def _limit_of(self, error: errors.CallError) -> str:
        """Return the limit that lets nothing else through; empty where another call may fit."""
        if isinstance(error, errors.CallRefused):
            return f"{error.limit}={error.limit_value:g} of {error.scope}"
        left_seconds = self._advisory().seconds_left
        is_over = left_seconds is not None and left_seconds <= CLOCK_SECONDS
        return "max_seconds" if is_over else ""


def _tool_calls_since_user(messages: Iterable[Message]) -> int:
    """Return how many tool calls the model has asked for since the last word of its user."""
    since = takewhile(lambda message: message.role != "user", reversed(tuple(messages)))
    return sum(len(message.tool_calls) for message in since)


class AnswerStream:
    """An answer in pieces as they come, and what is known at its end with the last.

    The call runs in its own task, from the first piece that is waited for. It is
    cancelled, and waited for, when the stream is closed before its end, so that it is
    settled by then.
    """

    def __init__(self, invocation: Invocation, call: Call) -> None:
        self._invocation = invocation
        invocation.on_piece = self._put
        self._call = replace(call, stream=True)
        self._pieces: asyncio.Queue[Piece | None] = asyncio.Queue()
        self._task: asyncio.Task[Asked] | None = None
        self._is_closed = False

    def __aiter__(self) -> "AnswerStream":
        return self

    async def __anext__(self) -> AIMessageChunk:
        """Return the next piece.

        Raises:
            CallError: whatever ended the call; after the first piece nothing is tried again.
        """
        if self._is_closed:
            raise StopAsyncIteration
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            self._task = self._loop.create_task(self._invocation.run(self._call))
            self._task.add_done_callback(lambda _: self._put(None))
        piece = await self._pieces.get()
        if piece is not None:
            return chunk_of_piece(piece)
        self._is_closed = True
        return last_chunk(await self._task)

    @property
    def is_here(self) -> bool:
        """Whether the caller runs in its loop, and so cannot wait for it."""
        return self._task is not None and _running_loop() is self._loop

    def abandon(self) -> None:
        """End the call soon, without waiting for that; from any thread."""
        if self._task is not None and not self._task.done() and not self._is_closed:
            self._is_closed = True
            with suppress(RuntimeError):  # that loop has ended, and the call with it
                self._loop.call_soon_threadsafe(self._task.cancel)

    async def aclose(self) -> None:
        """End the call, unless it has ended. Safe to call twice, and from two tasks."""
        task, was_closed, self._is_closed = self._task, self._is_closed, True
        if task is None:
            return
        if not task.done():
            if not was_closed:
                task.cancel()
            await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # the caller has left, and does not ask how it ended

    def _put(self, piece: Piece | None) -> None:
        if _running_loop() is self._loop:
            self._pieces.put_nowait(piece)
        else:  # the loop of the LLM is another thread's; the caller's may be gone
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


_METHODS = ("function_calling", "json_schema", "json_mode")


def in_form(
    schema: Any, method: str | None, *, strict: bool | None
) -> tuple[dict[str, Any], BaseOutputParser[Any] | Runnable[Any, Any]]:
    """Return what to bind so that an answer has the form of a schema, and what reads it.

    Args:
        schema: a TypedDict or a JSON schema; None, for any object, under `json_mode` only.
        method: one of `function_calling`, which None is, `json_schema` and `json_mode`.
        strict: whether the answer must fit exactly; None leaves it to the endpoint.

    Raises:
        ConfigError: for another method, or a schema that is none.
    """
    if method not in {None, *_METHODS}:
        raise errors.ConfigError(f"method is one of {', '.join(_METHODS)}; got {method!r}")
    if schema is None and method != "json_mode":
        raise errors.ConfigError("with_structured_output needs a schema, but for method json_mode")
    seen = {"kwargs": {"method": method or _METHODS[0], "strict": strict}, "schema": schema}
    bound: dict[str, Any] = {"ls_structured_output_format": seen}
    if method == "json_mode":
        return {**bound, "response_format": {"type": "json_object"}}, JsonOutputParser()
    if method == "json_schema":
        form = response_format_of(schema, strict=strict)
        return {**bound, "response_format": form}, JsonOutputParser()
    tool = convert_to_openai_tool(schema, strict=strict)
    name = tool["function"]["name"]
    parser = JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
    return {**bound, "tools": [tool], "tool_choice": "required", FORM_ARGUMENT: True}, parser


def parsed(
    asking: Runnable[Any, AIMessage], parser: Runnable[Any, Any], *, include_raw: bool
) -> Runnable[Any, Any]:
    """Return a runnable that asks and reads; with `include_raw`, as LangChain's models do."""
    if not include_raw:
        return asking | parser
    read = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    unread = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=asking) | read.with_fallbacks([unread], exception_key="parsing_error")


def fitting(
    asking: Runnable[Any, AIMessage], schema: type[BaseModel], *, include_raw: bool
) -> Runnable[Any, dict[str, Any] | BaseModel]:
    """Return a runnable that asks with a response model and returns an instance of it."""

    def finish(message: AIMessage) -> dict[str, Any] | BaseModel:
        answer = parse_answer(str(message.text), schema)
        return _with_raw(message, answer, None) if include_raw else answer

    def failed(error: errors.InvalidAnswer) -> dict[str, Any]:
        if not include_raw:
            raise error
        return _with_raw(AIMessage(error.text), None, error)

    def invoke(prompt: Any, config: RunnableConfig) -> dict[str, Any] | BaseModel:
        try:
            return finish(asking.invoke(prompt, config))
        except errors.InvalidAnswer as error:
            return failed(error)

    async def ainvoke(prompt: Any, config: RunnableConfig) -> dict[str, Any] | BaseModel:
        try:
            return finish(await asking.ainvoke(prompt, config))
        except errors.InvalidAnswer as error:
            return failed(error)

    return RunnableLambda(invoke, ainvoke, name=f"structured_{schema.__name__}")


def _with_raw(
    raw: AIMessage, answer: BaseModel | None, error: errors.InvalidAnswer | None
) -> dict[str, Any]:
    return {"raw": raw, "parsed": answer, "parsing_error": error}
