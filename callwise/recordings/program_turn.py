"""One turn of a LangGraph or LangChain program: its input and output, its prompts, its end.

Problem: a program may end while its calls are in flight: a limit refuses one of several that
run side by side, or a task is left running. Choice: the turn waits for them, so that their rows
are in it; what is asked after its end is refused, since it belongs to no turn.

A program has no prompt files. What is fixed in its prompts is taken from its calls, and their
digests name a changed prompt as a cause: the system messages, or the first message where
there are none; the definitions of its tools; the schema of its answers.
"""

import asyncio
import hashlib
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from callwise.budget.scope import Scope
from callwise.calls.call import Call
from callwise.calls.errors import ConfigError
from callwise.calls.schema import response_schema
from callwise.recordings.app_protocol import TurnInput

__all__ = [
    "AskedPrompts",
    "OpenTurn",
    "config_of",
    "merged_digests",
    "messages_of",
    "place_of",
    "reply_of",
    "turn_is_over",
]

MAX_REST_SECONDS = 600.0
"""Longest wait for calls that a program has left in flight at the end of a turn."""


class OpenTurn:
    """A turn that a program runs, and its calls in flight, which may be asked in any thread."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.prompts = AskedPrompts()
        self.is_over = False
        self._lock = threading.Lock()
        self._in_flight = 0

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Count a call as in flight.

        Raises:
            ConfigError: when the turn is over.
        """
        with self._lock:
            if self.is_over:
                raise turn_is_over(self.scope)
            self._in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1

    async def come_to_rest(self) -> None:
        """End the turn: refuse further calls, and wait until those in flight have ended.

        Raises:
            ConfigError: when one does not end.
        """
        with self._lock:
            self.is_over = True
        give_up_at = time.monotonic() + MAX_REST_SECONDS
        while self._in_flight:
            if time.monotonic() > give_up_at:
                raise ConfigError(
                    f"turn {self.scope.turn} of {self.scope.conversation!r} has ended with "
                    f"{self._in_flight} calls in flight, which do not end: await or close them "
                    "before the turn ends"
                )
            await asyncio.sleep(0.001)


def turn_is_over(scope: Scope) -> ConfigError:
    """Return the error of a call that is asked in a turn after its end."""
    return ConfigError(
        f"turn {scope.turn} of {scope.conversation!r} is over, and something that the program "
        "left running asks in it: await it before the turn ends"
    )


_CALLWISE = Path(__file__).parents[1]


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
        and not Path(frame.filename).is_relative_to(_CALLWISE)
    ]
    return "-" if not frames else "{0.filename}:{0.lineno}".format((own or frames)[-1])


def messages_of(answer: Any, asked: Sequence[Any]) -> list[Any]:
    """Return all messages after a turn, out of what a program returned.

    Raises:
        ConfigError: when it has no messages.
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


_DIGITS = 16


def _digest(value: Any) -> str:
    data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str)
    return hashlib.sha256(data).hexdigest()[:_DIGITS]


def _fixed_parts(call: Call) -> Mapping[str, Any]:
    """Return what is fixed in a call's prompt, by name: the node's, with the kind behind it."""
    node = (call.origin.node if call.origin else "") or "-"
    texts = [message.content for message in call.messages if message.role == "system"]
    texts = texts or [message.content for message in call.messages[:1]]
    parts: dict[str, Any] = {node: texts} if texts else {}
    if call.tools:
        parts[f"{node} tools"] = [dict(tool) for tool in call.tools]
    if call.response_model is not None:
        parts[f"{node} schema"] = response_schema(call.response_model)
    return parts


class AskedPrompts:
    """The different prompts of a program, by node."""

    def __init__(self) -> None:
        self._digests: dict[str, set[str]] = {}

    def add(self, call: Call) -> None:
        """Count the fixed parts of a call's prompt in."""
        for name, part in _fixed_parts(call).items():
            try:
                digest = _digest(part)
            except orjson.JSONEncodeError:  # a lone surrogate, which no UTF-8 has
                digest = _digest(repr(part).encode("utf-8", "backslashreplace").decode())
            self._digests.setdefault(name, set()).add(digest)

    def digests(self) -> dict[str, list[str]]:
        """Return the digests of each node's prompts, sorted."""
        return {name: sorted(found) for name, found in sorted(self._digests.items())}


def merged_digests(several: Iterable[Mapping[str, Iterable[str]]]) -> dict[str, str]:
    """Return one digest for each name, of all the prompts that it had."""
    found: dict[str, set[str]] = {}
    for digests in several:
        for name, each in digests.items():
            found.setdefault(name, set()).update(each)
    return {
        name: next(iter(each)) if len(each) == 1 else _digest(sorted(each))
        for name, each in sorted(found.items())
    }
