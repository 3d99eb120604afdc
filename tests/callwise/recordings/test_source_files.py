"""Finding files, and reading bytes as records that know their place."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from callwise.calls.errors import FormatError
from callwise.recordings.conversation_files import read_conversations
from callwise.recordings.source_files import find_files

LINE = {"conversation_id": "a", "turn": 0, "user_text": "Grüße 👋🏽 你好"}
Write = Callable[..., Path]


def encoded(record: object = LINE) -> bytes:
    """Return a record as a line without its end."""
    return json.dumps(record, ensure_ascii=False).encode()


def packed(data: bytes) -> bytes:
    """Return data as gzip without the time of packing: workers must collect equal tests."""
    return gzip.compress(data, mtime=0)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("plain.jsonl", encoded() + b"\n"),
        ("no_line_end.jsonl", encoded()),
        ("crlf.jsonl", encoded() + b"\r\n\r\n"),
        ("bom.jsonl", b"\xef\xbb\xbf" + encoded() + b"\n"),
        (
            "joined_boms.jsonl",
            (b"\xef\xbb\xbf" + encoded() + b"\n" + b"\xef\xbb\xbf" + encoded({**LINE, "turn": 1})),
        ),
        ("no_line_ends.jsonl", encoded() + encoded({**LINE, "turn": 1})),
        ("old_line_ends.jsonl", encoded() + b"\r" + encoded({**LINE, "turn": 1})),
        ("packed.jsonl.gz", packed(encoded() + b"\n")),
        ("packed_by_another_name.jsonl", packed(encoded() + b"\n")),
        ("list.json", b"[" + encoded() + b"]"),
        ("one.json", encoded()),
        ("lines_in.json", encoded() + b"\n" + encoded({**LINE, "turn": 1})),
        ("indented.jsonl", json.dumps(LINE, indent=2).encode()),
        ("without_suffix", encoded()),
    ],
)
def test_reads_every_shape_of_file(tmp_path: Path, name: str, data: bytes) -> None:
    """Line ends, marks, packing and lists do not change what is read."""
    path = tmp_path / name
    path.write_bytes(data)

    result = read_conversations([path])

    assert result.conversations[0].turns[0].user_text == LINE["user_text"]


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (b"", None, "is empty"),
        (b" \n\n", None, "is empty"),
        (encoded() + b"\n" + encoded()[:30], 2, "cut off"),
        (encoded() + b"\n{'single': 1}\n", 2, "expected one whole JSON object"),
        (encoded() + b"\n" + "café".encode("latin-1"), 2, "byte 0xe9 at position 4 of the line"),
        (encoded() + b"\n" + "你好".encode("gbk"), 2, "is not UTF-8"),
        ("[1]".encode("utf-16"), None, "is UTF-16"),
        (packed(encoded())[:-9], None, "expected a whole gzip file"),
        (b'[{"a": 1},\n {"a": ', 2, "expected one whole JSON document"),
        (b'[{"a": 1},\n "\xff"]', 2, "byte 0xff at position 3 of the line"),
        (b"[10:00] Ana: hi\nBen: ho\n", 1, "expected one whole JSON document"),
        (b"Ana: hi\nBen: ho\n", 1, "the line begins with 'Ana: hi'. docs/formats.md shows"),
        (encoded() + b"\n" + b"[" * 5000, 2, "expected one whole JSON object"),
        (encoded() + b"\n" + b"[" * 5000 + b"]" * 5000, 2, "expected one whole JSON object"),
        (json.dumps(LINE, indent=1).encode() + b"\n{\n 2\n", 7, "expected one whole JSON doc"),
    ],
)
def test_a_bad_file_is_named_with_its_line(
    tmp_path: Path, data: bytes, line: int | None, words: str
) -> None:
    """What cannot be read says which file, which line, and what was expected."""
    path = tmp_path / "talk.jsonl"
    path.write_bytes(data)

    with pytest.raises(FormatError, match=words) as caught:
        read_conversations([path])

    assert caught.value.path == path
    assert caught.value.line == line


def test_a_bad_line_is_skipped_on_request(tmp_path: Path) -> None:
    """With skip_bad the rest of the file is read, and each bad line is counted."""
    path = tmp_path / "talk.jsonl"
    good = [encoded({**LINE, "turn": number}) for number in range(3)]
    path.write_bytes(b"\n".join([good[0], b"\xff\xfe{", good[1], good[1][:-9], b"7", good[2]]))

    result = read_conversations([path], skip_bad=True)

    assert [turn.turn for turn in result.conversations[0].turns] == [0, 1, 2]
    assert [error.line for error in result.skipped] == [2, 4, 5]


@pytest.mark.parametrize(
    "whole",
    [
        lambda records: "[\n" + ",\n".join(records) + "\n]",
        "\n".join,
        lambda records: "\n".join(f"{record}\n" for record in records),
    ],
)
def test_a_broken_record_of_a_document_is_skipped_alone(
    tmp_path: Path, whole: Callable[[list[str]], str]
) -> None:
    """In a list or in documents after each other, what is whole is read on request."""
    path = tmp_path / "talks.json"
    records = [json.dumps({**LINE, "turn": number}, indent=1) for number in range(4)]
    records[1] = records[1].replace(":", "")
    path.write_text(whole(records), encoding="utf-8")

    result = read_conversations([path], skip_bad=True)

    assert [turn.turn for turn in result.conversations[0].turns] == [0, 2, 3]
    assert len(result.skipped) == 1


@pytest.mark.parametrize(
    ("text", "user_text"),
    [
        ('{"conversation_id": "a", "turn": 0, "user_text": "cut \\ud83d"}', "cut \ud83d"),
        ('{"conversation_id": "a", "turn": 0, "user_text": "x", "score": NaN}', "x"),
        ('{"conversation_id": "a", "turn": 0, "user_text": "x", "user_text": "y"}', "y"),
        ('{"conversation_id": "a", "turn": 0, "user_text": "a\\u0000b"}', "a\0b"),
    ],
)
def test_json_as_other_programs_write_it(tmp_path: Path, text: str, user_text: str) -> None:
    """Lone surrogates and NaN are read; of a key that is met twice, the last counts."""
    path = tmp_path / "talk.jsonl"
    path.write_text(text, encoding="utf-8")

    assert read_conversations([path]).conversations[0].turns[0].user_text == user_text


def test_a_broken_file_is_skipped_on_request(tmp_path: Path, write_lines: Write) -> None:
    """With skip_bad a file that cannot be read at all does not stop the others."""
    good = write_lines(LINE)
    bad = tmp_path / "bad.jsonl.gz"
    bad.write_bytes(b"\x1f\x8b nonsense")

    result = read_conversations([bad, good], skip_bad=True)

    assert len(result.conversations) == 1
    assert [error.path for error in result.skipped] == [bad]


def test_folders_and_patterns(tmp_path: Path, write_lines: Write) -> None:
    """Folders are read to the bottom in order, hidden files left out, each file once."""
    for name in ("b.jsonl", "a/c.json", "a/.hidden.jsonl", "notes.txt"):
        write_lines(LINE, name=name)

    in_folder = find_files([tmp_path])
    by_pattern = find_files([f"{tmp_path}/**/*.json*", tmp_path / "b.jsonl"])

    assert [file.label for file in in_folder] == ["a.c", "b"]
    assert {file.path for file in by_pattern} == {file.path for file in in_folder}


@pytest.mark.parametrize("given", ["nothing.jsonl", "*.none", "", "a\0b", "x" * 5000])
def test_a_path_that_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """A path without a file is an error, however odd the path is."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(FormatError):
        read_conversations([given])
