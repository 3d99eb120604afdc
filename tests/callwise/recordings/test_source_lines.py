"""Reading lines: bounded, from regular files only, and in UTF-8 only."""

import gzip
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from callwise.calls.errors import ConfigError, FormatError
from callwise.recordings.conversation_files import ReadOptions, read_conversations
from callwise.recordings.source_lines import ReadLimits, open_lines

Write = Callable[..., Path]
GOOD = json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode()
SMALL = ReadLimits(max_document_bytes=1_000_000, max_file_bytes=3_000_000)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (GOOD.decode().encode("utf-16"), "is UTF-16; convert it to UTF-8, .*`iconv -f UTF-16 -t"),
        (GOOD.decode().encode("utf-16-le"), "is UTF-16LE; convert"),
        (GOOD.decode().encode("utf-16-be"), "is UTF-16BE; convert"),
        (GOOD.decode().encode("utf-32"), "is UTF-32; convert"),
        ('{"a": "你好"}'.encode("gb18030"), r":1: byte 0xc4 .*It may be GB18030: .*iconv -f GB18"),
        (
            '{"a": "café"}'.encode("latin-1"),
            r":1: byte 0xe9 at position 11 .*It may be WINDOWS-1252",
        ),
        (GOOD + b"\n" + '{"a": "é"}'.encode("latin-1"), ":2: byte 0xe9 at position 8 of the line"),
    ],
)
def test_another_encoding_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    """The error names the encoding, or a guess at it, and how to convert the file."""
    path = tmp_path / "talk.jsonl"
    path.write_bytes(data)

    with pytest.raises(FormatError, match=words):
        read_conversations([path])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PK\x03\x04\x14\x00", "is a ZIP file; unpack it"),
        (b"PARE\x15\x04", "is encrypted Parquet; decrypt it"),
        (b"BZh91AY&SY", "is packed with bzip2; unpack it"),
        (b"\x28\xb5\x2f\xfd\x24", "is packed with zstd; unpack it"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    """The error names the kind of file and what to do with it, whatever its name."""
    path = tmp_path / "talk.jsonl"
    path.write_bytes(data)

    with pytest.raises(FormatError, match=words):
        read_conversations([path])


def test_a_line_of_another_encoding_is_skipped_alone(tmp_path: Path) -> None:
    """What was appended in another encoding costs that line only."""
    path = tmp_path / "talk.jsonl"
    path.write_bytes(b"\n".join([GOOD, b'{"a": "\xe9"}', b"\x00\x00\x00", GOOD]))

    result = read_conversations([path], skip_bad=True)

    assert [error.line for error in result.skipped] == [2, 3]
    assert len(result.conversations) == 2


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_line_that_is_too_long_is_skipped_alone(tmp_path: Path, suffix: str) -> None:
    """No more of it is held than the limit, and the lines after it are read."""
    path = tmp_path / f"talk{suffix}"
    data = b"\n".join([GOOD, b"x" * 2_000_000, GOOD])
    path.write_bytes(gzip.compress(data, mtime=0) if suffix.endswith(".gz") else data)
    options = ReadOptions(limits=SMALL)

    with pytest.raises(FormatError, match=r":2: a line is longer than 1 MB; .*_MAX_DOCUMENT_MB"):
        read_conversations([path], options=options)
    result = read_conversations([path], skip_bad=True, options=options)
    assert [each.conversation_id for each in result.conversations] == ["talk-1", "talk-3"]


def test_a_document_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """One JSON document is read as a whole, so that its size is limited."""
    path = tmp_path / "talk.json"
    path.write_bytes(b"[\n" + b",\n".join([GOOD] * 30_000) + b"\n]")

    with pytest.raises(FormatError, match="one JSON document is longer than 1 MB; write one rec"):
        read_conversations([path], options=ReadOptions(limits=SMALL))


def test_a_packed_file_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    """A small file of gzip that holds too much is not unpacked into memory."""
    path = tmp_path / "talk.jsonl.gz"
    path.write_bytes(gzip.compress((b" " * 999 + b"\n") * 30_000, mtime=0))
    assert path.stat().st_size < 100_000

    with pytest.raises(FormatError, match="is larger than 3 MB unpacked; split it, or raise"):
        read_conversations([path], options=ReadOptions(limits=SMALL))


def test_long_files_are_not_held(tmp_path: Path) -> None:
    """Lines are read one at a time, whatever the size of the file; progress is told."""
    path = tmp_path / "talk.jsonl"
    line = GOOD + b" " * 1_000 + b"\n"
    path.write_bytes(line * 20_000)
    told: list[tuple[int, int]] = []

    tracemalloc.start()
    with open_lines(path, ReadLimits(), lambda done, size: told.append((done, size))) as lines:
        count = sum(1 for _ in lines)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    size = path.stat().st_size
    assert count == 20_000
    assert peak < size / 20
    assert len(told) == size // 4_000_000
    assert all(done <= size == whole for done, whole in told)


def test_the_environment_sets_the_limits(
    write_lines: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limits hold wherever conversations are read, and are whole megabytes."""
    path = write_lines({"messages": [{"role": "user", "content": "x" * 2_000_000}]})
    assert read_conversations([path]).conversations

    monkeypatch.setenv("CALLWISE_MAX_DOCUMENT_MB", "1")
    with pytest.raises(FormatError, match="longer than 1 MB"):
        read_conversations([path])
    for wrong in ("0", "-1", "lots", "1.5", "9" * 30):
        monkeypatch.setenv("CALLWISE_MAX_DOCUMENT_MB", wrong)
        with pytest.raises(
            ConfigError, match=r"CALLWISE_MAX_DOCUMENT_MB is .* whole number of meg"
        ):
            read_conversations([path])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A pipe or device is refused at once: it would block, or never end."""
    pipe = tmp_path / "talk.jsonl"
    os.mkfifo(pipe)

    with pytest.raises(FormatError, match="is a pipe; copy its content to a regular file"):
        read_conversations([pipe])
    with pytest.raises(FormatError, match="is a device"):
        read_conversations([os.devnull])


@pytest.mark.parametrize("pattern", ["", "**/*.jsonl", "*/*/*.jsonl"])
def test_links_in_circles(tmp_path: Path, pattern: str) -> None:
    """Links to folders above do not make the reading endless; each file is read once."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "talk.jsonl").write_bytes(GOOD)
    for name in ("one", "two", "three"):
        (inner / name).symlink_to(tmp_path / "a")
    (inner / "self.jsonl").symlink_to(inner / "self.jsonl")

    assert len(read_conversations([tmp_path / pattern]).conversations) == 1
    with pytest.raises(FormatError, match="does not exist"):
        read_conversations([inner / "self.jsonl"])
