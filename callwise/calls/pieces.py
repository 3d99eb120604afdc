"""Pieces of a streamed answer."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from callwise.calls.reply import Reply

__all__ = ["Piece", "add_tool_call_part", "pieces_of", "reply_of_pieces"]


class Piece(NamedTuple):
    """One piece of a streamed answer.

    Args:
        text: what the answer's text goes on with. Untrusted.
        tool_calls: parts of tool calls in the OpenAI wire format of a stream: each has the
            `index` of the tool call that it belongs to.
        thought: what the model's thoughts go on with. Counted, and not given out.
    """

    text: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    thought: str = ""

    @property
    def is_answer(self) -> bool:
        """Whether it has anything of the answer itself."""
        return bool(self.text or self.tool_calls)

    @property
    def is_blank(self) -> bool:
        """Whether it has nothing of the answer but white space."""
        return not (self.tool_calls or self.text.strip())


def pieces_of(reply: Reply) -> Iterator[Piece]:
    """Yield a whole reply as pieces: its texts as they came, then each tool call whole."""
    for text in reply.chunks or (reply.text,):
        if text:
            yield Piece(text)
    for index, tool_call in enumerate(reply.tool_calls):
        yield Piece(tool_calls=({**tool_call, "index": index},))


def add_tool_call_part(tool_calls: dict[int, dict[str, Any]], part: Mapping[str, Any]) -> None:
    """Extend the tool call that a part of `Piece.tool_calls` belongs to; `tool_calls` is by index.

    The id and the name come with its first part.
    """
    empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
    tool_call = tool_calls.setdefault(part["index"], empty)
    tool_call["id"] = part.get("id") or tool_call["id"]
    for name, text in part["function"].items():
        tool_call["function"][name] += text


def reply_of_pieces(pieces: Iterable[Piece]) -> Reply:
    """Return what came of a streamed answer that was broken off."""
    texts: list[str] = []
    thoughts: list[str] = []
    tool_calls: dict[int, dict[str, Any]] = {}
    for piece in pieces:
        if piece.text:
            texts.append(piece.text)
        thoughts.append(piece.thought)
        for part in piece.tool_calls:
            add_tool_call_part(tool_calls, part)
    calls = tuple(tool_call for _, tool_call in sorted(tool_calls.items()))
    return Reply(
        "".join(texts), chunks=tuple(texts), tool_calls=calls, reasoning_text="".join(thoughts)
    )
