"""Pieces of a call's answer as they come, and how each asking of it ended.

A listener travels with a call and is no part of its identity. The client feeds it the
pieces of a streamed answer; the budgeter tells it how each asking ended, the repairs of an
answer included. Both may happen in another thread than the caller's.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from turnwise.calls.reply import Reply, Usage
from turnwise.calls.vocabulary import Outcome

__all__ = ["CallEnd", "Listener", "Piece", "pieces_of", "reply_of_pieces"]


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


class CallEnd(NamedTuple):
    """How one asking of a call ended.

    Args:
        sequence: the number of its ledger row.
        outcome: how it ended.
        model: the model that its endpoint asks.
        billed: tokens that this asking was billed, by its ledger row; those of a cached,
            coalesced or replayed one are 0.
        turn_tool_calls: tool calls that models have asked for in its turn so far; None
            outside of a turn.
    """

    sequence: int
    outcome: Outcome
    model: str
    billed: Usage
    turn_tool_calls: int | None = None


class Listener(Protocol):
    """Who is told."""

    def on_piece(self, piece: Piece) -> None:
        """Take a piece of the answer, in order. Must not raise."""
        ...

    def on_end(self, end: CallEnd) -> None:
        """Take how an asking ended, before its answer is returned. Must not raise."""
        ...


def pieces_of(reply: Reply) -> Iterator[Piece]:
    """Yield a whole reply as pieces: its texts as they came, then each tool call whole."""
    for text in reply.chunks or (reply.text,):
        if text:
            yield Piece(text)
    for index, tool_call in enumerate(reply.tool_calls):
        yield Piece(tool_calls=({**tool_call, "index": index},))


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
            empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            tool_call = tool_calls.setdefault(part["index"], empty)
            tool_call["id"] = part.get("id") or tool_call["id"]
            for field, text in part["function"].items():
                tool_call["function"][field] += text
    calls = tuple(tool_call for _, tool_call in sorted(tool_calls.items()))
    return Reply(
        "".join(texts), chunks=tuple(texts), tool_calls=calls, reasoning_text="".join(thoughts)
    )
