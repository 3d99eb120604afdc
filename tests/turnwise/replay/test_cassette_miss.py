"""Why a call is not in the recording."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from turnwise.budget.recorder import RecordedExchange, Where
from turnwise.calls import Call, CallKey, Message, Purpose, Role, Sampling
from turnwise.calls.errors import CassetteMiss
from turnwise.replay.cassette import CassetteMode, open_cassette

Asked = tuple[CallKey, Call, Where]
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
        "To ask the model for what is missing, replay with --mode new-episodes "
        "(in pytest: --turnwise-record)."
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


def test_says_when_nothing_is_near(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """A node that never asked has no nearest recording."""
    other = ask("else", scope="run/conv:a/turn:0/node:evolver", purpose=Purpose.EVOLVE)

    words = miss(tmp_path / "c.jsonl", [ask()], other, answer)

    assert "Nothing of this node and purpose is recorded." in words
