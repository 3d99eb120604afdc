"""A listener that reads an answer while it arrives."""

from typing import Protocol, runtime_checkable

from callwise.calls.call import Listener

__all__ = ["AnswerReader", "is_in_use"]


@runtime_checkable
class AnswerReader(Listener, Protocol):
    """A listener that reads an answer of a response model while it arrives.

    It is given no pieces. Once it has used a part of an answer, no other answer may take its
    place: the call is neither tried again nor repaired.
    """

    def read(self, text: str) -> bool:
        """Take the answer's text so far; return whether a part of it is in use. Must not raise.

        The result depends on the text alone, and does not turn false as the text grows: a replay
        gives the whole text immediately.
        """


def is_in_use(listener: Listener | None, text: str) -> bool:
    """Return whether a listener uses a part of an answer, which is its text so far."""
    return isinstance(listener, AnswerReader) and listener.read(text)
