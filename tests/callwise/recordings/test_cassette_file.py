"""The file of a cassette: headers, broken ends, locks, a full disk."""

import errno
import gzip
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.budget.recorder import CallOrigin, RecordedExchange
from callwise.calls import Call, CallKey
from callwise.calls.errors import ConfigError, FormatError
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.recordings.cassette_file import SYNC_EXCHANGES, RecordingStopped
from callwise.recordings.cassette_header import HEADER

Ask = Callable[..., tuple[CallKey, Call, CallOrigin]]
Answer = Callable[..., RecordedExchange]
ALL_MODES = list(CassetteMode)


def _header(field: bytes) -> bytes:
    """Return a whole header with another field, or another value of one."""
    start = HEADER.partition(b',"check"')[0]
    name = field.partition(b":")[0]
    start = re.sub(b"," + name + rb":\d+", b"", start) + b"," + field
    return b'%b,"check":"%08x"}\n' % (start, crc32(start))


@pytest.fixture
def recording(tmp_path: Path, ask: Ask, answer: Answer) -> Path:
    """Return a cassette of three exchanges."""
    path = tmp_path / "c.jsonl"
    with open_cassette(path, CassetteMode.REWRITE) as cassette:
        for number in range(3):
            cassette.record(*ask(f"text {number}"), answer(f"answer {number}"))
    return path


def test_a_packed_cassette_is_played_and_not_recorded_on(
    recording: Path, tmp_path: Path, ask: Ask
) -> None:
    """So a recording can be committed small, and stays what it is."""
    packed = tmp_path / "c.jsonl.gz"
    packed.write_bytes(gzip.compress(recording.read_bytes()))
    with open_cassette(packed) as cassette:
        found = cassette.lookup(*ask("text 1"))
    assert found is not None
    assert found.reply is not None
    assert found.reply.text == "answer 1"
    with pytest.raises(FormatError, match="must be unpacked to be recorded on"):
        open_cassette(packed, CassetteMode.NEW_EPISODES)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!doctype html><html></html>", "is not a cassette: .* found HTML or XML"),
        (b'{"conversation_id": "a"}\n', "found JSON of another kind, such as a conversation"),
        (b"\x1f\x8b\x08", "a (broken )?gzip file"),
        (b"hello", "found something else"),
        (b'{"callwise_cassette":4,"key_version":2}\n', "of format version 4, .*--mode rewrite"),
        (b'{"callwise_cassette":true,"key_version":2}\n', "of format version True"),
        (b'{"callwise_cassette":3,"key_version":2}\n', "checksum differs.*--seal"),
        (_header(b'"key_version":9'), "with key version 9, .*--mode rewrite"),
        (b'{"turnwise_cassette":1,"key_version":1}\n', "of format version 1, .*--mode rewrite"),
        (b'{"callwise_cassette":2,"key_version":1}\n', "of format version 2, .*--mode rewrite"),
        (b'{"callwise_cassette":1\n', "header of the cassette is damaged"),
        (_header(b'"x":2'), "the field 'x'.*a newer one wrote it"),
        (
            _header(b'"normalise":["uuid"]'),
            "normalise must be a list of objects",
        ),
    ],
)
@pytest.mark.parametrize("mode", [CassetteMode.STRICT, CassetteMode.NEW_EPISODES])
def test_another_file_is_no_cassette(
    tmp_path: Path, mode: CassetteMode, data: bytes, words: str
) -> None:
    """What is no cassette of this version is named, said what to do, and left alone."""
    path = tmp_path / "c.jsonl"
    path.write_bytes(data)

    with pytest.raises(FormatError, match=words):
        open_cassette(path, mode)

    assert path.read_bytes() == data


def test_rewrite_never_touches_another_file(tmp_path: Path) -> None:
    """A conversation that was named by mistake is not replaced by a recording."""
    path = tmp_path / "talk.jsonl"
    path.write_bytes(b'{"conversation_id": "a"}\n')

    with pytest.raises(FormatError, match="is not a cassette"):
        open_cassette(path, CassetteMode.REWRITE)

    assert os.listdir(tmp_path) == ["talk.jsonl"]  # noqa: PTH208 - names are enough
    assert path.read_bytes() == b'{"conversation_id": "a"}\n'


def test_rewrite_takes_a_cassette_of_another_version(tmp_path: Path) -> None:
    """What this version cannot read can be recorded again."""
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"callwise_cassette":7}\n{"some":"thing that stands behind a header"}\n')

    with open_cassette(path, CassetteMode.REWRITE):
        pass

    assert path.read_bytes() == HEADER


@pytest.mark.parametrize("length", range(len(HEADER)))
def test_a_file_without_a_whole_header(tmp_path: Path, length: int) -> None:
    """A recording killed in its first write is empty to a player, and new to a recorder."""
    path = tmp_path / "c.jsonl"
    path.write_bytes(HEADER[:length])

    with pytest.raises(FormatError, match="is empty: nothing was recorded in it"):
        open_cassette(path)
    with open_cassette(path, CassetteMode.NEW_EPISODES) as cassette:
        assert cassette.statistics().found_count == 0

    assert path.read_bytes() == HEADER


def test_no_file(tmp_path: Path) -> None:
    """A missing file is an error for a player, and a missing folder for a recorder."""
    with pytest.raises(FormatError, match="does not exist; record it first"):
        open_cassette(tmp_path / "none.jsonl")
    with pytest.raises(FormatError, match="is a folder"):
        open_cassette(tmp_path)
    for mode in (CassetteMode.NEW_EPISODES, CassetteMode.REWRITE):
        with pytest.raises(ConfigError, match="its folder does not exist"):
            open_cassette(tmp_path / "none" / "c.jsonl", mode)


@given(data=st.data())
def test_a_cut_last_line_is_recovered(
    recording: Path, ask: Ask, answer: Answer, data: st.DataObject
) -> None:
    """Cut anywhere in its last line, a cassette plays the lines before, and goes on."""
    whole = recording.read_bytes()
    last = whole.rfind(b"\n", 0, -1) + 1
    cut = data.draw(st.integers(last, len(whole) - 2))
    path = recording.with_name("cut.jsonl")
    path.write_bytes(whole[:cut])

    with open_cassette(path) as cassette:
        assert cassette.statistics().recovered_bytes == cut - last
        assert len(cassette.notices) == (cut > last)
        assert [cassette.lookup(*ask(f"text {number}")) for number in range(2)] == [
            answer("answer 0"),
            answer("answer 1"),
        ]
    assert path.read_bytes() == whole[:cut]

    with open_cassette(path, CassetteMode.NEW_EPISODES) as cassette:
        assert cassette.lookup(*ask("text 2")) is None
        cassette.record(*ask("text 2"), answer("answer 2"))
    assert path.read_bytes() == whole


@given(data=st.data())
def test_no_damage_surprises_the_player(recording: Path, ask: Ask, data: st.DataObject) -> None:
    """Whatever is overwritten behind the header, playing works or names line and offset."""
    whole = recording.read_bytes()
    start = data.draw(st.integers(len(HEADER), len(whole) - 2))
    noise = data.draw(st.binary(min_size=1, max_size=20))
    path = recording.with_name("damaged.jsonl")
    path.write_bytes(
        (whole[:start] + noise + whole[start + len(noise) :])[: len(whole) - 1] + b"\n"
    )

    try:
        with open_cassette(path, CassetteMode.NEW_EPISODES) as cassette:
            for number in range(3):
                cassette.lookup(*ask(f"text {number}"))
    except FormatError as error:
        assert "the recorded call at byte" in str(error)  # noqa: PT017 - either is right
        assert error.line is not None  # noqa: PT017 - as above


def test_a_damaged_line_is_named_when_it_is_played(
    recording: Path, ask: Ask, answer: Answer
) -> None:
    """A line with a damaged answer spoils itself alone, and the error names its place."""
    lines = recording.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3][:-20] + b"\x00" * 19 + b"\n"
    recording.write_bytes(b"".join(lines))
    offset = sum(map(len, lines[:3]))

    with open_cassette(recording) as cassette:
        assert cassette.lookup(*ask("text 0")) == answer("answer 0")
        with pytest.raises(FormatError, match=f"c.jsonl:4: .* at byte {offset}"):
            cassette.lookup(*ask("text 1"))
        assert cassette.lookup(*ask("text 2")) == answer("answer 2")


def test_a_line_without_a_head_is_named_at_once(recording: Path) -> None:
    """A line that no lookup could find is an error when the cassette is opened."""
    lines = recording.read_bytes().splitlines(keepends=True)
    lines[2] = b"oops\n"
    recording.write_bytes(b"".join(lines))

    with pytest.raises(FormatError, match=r"c\.jsonl:3: the recorded call at byte"):
        open_cassette(recording)


@pytest.mark.parametrize("mode", [CassetteMode.NEW_EPISODES, CassetteMode.REWRITE])
def test_one_recorder_at_a_time(recording: Path, ask: Ask, mode: CassetteMode) -> None:
    """A second recorder is refused by name; a player is not."""
    whole = recording.read_bytes()

    with open_cassette(recording, CassetteMode.NEW_EPISODES):
        with pytest.raises(ConfigError, match=r"c\.jsonl is being recorded by another process"):
            open_cassette(recording, mode)
        with open_cassette(recording) as player:
            assert player.lookup(*ask("text 0"))

    assert recording.read_bytes() == whole
    with open_cassette(recording, CassetteMode.NEW_EPISODES) as again:
        assert again.statistics().found_count == 3


def test_a_lock_dies_with_its_process(recording: Path) -> None:
    """A recorder that was killed does not lock its cassette for ever."""
    code = (
        "import sys; from callwise.recordings.cassette import *\n"
        "cassette = open_cassette(sys.argv[1], CassetteMode.NEW_EPISODES)\n"
        "print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(recording)]
    with subprocess.Popen(  # noqa: S603 - the code above
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(ConfigError, match="is being recorded"):
            open_cassette(recording, CassetteMode.NEW_EPISODES)
        process.kill()

    open_cassette(recording, CassetteMode.NEW_EPISODES).close()


def test_a_full_disk_loses_nothing_that_was_recorded(
    recording: Path, ask: Ask, answer: Answer
) -> None:
    """Out of space, the run goes on, the file stays whole, and closing says what happened."""
    whole = recording.read_bytes()
    room = 100

    def write(fd: int, data: bytes, offset: int) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.pwrite(fd, data[:room], offset)
        room -= written
        return written

    cassette = open_cassette(recording, CassetteMode.NEW_EPISODES, write=write)
    for number in range(3, 5):
        cassette.record(*ask(f"text {number}"), answer())

    assert isinstance(cassette.failure, RecordingStopped)
    assert cassette.statistics().unrecorded_count == 2
    with pytest.raises(RecordingStopped, match=r"No space left on device\. The 3 exchanges"):
        cassette.close()
    assert recording.read_bytes() == whole


def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    """A cassette that cannot even be started is an error at once."""

    def write(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(RecordingStopped, match="No space left on device"):
        open_cassette(tmp_path / "c.jsonl", CassetteMode.NEW_EPISODES, write=write)


def test_a_recording_is_put_on_the_disk_at_intervals(
    tmp_path: Path, ask: Ask, answer: Answer
) -> None:
    """After so many seconds or exchanges, and when it is closed; never twice for the same."""
    now, synced, written = 0.0, [], 0
    with open_cassette(
        tmp_path / "c.jsonl",
        CassetteMode.NEW_EPISODES,
        sync=lambda fd: synced.append(written),
        clock=lambda: now,
    ) as cassette:
        for now in (1.0, 5.0, *[9.9] * (SYNC_EXCHANGES + 1), 14.8, 14.9, 15.0):
            written += 1
            cassette.record(*ask(f"{now}"), answer())
    assert synced == [2, SYNC_EXCHANGES + 2, SYNC_EXCHANGES + 5, SYNC_EXCHANGES + 6]


def test_a_disk_that_fails_stops_the_recording(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """What may be lost is counted; the run goes on."""

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    cassette = open_cassette(
        tmp_path / "c.jsonl", CassetteMode.NEW_EPISODES, sync=fail, clock=iter(range(9)).__next__
    )
    for number in range(8):
        cassette.record(*ask(f"text {number}"), answer())
    assert cassette.statistics().unrecorded_count == 4
    with pytest.raises(RecordingStopped, match=r"Input/output error\. The last \d exchanges may"):
        cassette.finish()
