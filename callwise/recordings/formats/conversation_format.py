"""Conversation format: its name, how it is recognised, and its reader."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from callwise.recordings.conversation import Conversation
from callwise.recordings.source_files import SourceFile
from callwise.recordings.source_records import RecordProblems, SourceRecord

__all__ = ["Collector", "ConversationFormat", "DetectedRecord", "Pending", "Reading", "read_each"]


@dataclass(frozen=True, slots=True)
class DetectedRecord:
    """A conversation and the record that it starts at.

    Args:
        may_be_renamed: whether its id only numbers the records of a file, so that the
            same id elsewhere is another conversation, not the same one twice.
    """

    conversation: Conversation
    record: SourceRecord
    may_be_renamed: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """The reading of one file in one format.

    Args:
        problems: where bad records, and notes on what was left out, go.
        agent: the speaker who is the agent, where a person has said so.
        side: which of two conversations in a record is read, `a` or `b`; None when a
            person has not said.
    """

    file: SourceFile
    problems: RecordProblems
    agent: str | None = None
    side: str | None = None

    def default_id(self, record: SourceRecord) -> str:
        """Return the name of a conversation without an id."""
        return f"{self.file.label}-{record.number}"


Pending = Callable[[], DetectedRecord]
"""Makes a conversation that is complete, or raises a FormatError when it is bad."""


class Collector(ABC):
    """Takes the records of one file in one format, and gives conversations."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    @abstractmethod
    def add(self, record: SourceRecord) -> Iterable[Pending]:
        """Take one record; return the conversations that are complete with it.

        Raises:
            FormatError: when the record does not fit; nothing of it is kept.
        """

    def finish(self) -> Iterable[Pending]:
        """Return the conversations that are complete only when the file has ended."""
        return ()


@dataclass(frozen=True, slots=True)
class ConversationFormat:
    """A format.

    Args:
        name: as in manifests and errors.
        about: where it comes from and how it is read, in one line, for the docs.
        example: a record of it, as JSON; several, one per line, where a record is a turn.
        recognises: whether a JSON value is a record in this format.
        open: starts to read a file in this format.
        is_weak: whether records of other kinds look alike, so that a file which was not
            named by a person is not taken for conversations on this ground alone.
    """

    name: str
    about: str
    example: str
    recognises: Callable[[Any], bool]
    open: Callable[[Reading], Collector]
    is_weak: bool = False


Convert = Callable[[SourceRecord, Reading], Conversation]
"""Makes a conversation of a record, or raises a FormatError when it is bad."""


class _Each(Collector):
    """The collector of a format in which each record is a whole conversation."""

    def __init__(self, convert: Convert, reading: Reading) -> None:
        super().__init__(reading)
        self._convert = convert

    def add(self, record: SourceRecord) -> Iterable[Pending]:
        return [partial(self._found, record)]

    def _found(self, record: SourceRecord) -> DetectedRecord:
        return DetectedRecord(self._convert(record, self._reading), record, may_be_renamed=True)


def read_each(convert: Convert) -> Callable[[Reading], Collector]:
    """Return the reader of a format in which each record is a whole conversation.

    A conversation with one bad message is bad as a whole: what the rest would have been
    without it is not known.
    """
    return partial(_Each, convert)
