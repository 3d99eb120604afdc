"""A streamed chat answer, put together again as if it had come whole.

Most events of a stream differ in their text alone. The bytes around it are remembered, so that
of an event with the same bytes only the text is parsed, which takes a sixth of the time.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import orjson

from callwise.calls.errors import BadResponse
from callwise.calls.payload import document_of, well_formed
from callwise.calls.pieces import Piece, add_tool_call_part

__all__ = ["EventReader", "StreamAssembly"]

DONE = b"[DONE]"

NOTHING = Piece()

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

MAX_PATTERNS = 3
"""Most patterns of one stream that are tried: a stream with log-probabilities has none."""

_TEXT_KEY = b'"content":'
_PROBE = "probe"


class EventReader:
    """Splits the bytes of a server-sent event stream into the payloads of its events.

    Lines end with LF, CRLF or CR only: JSON may carry other line separators inside its
    strings. The lines of an event are joined. A first line that is a whole JSON document is an
    event already, since some servers leave out the empty line between two events.
    An event named `error` becomes an error object, whatever it carries.

    Source: HTML Living Standard, section 9.2.6.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._lines: list[bytes] = []
        self._mark = BYTE_ORDER_MARK
        self._is_error = self._ends_in_cr = False
        self._is_between = False  # the first piece may begin with the mark

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the payloads that end in this piece."""
        if self._is_between:
            # Most pieces are whole events of one line each: every second line is empty.
            lines = piece.splitlines()
            ends = lines[1::2]
            if 2 * len(ends) == len(lines) and not any(ends) and piece.endswith(b"\n"):
                found = [line[5:].strip() for line in lines if line.startswith(b"data:")]
                return found if all(found) else [data for data in found if data]
        return self._feed_lines(piece)

    def _feed_lines(self, piece: bytes) -> list[bytes]:
        if piece:
            piece = self._with_newlines(piece)
        ended, newline, rest = piece.rpartition(b"\n")
        self._is_between = False
        if not newline:
            self._rest.append(piece)
            return []
        ended = b"".join([*self._rest, ended]).removeprefix(self._mark)
        self._rest, self._mark = [rest], b""
        payloads: list[bytes] = []
        lines, line = self._lines, b""
        for line in ended.split(b"\n"):
            if line.startswith(b"data:"):
                if len(lines) == 1 and _is_whole(lines[0]):
                    self._end(payloads)
                lines.append(line[5:].strip())
            elif not line:
                self._end(payloads)
                self._is_error = False
            elif line.startswith(b"event:"):
                self._is_error = line[6:].strip() == b"error"
        if len(lines) == 1 and line.startswith(b"data:") and _is_whole(lines[0]):
            self._end(payloads)
        self._is_between = not (rest or line or self._ends_in_cr)
        return payloads

    def end(self) -> list[bytes]:
        """Return the payload of a last event without its end, when the stream has ended."""
        return self.feed(b"\n\n")

    def _end(self, payloads: list[bytes]) -> None:
        """Append the payload of the lines so far, if there is one."""
        data = b"\n".join(self._lines)
        self._lines.clear()
        if self._is_error and data:
            text = data if _is_whole(data) else orjson.dumps(data.decode("utf-8", "replace"))
            data = b'{"error":%b}' % text
        if data:
            payloads.append(data)

    def _with_newlines(self, piece: bytes) -> bytes:
        """Return a piece with LF for every line's end."""
        if self._ends_in_cr:  # its line has ended already
            piece = piece.removeprefix(b"\n")
        self._ends_in_cr = piece.endswith(b"\r")
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _is_whole(data: bytes) -> bool:
    """Return whether a line is an event by itself."""
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return data == DONE
    return True


def _index(value: Any) -> int:
    """Return a position in a list as a stream gives it; 0 where it does not."""
    return value if isinstance(value, int) else 0


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a JSON list; none where it is something else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


class _StreamChoice:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self.refusals: list[str] = []
        self.tool_calls: dict[int, dict[str, Any]] = {}
        self.finish_reason: str | None = None
        self.token_logprobs: list[Any] = []
        self._half = ""

    def add(self, choice: Mapping[str, Any]) -> Piece:
        """Take what an event has of this choice; return what the answer goes on with."""
        reason = choice.get("finish_reason")
        if reason:
            self.finish_reason = str(reason)
        logprobs = choice.get("logprobs")
        if logprobs:
            self._add_logprobs(logprobs)
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return NOTHING
        text = delta.get("content")
        text = self.add_text(text) if isinstance(text, str) else ""
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        tool_calls = delta.get("tool_calls")
        refusal = delta.get("refusal")
        if isinstance(refusal, str):
            self.refusals.append(refusal)
        if not thought and not tool_calls:
            return Piece(text) if text else NOTHING
        thought = thought if isinstance(thought, str) else ""
        self.thoughts.append(thought)
        parts = tuple(map(self._add_tool_call, _mappings(tool_calls)))
        return Piece(text, parts, well_formed(thought))

    def message(self) -> dict[str, Any]:
        """Return what has come as a chat message."""
        return {
            "content": "".join(self.texts),
            "reasoning_content": well_formed("".join(self.thoughts)),
            "refusal": "".join(self.refusals) or None,
            "tool_calls": [call for _, call in sorted(self.tool_calls.items())],
        }

    def add_text(self, text: str) -> str:
        """Append a piece of text, and return it. Half an emoji at its end waits for the rest."""
        if self._half or not text.isascii():
            text = self._half + text
            self._half = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
            text = well_formed(text.removesuffix(self._half))
        if text:
            self.texts.append(text)
        return text

    def _add_logprobs(self, logprobs: Any) -> None:
        content = logprobs.get("content") if isinstance(logprobs, dict) else None
        if isinstance(content, list):
            self.token_logprobs += content

    def _add_tool_call(self, part: Mapping[str, Any]) -> dict[str, Any]:
        """Extend the tool call that a part belongs to; return the part as it was read."""
        function = part.get("function")
        function = function if isinstance(function, dict) else {}
        read = {
            "index": self._tool_index(part),
            "id": str(part["id"]) if part.get("id") else None,
            "function": {
                name: str(function.get(name) or "") for name in ("name", "arguments") if function
            },
        }
        add_tool_call_part(self.tool_calls, read)
        return read

    def _tool_index(self, part: Mapping[str, Any]) -> int:
        """Return which tool call a part belongs to; without an index, by id and name."""
        if isinstance(part.get("index"), int) or not self.tool_calls:
            return _index(part.get("index"))
        call_id, function = part.get("id"), part.get("function")
        if call_id:
            same = (at for at, call in self.tool_calls.items() if call["id"] == str(call_id))
            return next(same, max(self.tool_calls) + 1)
        is_new = isinstance(function, dict) and bool(function.get("name"))
        return max(self.tool_calls) + is_new


class _EventPattern(NamedTuple):
    """The bytes of an event around its text, and the choice that the text belongs to."""

    head: bytes
    tail: bytes
    choice_index: int


def _pattern_of(data: bytes, event: dict[str, Any]) -> _EventPattern | None:
    """Return the pattern of an event that brings a text and nothing else; None where there is none.

    Args:
        data: the event's bytes.
        event: what they mean. Changed.
    """
    choices = event.get("choices")
    choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else {}
    delta = choice.get("delta") if isinstance(choice, dict) else None
    if not isinstance(delta, dict) or not isinstance(delta.get("content"), str):
        return None
    further = [value for name, value in delta.items() if name not in {"content", "role"}]
    if any((*further, choice.get("logprobs"), event.get("error"))):
        return None
    rest = data.partition(_TEXT_KEY)[2].lstrip()
    head = data[: len(data) - len(rest)]
    try:
        tail = rest.removeprefix(orjson.dumps(delta["content"]))
        delta["content"] = _PROBE
        is_pattern = orjson.loads(b'%b"%b"%b' % (head, _PROBE.encode(), tail)) == event
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # half an emoji
        return None
    return _EventPattern(head, tail, _index(choice.get("index"))) if is_pattern else None


class StreamAssembly:
    """Collects the events of one stream.

    Args:
        on_piece: called with each piece of the first choice as it comes; or None.

    Attributes:
        error: the error object that the stream carried instead of an answer.
        is_done: whether the end marker came.
    """

    def __init__(self, on_piece: Callable[[Piece], None] | None = None) -> None:
        self.error: Any = None
        self.is_done = False
        self._on_piece = on_piece
        self._choices: dict[int, _StreamChoice] = {}
        self._usage: Mapping[str, Any] | None = None
        self._model = self._fingerprint = ""
        self._pattern: _EventPattern | None = None
        self._patterns_left = MAX_PATTERNS

    @property
    def chunks(self) -> tuple[str, ...]:
        """The first choice's texts, in the order they came; none is empty."""
        return tuple(self._choices[0].texts) if 0 in self._choices else ()

    @property
    def is_whole(self) -> bool:
        """Whether the answer ended: by the end marker, or by every choice's own word."""
        reasons = [choice.finish_reason for choice in self._choices.values()]
        return self.is_done or (bool(reasons) and None not in reasons)

    async def read(
        self, pieces: AsyncIterator[bytes], *, broken: type[Exception], drain_seconds: float
    ) -> str:
        """Take all events of a stream; return why it ended, for one that is not whole.

        Args:
            drain_seconds: how long its end is waited for after the end marker, so that
                the connection can be kept.
        """
        events = EventReader()
        try:
            async for piece in pieces:
                self._add_until_end(events.feed(piece))
                if self.is_done or self.error is not None:
                    break
            else:
                with suppress(ValueError):  # it was cut
                    self._add_until_end(events.end())
        except (broken, ValueError) as error:
            return str(error)
        if self.is_done:
            with suppress(TimeoutError, broken, BadResponse):  # nothing of it is wanted
                async with asyncio.timeout(drain_seconds):
                    async for _ in pieces:
                        pass
        return "it ended without its end marker"

    def _add_until_end(self, payloads: list[bytes]) -> None:
        for data in payloads:
            self.add(data)
            if self.is_done or self.error is not None:
                break

    def add(self, data: bytes) -> None:
        """Take one event's payload.

        Raises:
            ValueError: when it is neither a JSON object nor the end marker.
        """
        pattern = self._pattern
        if pattern is not None and data.startswith(pattern.head) and data.endswith(pattern.tail):
            try:
                text = orjson.loads(data[len(pattern.head) : -len(pattern.tail)])
            except orjson.JSONDecodeError:
                text = None
            if isinstance(text, str):
                text = self._choices[pattern.choice_index].add_text(text)
                if text and pattern.choice_index == 0 and self._on_piece is not None:
                    self._on_piece(Piece(text))
                return
        self._add_event(data)

    def _add_event(self, data: bytes) -> None:
        if data == DONE:
            self.is_done = True
            return
        event = document_of(data, keep_halves=True)
        if not isinstance(event, dict):
            raise ValueError(f"expected a JSON object, got {type(event).__name__}")  # noqa: TRY004 - one kind with malformed JSON
        self.error = self.error or event.get("error") or None
        usage = event.get("usage")
        if isinstance(usage, dict):
            self._usage = usage
        self._model = self._model or str(event.get("model") or "")
        self._fingerprint = self._fingerprint or str(event.get("system_fingerprint") or "")
        for choice in _mappings(event.get("choices")):
            index = _index(choice.get("index"))
            added = self._choices.get(index)
            if added is None:
                added = self._choices[index] = _StreamChoice()
            piece = added.add(choice)
            if index == 0 and piece is not NOTHING and self._on_piece is not None:
                self._on_piece(piece)
            if piece.text and self._patterns_left:
                self._patterns_left -= 1
                self._pattern = _pattern_of(data, event)

    def body(self) -> dict[str, Any]:
        """Return the answer so far in the form of a whole chat completion."""
        return {
            "model": self._model,
            "system_fingerprint": self._fingerprint,
            "usage": self._usage,
            "choices": [
                {
                    "index": index,
                    "finish_reason": it.finish_reason,
                    "message": it.message(),
                    "logprobs": {"content": it.token_logprobs},
                }
                for index, it in sorted(self._choices.items())
            ],
        }
