"""A cassette that was damaged, joined, converted or changed by hand."""

import gzip
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from callwise.budget.recorder import CallOrigin, RecordedExchange
from callwise.calls import Call, CallKey
from callwise.calls.errors import CassetteMiss, FormatError
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.recordings.cassette_file import MAX_LINE_BYTES
from callwise.recordings.cassette_header import BOM, HEADER, header_line

Ask = Callable[..., tuple[CallKey, Call, CallOrigin]]
Answer = Callable[..., RecordedExchange]
TEXTS = [f"text {number} in the old town" for number in range(6)]


def _record(path: Path, ask: Ask, answer: Answer, texts: list[str] = TEXTS) -> bytes:
    path.unlink(missing_ok=True)
    with open_cassette(path, CassetteMode.NEW_EPISODES) as cassette:
        for number, text in enumerate(texts):
            scope = f"run/conv:a/turn:{number}/node:detection"
            cassette.record(*ask(text, scope=scope), answer(f"answer to {text}"))
    return path.read_bytes()


def _played(path: Path, ask: Ask, mode: CassetteMode = CassetteMode.STRICT) -> list[object]:
    """Return what each call is answered with: an exchange, or the error of its line."""
    found: list[object] = []
    with open_cassette(path, mode) as cassette:
        for number, text in enumerate(TEXTS):
            scope = f"run/conv:a/turn:{number}/node:detection"
            try:
                found.append(cassette.lookup(*ask(text, scope=scope)))
            except FormatError as error:
                assert error.line is not None  # noqa: PT017 - either is right
                assert "at byte" in str(error)  # noqa: PT017 - as above
                found.append(error)
    return found


def test_no_flipped_bit_puts_equal_calls_in_another_order(
    tmp_path: Path, ask: Ask, answer: Answer
) -> None:
    """The order of equal calls is checked before it is used."""
    whole_path = tmp_path / "c.jsonl"
    with open_cassette(whole_path, CassetteMode.REWRITE) as cassette:
        for sequence in (3, 2, 1):
            cassette.record(*ask(), replace(answer(f"{sequence}"), sequence=sequence))
    whole, path = whole_path.read_bytes(), tmp_path / "flipped.jsonl"
    for place in random.Random(2).sample(range(8 * len(whole)), 500):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        try:
            with open_cassette(path) as cassette:
                found = [cassette.lookup(*ask()) for _ in range(3)]
        except FormatError:
            continue
        assert found == [answer("1"), answer("2"), answer("3")]


@pytest.mark.slow
@pytest.mark.parametrize("mode", [CassetteMode.STRICT, CassetteMode.NEW_EPISODES])
def test_no_single_flipped_bit_is_read_silently(
    tmp_path: Path, ask: Ask, answer: Answer, mode: CassetteMode
) -> None:
    """Of 2,000 flips in all, each is an error with line and byte, or changes nothing read."""
    whole = _record(tmp_path / "c.jsonl", ask, answer)
    expected = [answer(f"answer to {text}") for text in TEXTS]
    path = tmp_path / "flipped.jsonl"
    draw = random.Random(f"flips {mode}")
    detected = 0
    for place in draw.sample(range(8 * len(whole)), 1000):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        try:
            found = _played(path, ask, mode)
        except FormatError as error:
            assert error.line is not None or "gzip" in str(error)  # noqa: PT017 - either is right
            detected += 1
            assert path.read_bytes() == data
            continue
        good = sum(one == other for one, other in zip(found, expected, strict=True))
        errors = [each for each in found if isinstance(each, FormatError)]
        assert good + len(errors) == len(TEXTS), f"bit {place % 8} of byte {place // 8}"
        # The others are not affected.
        assert len(errors) <= 1 or all("refers to the shared line" in str(each) for each in errors)
        detected += bool(errors)
    assert detected > 950


def test_a_flipped_bit_of_a_packed_cassette_is_an_error(
    tmp_path: Path, ask: Ask, answer: Answer
) -> None:
    """What gzip reports is an error too; what it does not report is not read."""
    whole = gzip.compress(_record(tmp_path / "c.jsonl", ask, answer), mtime=0)
    expected = [answer(f"answer to {text}") for text in TEXTS]
    path = tmp_path / "flipped.jsonl.gz"
    for place in random.Random(1).sample(range(8 * len(whole)), 300):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        try:
            assert _played(path, ask) == expected
        except FormatError:
            continue


@pytest.mark.parametrize(
    "convert",
    [
        lambda data: BOM + data,
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data + b"\n\n",
        lambda data: data.replace(b"\n", b"\n\n"),
        lambda data: data.replace(b"\n", b"\r\n \r\n"),
        lambda data: data + data.partition(b"\n")[0] + b"\n",
        lambda data: BOM + data.replace(b"\n", b"\r\n") + b"\r\n",
    ],
    ids=["bom", "crlf", "blank at the end", "blank between", "blank crlf", "header again", "all"],
)
def test_what_editors_and_tools_do_does_no_harm(
    tmp_path: Path,
    ask: Ask,
    answer: Answer,
    convert: Callable[[bytes], bytes],
) -> None:
    """Byte order marks, other line ends and blank lines are passed over, in any mode."""
    data = _record(tmp_path / "c.jsonl", ask, answer)
    path = tmp_path / "converted.jsonl"
    path.write_bytes(convert(data))
    expected: list[object] = [answer(f"answer to {text}") for text in TEXTS]

    assert _played(path, ask) == expected
    with open_cassette(path, CassetteMode.NEW_EPISODES) as cassette:
        cassette.record(*ask("one more"), answer("more"))
    assert _played(path, ask) == expected
    with open_cassette(path) as cassette:
        assert cassette.lookup(*ask("one more")) == answer("more")


def test_a_last_line_without_its_end_is_whole(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """An editor may leave the last line end out: nothing is lost, and recording goes on."""
    whole = _record(tmp_path / "c.jsonl", ask, answer)
    path = tmp_path / "cut.jsonl"
    path.write_bytes(whole[:-1])

    assert _played(path, ask) == [answer(f"answer to {text}") for text in TEXTS]
    with open_cassette(path, CassetteMode.NEW_EPISODES) as cassette:
        cassette.record(*ask("one more"), answer("more"))
    with open_cassette(path) as cassette:
        assert cassette.lookup(*ask("one more")) == answer("more")
    assert path.read_bytes().startswith(whole)


def test_two_cassettes_in_one_file_are_one(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """Joined end to end, both are played; a call that both have is answered twice, in order."""
    first = _record(tmp_path / "a.jsonl", ask, answer)
    second = _record(tmp_path / "b.jsonl", ask, answer, ["another", TEXTS[0]])
    path = tmp_path / "both.jsonl"
    path.write_bytes(first + second)

    with open_cassette(path) as cassette:
        assert cassette.statistics().found_count == 8
        asked = ask(TEXTS[0], scope="run/conv:a/turn:0/node:detection")
        assert cassette.lookup(*asked) == answer(f"answer to {TEXTS[0]}")
        assert cassette.lookup(*asked) == answer(f"answer to {TEXTS[0]}")
        with pytest.raises(CassetteMiss, match="have been played already"):
            cassette.lookup(*asked)
        assert cassette.lookup(*ask("another")) == answer("answer to another")


def test_two_cassettes_of_other_kinds_are_not(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """Where the second has other normalisers, or another version, the error says where to cut."""
    first = _record(tmp_path / "a.jsonl", ask, answer)
    path = tmp_path / "both.jsonl"
    path.write_bytes(first + header_line([{"name": "uuid"}]))
    with pytest.raises(FormatError, match=rf"both.jsonl:9: .* at byte {len(first)}: .*Cut the"):
        open_cassette(path)
    path.write_bytes(first + b'{"callwise_cassette":9}\n')
    with pytest.raises(FormatError, match=r"both.jsonl:9: is a cassette of format version 9"):
        open_cassette(path)


def test_a_torn_cassette_before_another_is_an_error(
    tmp_path: Path, ask: Ask, answer: Answer
) -> None:
    """A recording that was cut off is not continued by the next one, silently."""
    first = _record(tmp_path / "a.jsonl", ask, answer)
    path = tmp_path / "both.jsonl"
    path.write_bytes(first[:-30] + HEADER + first)
    with pytest.raises(FormatError, match=r"both.jsonl:8: .*its length is not the one"):
        open_cassette(path)


@pytest.mark.parametrize("answer_now", [b"ANSWER to text 3", b"a longer answer", b""])
def test_a_line_that_was_changed_by_hand_names_the_way_to_seal_it(
    tmp_path: Path, ask: Ask, answer: Answer, answer_now: bytes
) -> None:
    """An answer that was edited is not played as if it had been recorded."""
    path = tmp_path / "c.jsonl"
    whole = _record(path, ask, answer)
    path.write_bytes(whole.replace(b"answer to text 3", answer_now))

    found = _played(path, ask)

    assert [isinstance(each, FormatError) for each in found].count(True) == 1
    assert "c.jsonl:6: " in str(found[3])
    assert "callwise cassette FILE --seal" in str(found[3])


def test_a_line_of_megabytes_is_played(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """A prompt may be as long as a library; only what exceeds any sensible memory is refused."""
    path = tmp_path / "c.jsonl"
    long = "word " * 1_000_000
    with open_cassette(path, CassetteMode.REWRITE) as cassette:
        cassette.record(*ask(long), answer(long))
    with open_cassette(path) as cassette:
        assert cassette.lookup(*ask(long)) == answer(long)
    assert path.stat().st_size < MAX_LINE_BYTES


def test_a_packed_cassette_has_a_largest_size(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """A few kilobytes that unpack to gigabytes are refused, and the error says the way out."""
    data = _record(tmp_path / "c.jsonl", ask, answer)
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(data + b" " * 5_000_000 + b"\n"))
    with pytest.raises(FormatError, match=r"unpacks to more than 1,000,000 bytes; unpack it"):
        open_cassette(path, max_unpacked_bytes=1_000_000)
    open_cassette(path).close()


def test_a_new_cassette_is_its_owners_alone(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """It holds what people said."""
    path = tmp_path / "c.jsonl"
    _record(path, ask, answer)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_cassette_that_is_deleted_while_it_is_recorded_is_an_error(
    tmp_path: Path, ask: Ask, answer: Answer
) -> None:
    """The run may go on; that nothing is kept of it is never passed over."""
    path = tmp_path / "c.jsonl"
    cassette = open_cassette(path, CassetteMode.NEW_EPISODES)
    cassette.record(*ask("a"), answer())
    path.unlink()
    cassette.record(*ask("b"), answer())
    assert cassette.failure is not None
    with pytest.raises(Exception, match="was deleted while it was being recorded"):
        cassette.finish()
