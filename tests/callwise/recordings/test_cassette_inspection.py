"""A cassette that is looked over and sealed again, and what a miss is explained by."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from callwise.budget.recorder import CallOrigin, RecordedExchange
from callwise.calls import Call, CallKey, Message, Purpose, Role, Sampling
from callwise.calls.choice import Choice
from callwise.calls.errors import CassetteMiss, ConfigError, FormatError
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.recordings.cassette_inspection import seal_cassette, survey_cassette

Ask = Callable[..., tuple[CallKey, Call, CallOrigin]]
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
    assert "c.jsonl:4: the recorded call at byte" in found.damaged[0]

    seal_cassette(recording)

    assert survey_cassette(recording).damaged_count == 0
    with open_cassette(recording) as cassette:
        assert cassette.lookup(*ask("text 1")) == answer("another answer")


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


Asked = tuple[CallKey, Call, CallOrigin]
Ask = Callable[..., Asked]
Answer = Callable[..., RecordedExchange]


def miss(path: Path, recorded: list[Asked], asked: Asked, answer: Answer) -> str:
    """Return what a strict replay says to a call that is not recorded."""
    with open_cassette(path, CassetteMode.REWRITE) as cassette:
        for each in recorded:
            cassette.record(*each, answer())
    with open_cassette(path) as cassette, pytest.raises(CassetteMiss) as caught:
        cassette.lookup(*asked)
    return str(caught.value)


def test_names_the_place_and_the_first_difference(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """A miss says which call it is and where its prompt leaves the recorded one."""
    path = tmp_path / "c.jsonl"
    start = "When we met you said that you would move to "

    words = miss(path, [ask(f"{start}Leeds.")], ask(f"{start}Lyon, was it?"), answer)

    assert words == (
        f"{path} has no recording of this call: conversation a, turn 0, node detection, "
        "role fast, purpose detect (scope run/conv:a/turn:0/node:detection)\n"
        "nearest recording: line 2, scope run/conv:a/turn:0/node:detection\n"
        "first difference: message 2 (user), character 46\n"
        "  recorded: '… you would move to Leeds.'\n"
        "  asked:    '… you would move to Lyon, was it?'\n"
        "To ask the model for what is missing, run the same command with --record FILE in place "
        "of --cassette FILE and a new --out, then check --update (in pytest: --callwise-record)."
    )


def test_prefers_the_same_scope(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """What the scope itself recorded is nearer than a closer prompt elsewhere."""
    scope = "run/conv:a/turn:1/node:detection"
    recorded = [ask("abcdef"), ask("x", scope=scope), ask("abcx", scope=scope)]

    words = miss(tmp_path / "c.jsonl", recorded, ask("abcdeg", scope=scope), answer)

    assert "line 5, scope run/conv:a/turn:1/node:detection" in words


def test_falls_back_to_the_same_node_and_purpose(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """In a scope that recorded nothing, the nearest prompt of the node and purpose is shown."""
    recorded = [
        ask("abcde", scope="run/conv:a/turn:0/node:reasoner"),
        ask("abcde", purpose=Purpose.JUDGE),
        ask("abc"),
        ask("abcd"),
        ask("abcd", scope="run/conv:a/turn:3/node:detection"),
    ]

    words = miss(
        tmp_path / "c.jsonl",
        recorded,
        ask("abcdef", scope="run/conv:b/turn:9/node:detection"),
        answer,
    )

    assert "line 6, scope run/conv:a/turn:0/node:detection" in words


def test_says_when_all_recordings_were_played(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """A call asked once more than it was recorded is told from one that is unknown."""
    path = tmp_path / "c.jsonl"
    with open_cassette(path, CassetteMode.NEW_EPISODES) as cassette:
        cassette.record(*ask(), answer())
    with open_cassette(path) as cassette:
        assert cassette.lookup(*ask()) == answer()
        with pytest.raises(CassetteMiss, match="all its recordings have been played already"):
            cassette.lookup(*ask())


CALL = Call(Role.FAST, Purpose.DETECT, (Message("system", "Be kind."), Message("user", "Hello.")))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            replace(CALL, sampling=Sampling(temperature=0.7)),
            "prompts are equal; first difference: temperature\n  recorded: None\n  asked:    0.7",
        ),
        (
            replace(CALL, messages=(*CALL.messages, Message("assistant", "Yes?"))),
            "first difference: only asked has message 3 (assistant)\n  asked: 'Yes?'",
        ),
        (
            replace(CALL, messages=CALL.messages[:1]),
            "first difference: only recorded has message 2 (user)\n  recorded: 'Hello.'",
        ),
        (
            replace(CALL, messages=(Message("user", "Be kind."),)),
            "first difference: message 1 (user) is asked where message 1 (system) is recorded",
        ),
        (
            replace(CALL, messages=(*CALL.messages[:1], Message("user", "Hello.", name="Al"))),
            "first difference: message 2 (user), character 7",
        ),
        (replace(CALL, messages=(), inputs=("Hello.",)), "input 1 is asked where message 1"),
    ],
)
def test_shows_every_kind_of_difference(
    tmp_path: Path, ask: Ask, answer: Answer, changed: Call, words: str
) -> None:
    """Messages, their number, their speakers and the settings are all compared."""
    assert words in miss(tmp_path / "c.jsonl", [ask(call=CALL)], ask(call=changed), answer)


def test_shows_another_model(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """An equal prompt for another model says that the model is what differs."""
    words = miss(tmp_path / "c.jsonl", [ask()], ask(model="huge"), answer)

    assert "first difference: model\n  recorded: tiny\n  asked:    huge" in words
    assert "recorded with tiny at " in words
    assert "set CALLWISE_BASE_URL and CALLWISE_MODEL as recorded" in words


def test_a_model_that_a_policy_chose_is_no_matter_of_the_environment(
    tmp_path: Path, ask: Ask, answer: Answer
) -> None:
    """The way out is the recorded policy."""
    chosen = replace(CALL, choice=Choice("route", "0" * 16, "1" * 64, "large"))
    words = miss(tmp_path / "c.jsonl", [ask()], ask(call=chosen, model="huge"), answer)

    assert "huge at" in words
    assert "replay with the `policies`" in words
    assert "CALLWISE_MODEL" not in words


def test_a_cut_recording_is_named(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """The call may have been in the line that is broken off."""
    path = tmp_path / "c.jsonl"
    with open_cassette(path, CassetteMode.REWRITE) as cassette:
        cassette.record(*ask("one"), answer())
        cassette.record(*ask("two"), answer())
    path.write_bytes(path.read_bytes()[:-20])
    with open_cassette(path) as cassette, pytest.raises(CassetteMiss, match="is cut off"):
        cassette.lookup(*ask("two"))


def test_says_when_nothing_is_near(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """A node that never asked has no nearest recording."""
    other = ask("else", scope="run/conv:a/turn:0/node:evolver", purpose=Purpose.EVOLVE)

    words = miss(tmp_path / "c.jsonl", [ask()], other, answer)

    assert "Nothing of this node and purpose is recorded. It has: detection detect." in words
