"""A cassette that is looked over, and sealed again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from turnwise.budget.recorder import RecordedExchange, Where
from turnwise.calls import Call, CallKey
from turnwise.calls.errors import ConfigError, FormatError
from turnwise.replay.cassette import CassetteMode, open_cassette
from turnwise.replay.cassette_header import header_line
from turnwise.replay.cassette_sealing import seal_cassette, survey_cassette

Ask = Callable[..., tuple[CallKey, Call, Where]]
Answer = Callable[..., RecordedExchange]


@pytest.fixture
def recording(tmp_path: Path, ask: Ask, answer: Answer) -> Path:
    """Return a cassette of three exchanges."""
    path = tmp_path / "c.jsonl"
    with open_cassette(path, CassetteMode.REWRITE, normalise=["uuid"]) as cassette:
        for number in range(3):
            cassette.record(*ask(f"text {number}"), answer(f"answer {number}"))
    return path


def test_a_whole_cassette_is_left_as_it_is(recording: Path) -> None:
    """Sealing what was not changed changes no byte."""
    whole = recording.read_bytes()
    assert seal_cassette(recording) == 3
    assert recording.read_bytes() == whole
    found = survey_cassette(recording)
    assert (found.exchanges, found.damaged_count, found.normalise) == (3, 0, ("name uuid",))


def test_a_change_on_purpose_is_named_and_then_sealed(
    recording: Path, ask: Ask, answer: Answer
) -> None:
    """An answer that was edited is damage until it is sealed; then it is played."""
    recording.write_bytes(recording.read_bytes().replace(b"answer 1", b"another answer"))
    found = survey_cassette(recording)
    assert found.damaged_count == 1
    assert "c.jsonl:4: expected a whole exchange at byte" in found.damaged[0]

    seal_cassette(recording)

    assert survey_cassette(recording).damaged_count == 0
    with open_cassette(recording) as cassette:
        assert cassette.lookup(*ask("text 1")) == answer("another answer")


@pytest.mark.parametrize("version", [1, 2])
def test_an_old_cassette_becomes_a_present_one(
    recording: Path, ask: Ask, answer: Answer, version: int
) -> None:
    """Sealing an older version gives what the present one would have recorded."""
    old = recording.with_name("old.jsonl")
    old.write_bytes(header_line([{"name": "uuid"}], version=version))
    with open_cassette(old, CassetteMode.NEW_EPISODES, normalise=["uuid"]) as cassette:
        for number in range(3):
            cassette.record(*ask(f"text {number}"), answer(f"answer {number}"))
    assert survey_cassette(old).is_sealed == (version > 1)
    seal_cassette(old)
    assert old.read_bytes() == recording.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b'"text":"answer 1"', b'"text":7'),
        lambda data: data.replace(b'"outcome":"served"', b'"outcome":"lost"'),
        lambda data: data + b"hello\n",
        lambda data: data[:-20],
        lambda data: b'{"conversation_id":"a"}\n',
    ],
)
def test_what_is_no_exchange_is_not_sealed(
    recording: Path, change: Callable[[bytes], bytes]
) -> None:
    """The file is left alone, and the error names the line."""
    changed = change(recording.read_bytes())
    recording.write_bytes(changed)
    with pytest.raises(FormatError, match=r"c\.jsonl:\d: "):
        seal_cassette(recording)
    assert recording.read_bytes() == changed
    assert [item.name for item in recording.parent.iterdir()] == ["c.jsonl"]


def test_a_cassette_that_is_being_recorded_is_not_sealed(recording: Path) -> None:
    """What is appended meanwhile would be lost."""
    with (
        open_cassette(recording, CassetteMode.NEW_EPISODES),
        pytest.raises(ConfigError, match="is being recorded by another process"),
    ):
        seal_cassette(recording)
