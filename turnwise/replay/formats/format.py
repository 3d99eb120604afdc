"""What one conversation format is: a name, how it is recognised, and its reader."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from turnwise.calls.errors import FormatError
from turnwise.replay.conversation import Conversation
from turnwise.replay.record import Problems, SourceRecord
from turnwise.replay.source import SourceFile

__all__ = ["ConversationFormat", "Found", "read_each", "stands_as_list_of"]


@dataclass(frozen=True, slots=True)
class Found:
    """A conversation and the record that it starts at."""

    conversation: Conversation
    record: SourceRecord


Reader = Callable[[SourceFile, Iterable[SourceRecord], Problems], Iterator[Found]]


@dataclass(frozen=True, slots=True)
class ConversationFormat:
    """A format.

    Args:
        name: as it stands in manifests and errors.
        shape: what a record looks like, for errors.
        recognises: whether a first record is in this format.
        read: reads the records of one file; bad ones go to the problems.
    """

    name: str
    shape: str
    recognises: Callable[[Mapping[str, Any]], bool]
    read: Reader


def read_each(convert: Callable[[SourceRecord, str], Conversation]) -> Reader:
    """Return the reader of a format in which each record is a whole conversation.

    A conversation with one bad message is bad as a whole: nobody can say what the
    rest would have been without it.

    Args:
        convert: gets the record and the id it takes when it has none of its own.
    """

    def read(
        file: SourceFile, records: Iterable[SourceRecord], problems: Problems
    ) -> Iterator[Found]:
        for number, record in enumerate(records, start=1):
            try:
                yield Found(convert(record, f"{file.label}-{record.line or number}"), record)
            except FormatError as error:
                problems.meet(error)

    return read


def stands_as_list_of(document: Mapping[str, Any], name: str, *keys: str) -> bool:
    """Return whether a field is a list whose first item is an object with these keys."""
    items = document.get(name)
    if not isinstance(items, list) or not items or not isinstance(items[0], dict):
        return False
    return all(key in items[0] for key in keys)
