"""Graph for graph servers whose threads are rooms of awake agents: `graph/room_app.py:graph`.

A run adds a person's message, which the agents that it addresses answer immediately, or wakes the
agents for the present hour. The agents are those of the file CALLWISE_AGENTS (default: the shipped
five). Each thread has its own store in `rooms` of the folder CALLWISE_HOME (default
`callwise-runs/served`): chat, memories, credits and quotas are that room's alone. The state of a
thread shows the newest messages of its log and the report of its last run.

Problem: a server refuses blocking calls on its loop, and on any loop of its process, while a wake
reads and writes its store between two calls.
Choice: wakes run on one private loop, and the store's methods in a thread for which that loop
waits, so that the server's loop goes on.

Invariant: a run that is repeated or resumed has the same message id or the same hour, and asks
only for replies that are not there.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, cast
from uuid import uuid4

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    convert_to_messages,
)
from langgraph.channels import EphemeralValue
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_jsonable_python

from callwise.budget.budgeter import Budgeter
from callwise.budget.clock import SystemClock
from callwise.budget.layers.cache import MemoryCache
from callwise.calls.errors import ConfigError
from callwise.calls.owner_loop import OwnerLoop
from callwise.calls.payload import well_formed
from callwise.report.observed import observing
from callwise.safe_text import is_one_line
from callwise.shipped import configs_folder
from callwise.wake import (
    RoomMessage,
    WakeReport,
    WakeService,
    WakeSettings,
    WakeStore,
    read_wake_settings,
)
from callwise.wake.agents import MAX_NAME_CHARS
from callwise.wake.hours import slot_of

__all__ = ["RoomInput", "RoomState", "RoomThreads", "graph", "room_graph", "room_of"]

_LOGGER = logging.getLogger(__name__)

MAX_TEXT_BYTES = 65_536
"""Longest message of a person, in bytes of UTF-8."""

MAX_SHOWN = 200
"""Most messages in the state of a thread, the newest; the store has all of them."""

MAX_KEPT_BYTES = 4 * 1024 * 1024
"""Memory for the notes of one run's room."""

_AUTHOR = "user"
"""Author of a message without a name, as chat front ends send it."""

_SIGNS = "abcdefghijklmnopqrstuvwxyz0123456789-_"
_DIGEST = "sha256-"


def room_of(thread_id: str) -> str:
    """Return the name of a thread's room, which is part of a file's name.

    Two threads have two names, on file systems that ignore letter case too.
    """
    is_plain = 1 <= len(thread_id) <= MAX_NAME_CHARS and not set(thread_id) - set(_SIGNS)
    if is_plain and not thread_id.startswith(_DIGEST):
        return thread_id
    digest = sha256(thread_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_DIGEST}{digest}"[:MAX_NAME_CHARS]


# The state of a thread.


def _one_line(name: str) -> str:
    name = name.strip()
    if not name or not is_one_line(name):
        raise ValueError("a name is one line, not empty and without control characters")
    return name


def _of_bounded_size(text: str) -> str:
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_TEXT_BYTES:
        raise ValueError(f"the message has {size:,} bytes; write at most {MAX_TEXT_BYTES:,}")
    return well_formed(text)


class RoomInput(BaseModel):
    """One run as a client of the server asks for it: `messages`, `text`, or `wake`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    messages: list[AnyMessage] = []
    """The last one is what a person writes; its `name` is the author."""
    text: Annotated[str, AfterValidator(_of_bounded_size)] = ""
    """Message of a person, in place of `messages`."""
    author: Annotated[str, AfterValidator(_one_line), Field(max_length=64)] = _AUTHOR
    """The person, not verified. No name of an agent."""
    id: Annotated[str, Field(max_length=128)] = ""
    """Distinguishes the message from all others of the room, so that it may be sent again."""
    to: Annotated[str, Field(max_length=64)] = ""
    """Id or name of an agent that the message is for, whether its text mentions it or not."""
    wake: bool = False
    """Whether the agents wake for the present hour, in place of a message."""


def _log_and_input(log: list[AnyMessage], given: Any) -> list[BaseMessage]:
    """Return the log that a node gives; or the log with the last message of an input behind it.

    That of an earlier input, whose run failed, is left out. Each input's message has its own mark,
    also where it is sent again.
    """
    try:
        messages = convert_to_messages(given if isinstance(given, list) else [given])
    except (ValueError, TypeError, NotImplementedError, KeyError) as error:
        raise ValueError(f"the input's `messages` do not fit: {str(error)[:300]}") from error
    if messages and messages[0].id == REMOVE_ALL_MESSAGES:
        return messages[1:]
    marked = {"input": str(uuid4())}
    said = [
        each.model_copy(update={"id": each.id or str(uuid4()), "additional_kwargs": marked})
        for each in messages[-1:]
    ]
    ids = {each.id for each in said}
    kept = [each for each in log if "sequence" in each.additional_kwargs and each.id not in ids]
    return [*kept, *said]


class RoomState(BaseModel):
    """The state of a thread."""

    messages: Annotated[list[AnyMessage], _log_and_input] = Field(default=[])
    """The newest messages of the log, in its order. `additional_kwargs` has the number of each, and
    the time at which it appears, which of an agent's may be up to `wake.delay_seconds` ahead."""
    report: dict[str, Any] | None = None
    """The report of the last run, see `WakeReport`; None where it asked no agent."""
    given: dict[str, Any] | None = None
    """The checked input: a message, or the time `at` of an hour, or the `problem` of it."""
    text: Annotated[Any, EphemeralValue] = None
    author: Annotated[Any, EphemeralValue] = None
    id: Annotated[Any, EphemeralValue] = None
    to: Annotated[Any, EphemeralValue] = None
    wake: Annotated[Any, EphemeralValue] = None


_OF_INPUT = ("text", "author", "id", "to", "wake")


def _given(state: RoomState, now: float) -> dict[str, Any]:
    """Return the input of a run with the mark of its message, checked; or what is wrong with it.

    Nothing is raised here, since the mark has to be kept: no later run takes that message.
    """
    message = state.messages[-1] if state.messages else None
    mark = message.additional_kwargs.get("input") if message is not None else None
    is_new = mark is not None and mark != (state.given or {}).get("input")
    try:
        return {"input": mark, **_checked(state, message if is_new else None, now)}
    except ValueError as error:
        return {"input": mark, "problem": str(error)}


def _checked(state: RoomState, message: BaseMessage | None, now: float) -> dict[str, Any]:
    """Return the checked input of a run.

    Raises:
        ValueError: when a value does not fit, or there is nothing to do; servers show its text.
    """
    values = {name: getattr(state, name) for name in _OF_INPUT}
    values = {name: value for name, value in values.items() if value not in (None, "")}
    if message is not None:
        if message.type != "human" or "text" in values:
            raise ValueError(
                'the last of the input\'s "messages" is what a person writes. Give one of type '
                '"human" there, and no "text" next to it'
            )
        name = {"author": message.name} if message.name else {}
        values = {"id": message.id, **name, **values, "text": str(message.text)}
    try:
        checked = RoomInput.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        reason = problem["msg"].removeprefix("Value error, ")
        raise ValueError(f"the input's `{place}` does not fit: {reason}") from error
    has_text = bool(checked.text.strip())
    if has_text == checked.wake:
        raise ValueError(
            'there is nothing to do, or two things: give "messages" that end with a person\'s '
            'text, or "author" and "text", or "wake": true for the present hour'
        )
    if checked.wake:
        return {"at": now}
    names = {"text", "author", "to"}
    return {**checked.model_dump(include=names), "id": checked.id or str(uuid4())}


def _as_message(message: RoomMessage, *, is_agent: bool) -> BaseMessage:
    number = {"sequence": message.sequence, "at": message.at}
    kind = AIMessage if is_agent else HumanMessage
    return kind(
        well_formed(message.text), id=message.id, name=message.author, additional_kwargs=number
    )


# The agents of this process.


class _InThread:
    """A part of a store whose methods run in a thread, for which the caller's loop waits."""

    def __init__(self, part: object, pool: ThreadPoolExecutor) -> None:
        self._part, self._pool = part, pool

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._part, name)
        if not callable(value):
            return _InThread(value, self._pool)
        return lambda *args, **words: self._pool.submit(value, *args, **words).result()


@dataclass(frozen=True, slots=True)
class _Agents:
    settings: WakeSettings
    budgeter: Budgeter
    is_simulated: bool


class RoomThreads:
    """Answers runs of threads; all rooms have the same agents and one budgeter.

    Nothing is opened before the first run. A room's store is open while one runs.

    Args:
        file: YAML file of agents; None for the shipped one.
        home: the folder of the stores, made where it is missing.
        environ: environment variables.
        wall: returns the time in UTC epoch seconds.
    """

    def __init__(
        self,
        file: Path | None,
        home: Path,
        *,
        environ: Mapping[str, str] = os.environ,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.wall = wall
        self._file, self._folder, self._environ = file, home / "rooms", environ
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="callwise-rooms")
        self._owner = OwnerLoop(is_private=True, before_end=self._close)
        self._agents: _Agents | None = None
        self._observed = ExitStack()

    async def answer(self, thread_id: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the update of a thread's state: the newest messages of its log, and the report.

        Args:
            given: a checked input.

        Raises:
            ValueError: for an author who has an agent's name, an id with other signs than
                letters, digits and `._+-`, or that of another message, or a `to` that is no
                agent; servers show its text.
            ConfigError: for a file of agents that cannot be.
            FormatError: when the file of agents or the room's store cannot be read.
            StoreFailed: when the store cannot be read or written.
        """
        return await self._owner.run(self._answered, room_of(thread_id), given)

    async def aclose(self) -> None:
        """Close the budgeter and its loop, where they were opened. A server never does."""
        await self._owner.aclose()
        self._pool.shutdown()

    # What follows runs on the private loop, or in the thread for which it waits.

    async def _close(self) -> None:
        agents, self._agents = self._agents, None
        self._observed.close()
        if agents is not None:
            await agents.budgeter.aclose()

    def _made(self) -> _Agents:
        """Open everything that reads files or loads libraries. Blocks."""
        path = self._file or configs_folder() / "wake" / "five_agents.yaml"
        settings = read_wake_settings(path, environ=self._environ, is_shipped=self._file is None)
        endpoints = settings.served_by(self._environ)
        clock = SystemClock()
        budgeter = Budgeter(
            endpoints,
            clock=clock,
            cache=MemoryCache(clock=clock) if settings.wake.retrieval == "both" else None,
            retry=settings.retry,
            load=settings.wake.load(settings.load),
            seed=settings.wake.seed,
            secrets=settings.secrets(self._environ),
        )
        observe = self._observed.enter_context(
            observing(
                settings,
                settings.metrics,
                settings.traces,
                folder=self._folder.parent,
                notify=_LOGGER.warning,
                environ=self._environ,
            )
        )
        self._observed.enter_context(observe(budgeter))
        is_simulated = any(each.client.is_simulated for each in endpoints.values())
        self._folder.mkdir(parents=True, exist_ok=True)
        return _Agents(settings, budgeter, is_simulated)

    async def _answered(self, room: str, given: Mapping[str, Any]) -> dict[str, Any]:
        run = self._pool.submit
        agents = self._agents = self._agents or run(self._made).result()
        path = self._folder / f"{room}.sqlite"
        opened = run(WakeStore, path, max_kept_bytes=MAX_KEPT_BYTES).result()
        with closing(cast("WakeStore", _InThread(opened, self._pool))) as store:
            settings = agents.settings
            knobs = settings.wake.model_copy(update={"room": room})
            service = WakeService(
                settings.agents,
                store,
                agents.budgeter,
                knobs,
                wall=self.wall,
                limits=settings.limits,
            )
            if "at" in given:
                every = knobs.every_seconds
                hour = slot_of(given["at"], every) * every
                report: WakeReport | None = await service.wake(hour)
            else:
                report = await _said(service, given)
            # The run is the only way in which they come: with their times, which may be ahead.
            ahead = self.wall() + knobs.delay_seconds[1]
            store.rooms.deliver_due(ahead, on_time_seconds=math.inf)
            log = store.rooms.messages(room, limit=MAX_SHOWN, newest=True)
        names = {each.id for each in settings.agents}
        shown = [_as_message(each, is_agent=each.author in names) for each in log]
        update: dict[str, Any] = {
            "messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), *shown],
            "report": None,
        }
        if report is not None:
            counted = to_jsonable_python(report)
            update["report"] = {**counted, "is_simulated": agents.is_simulated}
        return update


async def _said(service: WakeService, given: Mapping[str, Any]) -> WakeReport | None:
    try:
        return await service.say(given["author"], given["text"], id=given["id"], to=given["to"])
    except ConfigError as error:  # of which servers show no text
        raise ValueError(str(error)) from error


# The graph.


def room_graph(
    threads: RoomThreads, *, checkpointer: BaseCheckpointSaver[str] | None = None
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the graph as a server runs it, on threads."""

    async def take(state: RoomState) -> dict[str, Any]:
        return {"given": _given(state, threads.wall())}

    async def room(state: RoomState, runtime: Runtime[None]) -> dict[str, Any]:
        thread_id = runtime.execution_info.thread_id if runtime.execution_info else None
        given = state.given or {}
        if thread_id is None:
            raise ValueError("a room is a thread: run the graph on one, with its `thread_id`")
        if "problem" in given:
            raise ValueError(given["problem"])
        return await threads.answer(thread_id, given)

    builder = StateGraph(RoomState, input_schema=RoomInput)
    # What is said has its id, and an hour its time, in the checkpoint before anything is paid.
    builder.add_node("take", take)
    builder.add_node("room", room)
    builder.add_edge(START, "take")
    builder.add_edge("take", "room")
    builder.add_edge("room", END)
    return builder.compile(checkpointer=checkpointer, name="room")


_served = RoomThreads(
    Path(os.environ["CALLWISE_AGENTS"]) if os.environ.get("CALLWISE_AGENTS") else None,
    Path(os.environ.get("CALLWISE_HOME", "callwise-runs/served")),
)
graph = room_graph(_served)
"""The graph as a graph server loads it."""
