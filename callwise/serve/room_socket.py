"""One client's websocket: its first message, the lines that it is sent, and how it is closed."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal

from pydantic import BaseModel
from starlette.websockets import WebSocket, WebSocketDisconnect

from callwise.calls.errors import CallwiseError, ConfigError
from callwise.safe_text import clipped
from callwise.serve.access import Access
from callwise.serve.messages import Acknowledge, Hello, Refused, Say, read_typed
from callwise.serve.room_feed import FeedReader, event_text
from callwise.serve.room_host import Busy, NotReady, RoomHost
from callwise.wake.wake_report import one_line

__all__ = ["ABORT_SECONDS", "NO_ANSWER", "CloseReason", "RoomSocket", "said"]

_LOGGER = logging.getLogger(__name__)

HELLO_SECONDS = 10.0
"""Time that a client has for its first message."""

CLOSE_SECONDS = 0.3
"""Time that a client has to take the frame that closes its connection, before it is aborted."""

ABORT_SECONDS = 1.0
"""Time that a client which takes nothing has for that frame."""

NO_ANSWER = 1011
"""Code of a disconnection that the server has made, since the client answered no ping."""

MAX_ERROR_CHARS = 400
"""Longest error that a client is sent, in characters."""

CloseReason = Literal[
    "left",
    "no answer",
    "refused",
    "no hello",
    "no token",
    "ahead",
    "stalled",
    "stopping",
    "failed",
]
"""The end of a connection."""

_CLOSED: dict[CloseReason, tuple[int, str]] = {
    "refused": (4400, "the first message is no hello, or a field of it cannot be"),
    "no hello": (4408, "no hello came in time"),
    "no token": (4401, "the token is missing or wrong"),
    "ahead": (4409, "the chat ends before this number: begin after 0"),
    "stalled": (4429, "it does not take what it is sent: connect again with your last number"),
    "failed": (1011, "the chat cannot be read: connect again later with your last number"),
    "stopping": (1012, "the server stops: connect again with your last number"),
}
"""Code and reason of the closing frame."""

_AFTER_HELLO: dict[str, type[BaseModel]] = {"say": Say, "ack": Acknowledge}

Abort = Callable[[int, str, float], None]


async def said(host: RoomHost, say: Say) -> dict[str, Any]:
    """Return the answer to a person's line: its number in the chat.

    Raises:
        CallwiseError: as `RoomHost.say`.
    """
    message_id = say.id or f"web-{secrets.token_hex(12)}"
    message = await host.say(say.author, say.text, id=message_id, to=say.to)
    return {"type": "said", "id": message_id, "sequence": message.sequence}


def _error(text: str, message_id: str = "") -> dict[str, Any]:
    return {"type": "error", "id": message_id, "error": clipped(text, MAX_ERROR_CHARS)}


class RoomSocket:
    """One connection, from the handshake on.

    Args:
        websocket: not accepted yet.
        hello_seconds: time that the client has for its first message.
        abort_seconds: time that it has for the closing frame where it takes nothing.
    """

    def __init__(
        self,
        websocket: WebSocket,
        host: RoomHost,
        access: Access,
        *,
        hello_seconds: float = HELLO_SECONDS,
        abort_seconds: float = ABORT_SECONDS,
    ) -> None:
        self._socket, self._host, self._access = websocket, host, access
        self._hello_seconds, self._abort_seconds = hello_seconds, abort_seconds
        self._ended: asyncio.Future[CloseReason] = asyncio.get_running_loop().create_future()

    def end(self, reason: CloseReason) -> None:
        """Let the connection end; the first reason counts."""
        if not self._ended.done():
            self._ended.set_result(reason)

    async def run(self) -> CloseReason:
        """Serve the client until it leaves or is closed, and return why."""
        await self._socket.accept()
        reason = await self._until_ended(self._served())
        if reason in _CLOSED:
            await self._close(*_CLOSED[reason], is_stalled=reason == "stalled")
        return reason

    async def _until_ended(self, work: Coroutine[Any, Any, CloseReason]) -> CloseReason:
        """Return how work ended, or why the connection was ended before it."""
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task, self._ended}, return_when=asyncio.FIRST_COMPLETED)
            return self._ended.result() if self._ended.done() else await task
        except WebSocketDisconnect as left:
            return "no answer" if left.code == NO_ANSWER else "left"
        except (RuntimeError, OSError):  # it left while it was sent something
            return "left"
        except CallwiseError:
            _LOGGER.exception("a client could not be served")
            return "failed"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _served(self) -> CloseReason:
        try:
            async with asyncio.timeout(self._hello_seconds):
                hello = read_typed(await self._received(), {"hello": Hello})
        except TimeoutError:
            return "no hello"
        except Refused:
            return "refused"
        if not (self._access.is_token(hello.token) or self._access.is_bearer(self._socket.headers)):
            return "no token"
        feed, known = self._host.feed, 0
        if hello.client:
            known = self._host.acknowledgements.last_of(hello.client)
        after = known if hello.after is None else hello.after
        if after > feed.head and after > feed.last_stored():
            return "ahead"
        if hello.newest is not None:
            after = max(after, feed.head - hello.newest)
        await self._send_event({"type": "hello", **self._host.described(), "acknowledged": known})
        reader = FeedReader(feed, after, self._socket.send_text, lambda: self.end("stalled"))
        tasks = {
            asyncio.create_task(self._read(hello.client, after)),
            asyncio.create_task(reader.run()),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return "left"

    async def _read(self, client: str, after: int) -> None:
        """Take the client's messages until it leaves; others have their turn after each.

        Args:
            client: its id; empty for none.
            after: number of the last line that it had when it came.
        """
        while True:
            try:
                message = read_typed(await self._received(), _AFTER_HELLO)
                if isinstance(message, Acknowledge):
                    last = max(after, self._host.feed.head)
                    self._host.acknowledgements.note(client, message.sequence, last=last)
            except Refused as refused:
                self._host.counted["refused messages"] += 1
                await self._send_event(_error(str(refused)))
            else:
                if isinstance(message, Say):
                    await self._send_event(await self._answer(message))
            await asyncio.sleep(0)

    async def _answer(self, say: Say) -> dict[str, Any]:
        try:
            return await said(self._host, say)
        except (ConfigError, Busy, NotReady) as error:
            return _error(str(error), say.id)
        except CallwiseError as error:
            _LOGGER.error("a line was not stored: %s", one_line(error, "a line"))  # noqa: TRY400
            return _error("the line could not be stored. Send it again later", say.id)

    async def _received(self) -> str | bytes:
        """Return the client's next message.

        Raises:
            WebSocketDisconnect: when the client has left.
        """
        event = await self._socket.receive()
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event.get("code", 1005))
        message: str | bytes = event.get("text") or event.get("bytes") or b""
        return message

    async def _send_event(self, event: dict[str, Any]) -> None:
        await self._socket.send_text(event_text(event))

    async def _close(self, code: int, reason: str, *, is_stalled: bool) -> None:
        abort: Abort | None = self._socket.scope.get("extensions", {}).get("callwise.abort")
        if is_stalled and abort is not None:
            abort(code, reason, self._abort_seconds)
            return
        closing: Awaitable[None] = self._socket.close(code, reason)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await closing
        except (TimeoutError, RuntimeError, OSError, WebSocketDisconnect):
            if abort is not None:
                abort(code, reason, self._abort_seconds)
