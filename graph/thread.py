"""A graph server's thread: what an input may give, and what of it a turn is run with.

A server keeps the channels of a thread from run to run, so a channel does not tell whether
this input gave its value or an earlier one did. What belongs to one turn (the words, the
time, the persona) therefore comes in channels that LangGraph empties after a step. The first
node puts it in `given`, where the other nodes of the turn find it.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage
from langgraph.channels import EphemeralValue
from langgraph.graph.message import add_messages
from langgraph.runtime import ExecutionInfo
from pydantic import BaseModel, ConfigDict, Field, model_validator

from graph.state import TurnState
from nodes.records import Line, Persona
from turnwise.calls.payload import well_formed
from turnwise.memory import Identity

__all__ = [
    "Given",
    "ThreadInput",
    "ThreadState",
    "answered",
    "asked",
    "given_by",
    "shown",
    "turn_of",
]


class ThreadInput(BaseModel):
    """One turn as a client of the server asks for it: `messages`, or `user_text`."""

    model_config = ConfigDict(extra="forbid")

    messages: list[AnyMessage] = []
    """The chat, or what is new of it; the user's last message is answered."""
    user_text: str = ""
    """What the user wrote, in place of `messages`."""
    user_id: str | None = None
    """Whose memory is used, trusted as it comes; None is anonymous. The thread keeps it."""
    conversation_id: str | None = None
    """The thread keeps it; without one, the thread is the conversation."""
    agent_id: str | None = None
    """The thread keeps it; None is the settings' own."""
    requested_turn: int | None = None
    time: str | None = None
    """When the user wrote, as ISO 8601."""
    persona: Persona | None = None
    """Who answers. The thread keeps it for the same user; None is the settings' own."""


class Given(BaseModel):
    """What a turn of a thread is run with.

    Args:
        run: what runs it: the thread, which has one turn at a time, or the one run.
        identity: who talks with whom, and in which conversation.
        named_conversation: the conversation's id where a client gave it.
        user_text: what the user wrote.
        time: when, where known.
        persona: who answers.
        requested_turn: which turn it is to be, where a client says so.
        earlier_lines: the lines of `messages` before the user's.
    """

    run: str
    identity: Identity
    named_conversation: str | None = None
    user_text: str
    time: str | None = None
    persona: Persona = Persona()
    requested_turn: int | None = None
    earlier_lines: list[Line] = []


class ThreadState(TurnState):
    """The state of a thread."""

    messages: Annotated[list[AnyMessage], add_messages] = Field(default=[])
    given: Given | None = None
    conversation_id: Annotated[str, EphemeralValue] = ""
    user_text: Annotated[str, EphemeralValue] = ""
    time: Annotated[str | None, EphemeralValue] = None
    persona: Annotated[Persona, EphemeralValue] = Persona()
    requested_turn: Annotated[int | None, EphemeralValue] = Field(default=None, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, data: Any) -> Any:
        """Take null and a form's empty field for what was not given."""
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if value is not None and value != ""}


def _words(messages: Sequence[BaseMessage]) -> tuple[str, Sequence[BaseMessage]]:
    """Return the text of the user's last message, and the messages before it.

    Messages that were answered are not looked at: there the text is blank.
    """
    for place in range(len(messages) - 1, -1, -1):
        kind = messages[place].type
        if kind == "human":
            return str(messages[place].text), messages[:place]
        if kind == "ai":
            break
    return "", messages


def _lines(messages: Sequence[BaseMessage]) -> list[Line]:
    """Return the lines of a chat; messages of systems and tools are none."""
    roles = {"human": "user", "ai": "agent"}
    return [
        Line.model_validate({"role": roles[message.type], "text": well_formed(text)})
        for message in messages
        if message.type in roles and (text := str(message.text)).strip()
    ]


def given_by(state: ThreadState, info: ExecutionInfo | None, *, agent_id: str) -> Given:
    """Return what a turn is run with.

    Args:
        state: of the thread, right after the input.
        info: of the run; a run without a thread is a conversation of one turn.
        agent_id: the agent where the thread names none.

    Raises:
        ValueError: when there is no text of the user's; graph servers show its words.
    """
    before = state.given
    named = state.conversation_id or (before.named_conversation if before else None)
    run = (info.thread_id or info.run_id or info.checkpoint_id) if info else "conversation"
    agent_id = state.agent_id if "agent_id" in state.model_fields_set else agent_id
    identity = Identity(agent_id, state.user_id, named or run)
    text, earlier = _words(state.messages)
    if state.user_text.strip():
        text = state.user_text
    if not text.strip():
        raise ValueError(
            "there is nothing to answer: the input has no text of the user's. Give "
            '"messages" that end with a message of the user, or "user_text"'
        )
    persona = state.persona
    is_same_user = before is not None and before.identity.agent_user == identity.agent_user
    if before is not None and is_same_user and persona == Persona():
        persona = before.persona
    return Given(
        run=run,
        identity=identity,
        named_conversation=named,
        user_text=well_formed(text),
        time=state.time,
        persona=persona,
        requested_turn=state.requested_turn,
        earlier_lines=_lines(earlier),
    )


def turn_of(state: ThreadState, given: Given) -> TurnState:
    """Return the state of a thread as its turn's nodes read it."""
    own = {name: getattr(given, name) for name in _OF_A_TURN}
    return state.model_copy(update={**given.identity._asdict(), **own})


_OF_A_TURN = ("user_text", "time", "persona", "requested_turn", "earlier_lines")


def shown(given: Given) -> dict[str, Any]:
    """Return the update after which the thread's values show what its turn was run with."""
    update = {"user_text": given.user_text, "time": given.time, "persona": given.persona}
    return {**update, "conversation_id": given.identity.conversation_id}


def asked(state: ThreadState, given: Given) -> list[BaseMessage]:
    """Return the message to add where the user's words came without one."""
    text, _ = _words(state.messages)
    return [] if text == given.user_text else [HumanMessage(given.user_text)]


def answered(reply: str) -> list[BaseMessage]:
    """Return a reply as the message that answers the thread's."""
    return [AIMessage(reply)]
