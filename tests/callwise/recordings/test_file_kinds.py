"""Kinds of files, and one that a test adds."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from callwise.calls.errors import FormatError
from callwise.recordings.file_kinds import FileKind, OpenFile
from callwise.recordings.formats import detect_format
from callwise.recordings.source_files import FILE_KINDS, SourceFile, read_records
from callwise.recordings.source_lines import Line, decode
from callwise.recordings.source_records import RecordProblems, SourceRecord

NAMED = re.compile(r"(\w+)> (.*)")


def is_named_text(sample: Sequence[Line]) -> bool:
    """Return whether the first two lines begin with a name each."""
    return all(NAMED.match(line.data.decode(errors="replace")) for line in sample[:2])


def read_named_text(file: OpenFile) -> Iterator[SourceRecord]:
    """Read lines such as `User> Hi.` as the rows of a table are read."""
    for line in file.lines:
        match = NAMED.match(decode(line.data, file.path, line.number, line.offset))
        if match is None:
            problem = "expected a name and `>`"
            file.problems.meet(FormatError(file.path, line.number, problem))
        else:
            message = {"speaker": match[1], "text": match[2]}
            yield SourceRecord(file.path, line.number, "", message, str(line.number))


NAMED_TEXT = FileKind((), is_named_text, read_named_text)


def read(path: Path, *kinds: FileKind, skip_bad: bool = False) -> list[SourceRecord]:
    """Return the records of a file."""
    file, problems = SourceFile(path, "talk", was_named=True), RecordProblems(skip_bad=skip_bad)
    return list(read_records(file, problems, kinds=kinds or FILE_KINDS))


def test_a_text_is_read_by_the_first_kind_that_fits(tmp_path: Path) -> None:
    """Its records are messages, which the formats know, each with its line."""
    path = tmp_path / "talk.txt"
    path.write_text("User> Hi.\nBot> Hello.\nnothing\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"talk\.txt:3: expected a name"):
        read(path, NAMED_TEXT, *FILE_KINDS)
    records = read(path, NAMED_TEXT, *FILE_KINDS, skip_bad=True)
    assert [record.document["text"] for record in records] == ["Hi.", "Hello."]
    assert [record.line for record in records] == [1, 2]
    formats = [detect_format(record.document) for record in records]
    assert [found and found.name for found in formats] == ["message-lines"] * 2
    with pytest.raises(FormatError, match="expected one whole JSON object"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "documents"),
    [
        ("a.csv", "a,b\n1,\n", [{"a": "1"}]),
        ("a.json", "role,content\nuser,Hi.\n", [{"role": "user", "content": "Hi."}]),
        ("a.jsonl", "[\n1,\n2\n]\n", [1, 2]),
        ("a.json", '{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
    ],
)
def test_the_content_decides_but_for_tables(
    tmp_path: Path, name: str, content: str, documents: list[object]
) -> None:
    """A table is known by its name or its header; of JSON the name does not count."""
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    for kinds in (FILE_KINDS, (NAMED_TEXT, *FILE_KINDS)):
        assert [record.document for record in read(path, *kinds)] == documents
