"""What goes into a LangGraph or LangChain program and comes out of it."""

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from turnwise.calls.errors import ConfigError
from turnwise.replay.app import TurnInput

__all__ = ["config_of", "messages_of", "place_of", "reply_of"]

_TURNWISE = Path(__file__).parents[1]


def config_of(turn: TurnInput) -> dict[str, Any]:
    """Return a turn's configuration: its thread, and what else is known of it."""
    facts = {"user_id": turn.user_id, "turn": turn.turn, "time": turn.time}
    persona = dict(turn.persona) if turn.persona else None
    return {"configurable": {"thread_id": turn.conversation_id, **facts, "persona": persona}}


def place_of(error: BaseException) -> str:
    """Return the file and line of an error's innermost frame, the program's own if it has one."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if "site-packages" not in Path(frame.filename).parts
        and not Path(frame.filename).is_relative_to(_TURNWISE)
    ]
    return "-" if not frames else "{0.filename}:{0.lineno}".format((own or frames)[-1])


def messages_of(answer: Any, asked: Sequence[Any]) -> list[Any]:
    """Return all messages after a turn, out of what a program returned.

    Raises:
        ConfigError: when it holds no messages.
    """
    from langchain_core.messages import AIMessage, BaseMessage  # noqa: PLC0415 - it is heavy

    if isinstance(answer, str):
        return [*asked, AIMessage(answer)]
    if isinstance(answer, BaseMessage):
        return [*asked, answer]
    found = (
        answer.get("messages") if isinstance(answer, Mapping) else getattr(answer, "messages", None)
    )
    if isinstance(found, Sequence) and all(isinstance(each, BaseMessage) for each in found):
        return list(found)
    raise ConfigError(
        f"the program returned a {type(answer).__name__} without `messages`: return a state with "
        "a list of messages, a message, or a text"
    )


def reply_of(messages: Sequence[Any], asked: Any) -> str:
    """Return the text of the last message of an assistant, else of any, since a user message."""
    places = [place for place, message in enumerate(messages) if message.id == asked.id]
    new = messages[places[-1] + 1 :] if places else messages
    texts = [(message.type == "ai", str(message.text)) for message in new if message.text]
    spoken = [text for is_assistant, text in texts if is_assistant]
    return (spoken or [text for _, text in texts] or [""])[-1]
