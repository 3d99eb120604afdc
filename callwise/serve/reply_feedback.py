"""Feedback of people on replies of agents, as records of a run's folder.

A reply of a room becomes a turn of the folder with its first feedback: its conversation is the
reply's id, its text what the chat had before it, and its candidates are the replies of the same
wake. So the records, and the training data made of them, are those of any run. One thread writes.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from callwise.calls.errors import CallwiseError, ConfigError
from callwise.recordings.app_protocol import TurnResult
from callwise.recordings.held_files import LOCK
from callwise.recordings.run_folder import FEEDBACK_FILE, RunFolder, read_manifest
from callwise.report.feedback import (
    Feedback,
    FeedbackNotKept,
    add_feedback,
    feedback_of,
    kept_feedback,
)
from callwise.wake.rooms import RoomMessage, Rooms

__all__ = ["ReplyFeedback", "UnknownReply"]

_FILLED_IN = frozenset({"conversation", "turn", "call", "key", "reply"})
"""Fields of a record that follow from the reply."""

_FOUND_LATER = {"time", "key", "reply"}
"""Fields that two equal records may have apart."""


class UnknownReply(CallwiseError):
    """The room's log has no such reply of an agent."""


class ReplyFeedback:
    """Feedback on the replies of one room. One event loop.

    Args:
        folder: of the run, made with the first feedback.
        rooms: the log of the room's messages.
        agents: ids of those whose messages are replies.
        chat_lines: most lines of the chat before a reply.
        wall: returns the time in UTC epoch seconds.

    Raises:
        ConfigError: when the folder is a file, or has another run or another room's feedback.
        FormatError: when its manifest cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        rooms: Rooms,
        *,
        room: str,
        agents: Sequence[str],
        chat_lines: int,
        is_simulated: bool,
        wall: Callable[[], float],
    ) -> None:
        self.folder = folder
        self._rooms, self._room, self._chat_lines = rooms, room, chat_lines
        self._agents, self._wall = frozenset(agents), wall
        self._identity = {"app": "callwise serve", "room": room}
        self._details = {"simulated": is_simulated}
        self._refuse_another()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="callwise-feedback")

    async def add(self, message_id: str, given: Mapping[str, Any]) -> Feedback:
        """Add feedback on a reply, and return it as it is kept.

        A record of a named person that is there already is not added again, so that one whose
        answer was lost can be sent again.

        Args:
            message_id: of the reply; untrusted.
            given: fields of `Feedback` that are about it: rating, thumb, correction, preferred (id
                or text of another reply of the same wake), comment, by, time. Untrusted.

        Raises:
            UnknownReply: when the log has no such reply.
            ValidationError: when it is no feedback.
            ConfigError: when it prefers what is no reply of that wake.
            FeedbackNotKept: when it cannot be written.
            StoreFailed: when the log cannot be read.
        """
        occasion = [each for each in self._rooms.of_occasion(message_id) if self._is_reply(each)]
        reply = next((each for each in occasion if each.id == message_id), None)
        if reply is None:
            raise UnknownReply(
                f"the room has no reply {message_id!r:.160} of an agent: give the `id` of an "
                "agent's message, as GET /messages has it"
            )
        now = datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="seconds")
        fields = {"time": now, **given, "conversation": reply.id, "turn": 0}
        record = feedback_of(fields, is_strict=True)
        turn = self._turn(reply, occasion)
        write = partial(self._write, turn, record)
        return await asyncio.get_running_loop().run_in_executor(self._writer, write)

    def close(self) -> None:
        """Wait until all that was accepted is written."""
        self._writer.shutdown()

    @staticmethod
    def fields_of(document: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a client gives about a reply, without its `message`.

        Raises:
            ConfigError: when a field follows from the reply and cannot be given.
        """
        fields = {name: value for name, value in document.items() if name != "message"}
        if wrong := sorted(_FILLED_IN & fields.keys()):
            raise ConfigError(
                f"{wrong[0]}: follows from the reply. Leave it out, and name the reply by `message`"
            )
        return fields

    def _refuse_another(self) -> None:
        """Refuse a folder before the room is served: all feedback would be refused later."""
        manifest = self.folder / "manifest.json"
        if manifest.exists():
            identity = read_manifest(manifest)["identity"]
            own = {name: identity.get(name) for name in self._identity}
            problem = "" if own == self._identity else f"has another run: {own}"
        elif self.folder.is_dir():
            has_files = any(
                each.name not in {LOCK, FEEDBACK_FILE} for each in self.folder.iterdir()
            )
            problem = "has files and is no run" if has_files else ""
        else:
            problem = "is a file" if self.folder.exists() else ""
        if problem:
            raise ConfigError(
                f"feedback of the room {self._room!r} cannot be in {self.folder}, which {problem}. "
                "Choose another folder with --feedback"
            )

    def _is_reply(self, message: RoomMessage) -> bool:
        return message.room == self._room and message.author in self._agents

    def _turn(self, reply: RoomMessage, occasion: Sequence[RoomMessage]) -> dict[str, Any]:
        """Return the record of a reply as a turn. Numbers of the log have no gaps."""
        after = max(reply.sequence - 1 - self._chat_lines, 0)
        lines = self._rooms.messages(self._room, after=after, limit=reply.sequence - 1 - after)
        return {
            "conversation_id": reply.id,
            "turn": 0,
            "user_id": None,
            "time": datetime.fromtimestamp(reply.at, UTC).isoformat(timespec="seconds"),
            "user_text": "\n".join(f"{each.author}: {each.text}" for each in lines),
            "reply": reply.text,
            "agent": reply.author,
            "candidates": {each.id: each.text for each in occasion if each.id != reply.id},
            **self._details,
        }

    def _write(self, turn: Mapping[str, Any], record: Feedback) -> Feedback:
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            run = RunFolder(self.folder, identity=self._identity, details=self._details)
            try:
                if (record.conversation, 0) not in run.finished:
                    run.add(TurnResult(turn, ()))
            finally:
                run.close()
            if record.by and (earlier := self._earlier(record, turn["candidates"])) is not None:
                return earlier
        except (CallwiseError, OSError) as error:
            raise FeedbackNotKept(str(error)) from error
        return add_feedback(self.folder, [record.model_dump(mode="json", exclude_defaults=True)])[0]

    def _earlier(self, record: Feedback, candidates: Mapping[str, str]) -> Feedback | None:
        """Return an equal record that is in the file, whenever it was given."""
        preferred = candidates.get(record.preferred or "", record.preferred)
        wanted = record.model_copy(update={"preferred": preferred}).model_dump(exclude=_FOUND_LATER)
        for kept in kept_feedback(self.folder / FEEDBACK_FILE)[0]:
            if kept.model_dump(exclude=_FOUND_LATER) == wanted:
                return kept
        return None
