"""Graph for `langgraph dev` and other graph servers: `graph/langgraph_app.py:graph`.

A server runs nodes with no session around them and refuses blocking calls in them. So
the engine is made in a thread when the process's first node needs it, and kept. The
preset is CALLWISE_PRESET (default `classic`); memory is in the folder CALLWISE_HOME
(default `callwise-runs/served`). The server brings the checkpointer. Clients that stream the mode
`custom` are given each bubble of the reply as soon as it is final.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage
from langgraph.channels import EphemeralValue
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import ExecutionInfo, Runtime
from langgraph.types import StreamWriter
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from callwise.budget.layers.cache import ReplyCache
from callwise.calls.errors import ConfigError
from callwise.calls.payload import well_formed
from callwise.memory import Identity
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.sqlite_backend import SqliteBackend
from callwise.recordings.source_records import iso_time
from graph.app import app
from graph.drivers import NODES, compiled, plain_values, run_step
from graph.endpoints import endpoints_of
from graph.engine import TurnContext, cache_of, make_engine, similar_of, warm
from graph.knob_groups import FuseKnobs
from graph.reply_stream import ShownReply
from graph.state import TurnState
from graph.steps import STEPS
from graph.tracing import traces_of
from nodes.prompt import load_prompts
from nodes.records import Bubble, DialogueLine, Persona

if TYPE_CHECKING:
    from callwise.report.traces import Traces

__all__ = [
    "Given",
    "GraphServerContext",
    "ThreadInput",
    "ThreadState",
    "given_by",
    "graph",
    "thread_graph",
    "turn_of",
]

_LOGGER = logging.getLogger(__name__)

MAX_TURN = 1_000_000_000
"""Highest number that a client may ask a turn to have."""


class ThreadInput(BaseModel):
    """One turn as a client of the server asks for it: `messages`, or `user_text`."""

    model_config = ConfigDict(extra="forbid")

    messages: list[AnyMessage] = []
    """The chat, or what is new of it; the user's last message is answered."""
    user_text: str = ""
    """The user's message, in place of `messages`."""
    user_id: str | None = None
    """The user whose memory is used, not verified; null or blank is anonymous. The thread keeps
    it, but shows a new user no message of the one before."""
    conversation_id: str | None = None
    """The thread keeps it; without one, the thread is the conversation."""
    agent_id: str | None = None
    """The thread keeps it; None is the settings' own."""
    requested_turn: int | None = Field(default=None, ge=0, le=MAX_TURN)
    time: str | None = None
    """Time at which the user wrote, as ISO 8601."""
    persona: Persona | None = None
    """The thread keeps it for the same user; None is the settings' own."""

    @field_validator("time")
    @classmethod
    def _as_iso(cls, text: str | None) -> str | None:
        time = None if text is None else iso_time(text)
        if text is not None and time is None:
            raise ValueError("expected an ISO 8601 time such as 2024-05-01T18:30:00")
        return time


class Given(BaseModel):
    """The checked input of a turn of a thread.

    Args:
        run: id of the thread, which has one turn at a time, or of the one run.
        named_conversation: the conversation's id where a client gave it.
        earlier_lines: the lines of `messages` before the user's.
        takes_lines: whether all of the thread's turns had this identity, so that its earlier
            messages are lines of this conversation and not of another one.
        message_id: the message that is answered.
    """

    run: str
    identity: Identity
    named_conversation: str | None = None
    user_text: str
    time: str | None = None
    persona: Persona = Persona()
    requested_turn: int | None = None
    earlier_lines: list[DialogueLine] = []
    takes_lines: bool = True
    message_id: str = ""


class ThreadState(TurnState):
    """The state of a thread. `given_by` checks an input's values."""

    messages: Annotated[list[AnyMessage], add_messages] = Field(default=[])
    given: Given | None = None
    agent_id: Annotated[Any, EphemeralValue] = None
    user_id: Annotated[Any, EphemeralValue] = None
    conversation_id: Annotated[Any, EphemeralValue] = None
    user_text: Annotated[Any, EphemeralValue] = ""
    time: Annotated[Any, EphemeralValue] = None
    persona: Annotated[Any, EphemeralValue] = None
    requested_turn: Annotated[Any, EphemeralValue] = None

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, data: Any) -> Any:
        """Treat null and a form's empty field as not given; a blank user is none."""
        if not isinstance(data, dict):
            return data
        given = {name: value for name, value in data.items() if not _is_blank(value)}
        return {**given, "user_id": None} if _is_blank(data.get("user_id", "-")) else given


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _checked(state: ThreadState) -> ThreadInput:
    """Return an input without its `messages`.

    Raises:
        ValueError: when a value does not fit; graph servers show its text.
    """
    names = (ThreadInput.model_fields.keys() & state.model_fields_set) - {"messages"}
    try:
        return ThreadInput.model_validate({name: getattr(state, name) for name in names})
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise ValueError(f"the input's `{place}` does not fit: {problem['msg']}") from error


def _words(messages: Sequence[BaseMessage]) -> tuple[BaseMessage | None, Sequence[BaseMessage]]:
    """Return the user's last message, and the messages before it.

    A message that was answered already is none.
    """
    for place in range(len(messages) - 1, -1, -1):
        kind = messages[place].type
        if kind == "human":
            return messages[place], messages[:place]
        if kind == "ai":
            break
    return None, messages


def _lines(messages: Sequence[BaseMessage]) -> list[DialogueLine]:
    """Return the lines of a chat, without messages of systems and tools."""
    roles = {"human": "user", "ai": "agent"}
    return [
        DialogueLine.model_validate({"role": roles[message.type], "text": well_formed(text)})
        for message in messages
        if message.type in roles and (text := str(message.text)).strip()
    ]


def given_by(state: ThreadState, info: ExecutionInfo | None, *, agent_id: str) -> Given:
    """Return the checked input of a turn; a run without a thread is a conversation of one turn.

    Args:
        agent_id: the agent where the thread names none.

    Raises:
        ValueError: when there is no text of the user's, or a value that does not fit; graph
            servers show its text.
    """
    before, given = state.given, _checked(state)
    named = given.conversation_id or (before.named_conversation if before else None)
    run = (info.thread_id or info.run_id or info.checkpoint_id) if info else "conversation"
    user_id = given.user_id
    if before is not None:
        agent_id = before.identity.agent_id
        user_id = user_id if "user_id" in given.model_fields_set else before.identity.user_id
    identity = Identity(given.agent_id or agent_id, user_id, named or run)
    is_same_user = before is not None and before.identity.agent_user == identity.agent_user
    message, earlier = _words(state.messages)
    if before is not None and not is_same_user and message and message.id == before.message_id:
        message = None  # another user's, whose turn broke off
    text = given.user_text or (str(message.text) if message else "")
    if not text.strip():
        raise ValueError(
            "there is nothing to answer: the input has no text of the user's. Give "
            '"messages" that end with a message of the user, or "user_text"'
        )
    persona = given.persona or Persona()
    if before is not None and is_same_user and persona == Persona():
        persona = before.persona
    takes_lines = before is None or (before.takes_lines and before.identity == identity)
    is_said = message is not None and str(message.text) == text
    return Given(
        run=run,
        identity=identity,
        named_conversation=named,
        user_text=well_formed(text),
        time=given.time,
        persona=persona,
        requested_turn=given.requested_turn,
        earlier_lines=_lines(earlier) if takes_lines else [],
        takes_lines=takes_lines,
        message_id=(message.id or "") if message is not None and is_said else str(uuid4()),
    )


def turn_of(state: ThreadState, given: Given) -> TurnState:
    """Return the state of a thread as its turn's nodes read it."""
    own = {name: getattr(given, name) for name in _OF_A_TURN}
    return state.model_copy(update={**given.identity._asdict(), **own})


_OF_A_TURN = ("user_text", "time", "persona", "requested_turn", "earlier_lines")


ContextMaker = Callable[[], Awaitable[TurnContext]]
"""Returns the context of nodes that a graph server runs."""


class GraphServerContext:
    """Gives every node of this process the same engine, made on first use."""

    def __init__(self, preset: str, home: Path) -> None:
        self.settings = app.settings(preset)
        self._home = home
        self._lock = asyncio.Lock()
        self._context: TurnContext | None = None
        self._store: SqliteBackend | None = None
        self._cache: ReplyCache | None = None
        self._traces: Traces | None = None

    def _make(self) -> TurnContext:
        """Open everything that reads files or loads libraries. Blocks.

        Raises:
            ConfigError: for settings that split; and as `make_engine` does.
        """
        if self.settings.experiment is not None:
            raise ConfigError(
                "an experiment is split by a session (`callwise run`, `chat`, `replay`), and not "
                "by a graph server: serve the settings of one arm"
            )
        load_prompts()
        self._home.mkdir(parents=True, exist_ok=True)
        store = self._store = SqliteBackend(self._home / "memory.sqlite")
        # A server runs for weeks: rows go to no list. Its counts are in the scopes.
        memory = ConversationMemory(
            store,
            max_results=self.settings.memory.retrieval_entries,
            result_seconds=self.settings.cache.ttl_seconds.vector_search,
        )
        self._cache = cache_of(self.settings, is_offline=False)
        engine = make_engine(
            self.settings,
            endpoints_of(self.settings),
            memory,
            cache=self._cache,
            similar=similar_of(self.settings, is_own=True),
        )
        self._traces = traces_of(self.settings, notify=_LOGGER.warning)
        if self._traces is not None:
            self._traces.watch(engine.budgeter)
        return TurnContext(engine)

    async def __call__(self) -> TurnContext:
        """Return the process's context."""
        async with self._lock:
            if self._context is None:
                context = await asyncio.to_thread(self._make)
                await warm(self._cache, self.settings, context.engine.endpoints)
                self._context = context
        return self._context

    async def aclose(self) -> None:
        """Close the engine and its memory, where they were opened. A server never does."""
        async with self._lock:
            context, self._context = self._context, None
            if context is not None:
                await context.engine.budgeter.aclose()
                context.engine.close()
            if self._traces is not None:
                await self._traces.aclose()
            if self._store is not None:
                self._store.close()


def _write_bubble(write: StreamWriter, index: int, bubble: Bubble) -> None:
    """Give a bubble that is final to clients that stream `custom`."""
    write({"index": index, "bubble": bubble.model_dump()})


def _node(name: str, waits_for: tuple[str, ...], make_context: ContextMaker) -> Any:
    """Return a step as a graph server runs it, on the state of a thread."""
    is_first, is_last = name == NODES[0], name == NODES[-1]

    async def run(state: ThreadState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
        context = await make_context()
        engine, info = context.engine, runtime.execution_info
        given = state.given
        if is_first or given is None:
            given = given_by(state, info, agent_id=engine.settings.agent_id)
        write = partial(_write_bubble, runtime.stream_writer)
        shown = ShownReply(write, tuple(state.early_bubbles))
        context = replace(context, shown=shown)
        owner = given.identity.agent_user
        if is_first:
            await engine.enter(owner, given.run, patience_seconds=engine.patience_seconds)
        try:
            update = await run_step(name, STEPS[name], waits_for, turn_of(state, given), context)
        except BaseException:
            engine.leave(owner, given.run)
            raise
        messages: list[BaseMessage] = []
        if is_first:
            given = given.model_copy(update={"persona": update.pop("persona")})
            update["given"] = given
            if not any(message.id == given.message_id for message in state.messages):
                messages = [HumanMessage(given.user_text, id=given.message_id)]
        elif is_last:
            # The thread's values show the input of its turn.
            update |= given.identity._asdict()
            update |= {"user_text": given.user_text, "time": given.time, "persona": given.persona}
            engine.close_turn(given.identity)
            engine.leave(owner, given.run)
            await engine.check_similar()
            if info is not None and info.thread_id is None:
                engine.close_conversation(given.identity)
        if update.get("reply"):
            messages = [AIMessage(update["reply"])]
        return {**plain_values(update), **({"messages": messages} if messages else {})}

    return run


def thread_graph(
    make_context: ContextMaker,
    *,
    overlap: bool,
    fuse: FuseKnobs | None = None,
    checkpointer: BaseCheckpointSaver[str] | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the graph as a server runs it: on threads, its context made by the nodes."""
    return compiled(
        StateGraph(ThreadState, input_schema=ThreadInput),
        lambda name, waits_for: _node(name, waits_for, make_context),
        overlap=overlap,
        fuse=fuse,
        checkpointer=checkpointer,
    )


_served = GraphServerContext(
    os.environ.get("CALLWISE_PRESET", "classic"),
    Path(os.environ.get("CALLWISE_HOME", "callwise-runs/served")),
)
graph = thread_graph(_served, overlap=_served.settings.overlap, fuse=_served.settings.fuse)
