"""Turns as clients of a graph server ask for them: the input, its check, a thread's state."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import uuid4

from langchain_core.messages import AnyMessage, BaseMessage
from langgraph.channels import EphemeralValue
from langgraph.graph.message import add_messages
from langgraph.runtime import ExecutionInfo
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from callwise.calls.payload import well_formed
from callwise.memory import Identity
from callwise.recordings.source_records import iso_time
from graph.state import TurnState
from nodes.records import DialogueLine, Persona

__all__ = ["MAX_TURN", "Given", "ThreadInput", "ThreadState", "given_by", "turn_of"]

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
        arm: of the turn in an experiment; empty outside of one.
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
    arm: str = ""


class ThreadState(TurnState):
    """The state of a thread. `given_by` checks an input's values."""

    messages: Annotated[list[AnyMessage], add_messages] = Field(default=[])
    given: Given | None = None
    arm: str = ""
    """Arm of the last turn in an experiment; empty outside of one."""
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
