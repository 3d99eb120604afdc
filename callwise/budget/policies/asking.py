"""Asking several calls of one question together, and withholding pieces of answers not yet taken.

A person who reads a stream must not see the beginning of an answer that another one replaces. So
the pieces of an answer that may be replaced are withheld; once it is taken, its pieces are given
out in their order. Ends of calls are always passed on: they are counts.
"""

import asyncio
from collections.abc import Sequence

from callwise.budget.critical_path import CriticalPathTrack
from callwise.budget.in_flight import ReadReply
from callwise.budget.policies.model_question import ModelQuestion
from callwise.calls.call import Call, CallEnd, Listener
from callwise.calls.choice import Choice
from callwise.calls.errors import CallError
from callwise.calls.pieces import Piece, pieces_of

__all__ = ["PieceCounter", "WithheldPieces", "ask_together", "give_out"]


class WithheldPieces:
    """A listener that passes on the ends of calls, and none of their pieces."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def on_piece(self, piece: Piece) -> None:
        """Withhold a piece: the reply has it."""

    def on_end(self, end: CallEnd) -> None:
        """Pass on how an asking ended."""
        self._listener.on_end(end)


class PieceCounter:
    """A listener that passes everything on.

    Attributes:
        has_given: whether there was a piece.
    """

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener
        self.has_given = False

    def on_piece(self, piece: Piece) -> None:
        """Pass on a piece."""
        if self._listener is not None:
            self.has_given = True
            self._listener.on_piece(piece)

    def on_end(self, end: CallEnd) -> None:
        """Pass on how an asking ended."""
        if self._listener is not None:
            self._listener.on_end(end)


def give_out(call: Call, answer: ReadReply) -> ReadReply:
    """Return an answer that is taken, once the call's listener has its pieces.

    As everywhere, an answer that has a form is given out whole.
    """
    if call.stream and call.listener is not None and call.response_model is None:
        for piece in pieces_of(answer.reply):
            call.listener.on_piece(piece)
    return answer


async def ask_together(
    question: ModelQuestion, asked: Sequence[tuple[Choice, Call]]
) -> list[ReadReply | CallError]:
    """Ask calls in one round, and return each one's answer or error in their order.

    They start where the question's path is, and its path ends where the last of them does.

    Raises:
        CallError: the first fatal one, once all have ended.
    """
    own = question.carried
    start = own.track.position
    tracks = [CriticalPathTrack(start) for _ in asked]
    try:
        ends = await asyncio.gather(
            *(
                question.ask(choice, call=call, track=track)
                for (choice, call), track in zip(asked, tracks, strict=True)
            ),
            return_exceptions=True,
        )
    finally:
        for track in tracks:
            own.track.position = own.track.position.later(track.position)
        own.before_seconds += own.track.position.seconds - start.seconds
    answers: list[ReadReply | CallError] = []
    for end in ends:
        if isinstance(end, BaseException) and (not isinstance(end, CallError) or end.is_fatal):
            raise end
        answers.append(end)
    return answers
