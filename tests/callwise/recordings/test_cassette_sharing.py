"""Common parts of a cassette's exchanges, written once."""

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.budget.recorder import CallOrigin, RecordedExchange
from callwise.budget.usage import Usage
from callwise.calls import Call, CallKey, Message, Outcome, Purpose, Role, call_key
from callwise.calls.errors import CassetteMiss, FormatError
from callwise.recordings.cassette import Cassette, CassetteMode, open_cassette
from callwise.recordings.cassette_file import CassetteFile
from callwise.recordings.cassette_format import exchange_document, parse_line
from callwise.recordings.cassette_inspection import seal_cassette, survey_cassette
from callwise.recordings.cassette_sharing import Sharing, shared_name
from callwise.recordings.shared_lines import restore, whole_prompt

Ask = Callable[..., tuple[CallKey, Call, CallOrigin]]
Answer = Callable[..., RecordedExchange]
LONG = "You are the agent, in every word, and write as on a phone. " * 8


def _document(messages: Iterable[Message], answer: RecordedExchange, scope: str) -> dict[str, Any]:
    call = Call(Role.MAIN, Purpose.PLAN, tuple(messages))
    where = CallOrigin(scope, "a", "0", "plan", Role.MAIN, Purpose.PLAN, "local", "tiny")
    return exchange_document(CallKey("0f" * 32), call, where, answer, redact=str)


def _packed(documents: Iterable[dict[str, Any]], **options: int) -> list[bytes]:
    written: dict[bytes, bytes] = {}
    sharing, lines = Sharing(written.__contains__, **options), []
    for document in documents:
        before = json.dumps(document)
        shared, line = sharing.pack(document)
        assert not shared.keys() & written.keys()
        assert [shared_name(each) for each in shared.values()] == list(shared)
        written.update(shared)
        lines += [*shared.values(), line]
        assert json.dumps(document) == before
    return lines


def _restored(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    shared = {(shared_name(line) or b"").decode(): parse_line(line) for line in lines}
    return [
        whole_prompt(restore(parse_line(line), shared.__getitem__), shared.__getitem__)
        for line in lines
        if shared_name(line) is None
    ]


PIECES = st.sampled_from([LONG, LONG[:200], "x", "\ud800", "é" * 300, '"quoted"\\\n' * 30])
CONTENT = st.lists(PIECES, max_size=3).map("".join)
MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(["system", "user"]), CONTENT), min_size=1, max_size=3
)
COUNTS = st.sampled_from([0, 0, 1, 700])


def _usage(input_tokens: int, cached_tokens: int, charged_tokens: int) -> Usage:
    return Usage(
        input_tokens=input_tokens, cached_tokens=cached_tokens, charged_tokens=charged_tokens
    )


CHANGES = st.fixed_dictionaries(
    {
        "outcome": st.sampled_from([Outcome.SERVED, Outcome.CACHED, Outcome.FAILED]),
        "usage": st.builds(_usage, COUNTS, COUNTS, COUNTS),
        "latency_seconds": st.sampled_from([0.0, 0.25, 2.0]),
    }
)
SCOPES = st.sampled_from(
    [
        "run/conv:a/turn:0/node:plan",
        "run",
        "run/turn:1/turn:0/conv:b",
        "conv:/node:plan/x",
        "\ud800",
    ]
)


@given(asked=st.lists(st.tuples(MESSAGES, CHANGES, SCOPES, st.booleans()), max_size=8))
def test_every_exchange_is_restored_as_it_was(asked: list[Any], answer: Answer) -> None:
    """Whatever is shared or left out, the whole exchange comes back, and packs to the same."""
    documents = []
    for messages, changes, scope, has_reply in asked:
        exchange = replace(answer(), **changes)
        exchange = exchange if has_reply else replace(exchange, reply=None)
        documents.append(_document(messages, exchange, scope))
    lines = _packed(documents)
    assert _restored(lines) == documents
    assert _packed(_restored(lines)) == lines


def test_a_growing_conversation_is_written_once(answer: Answer) -> None:
    """Each call repeats all messages before it; the file grows by what is new."""
    said = [Message("user", f"{number}: {LONG}") for number in range(60)]
    documents = [
        _document([Message("system", LONG), *said[: number + 1]], answer(), "run")
        for number in range(60)
    ]
    lines = _packed(documents)
    assert _restored(lines) == documents
    new = sum(len(message.content) for message in said)
    assert sum(map(len, lines)) < 4 * new
    assert sum(len(orjson.dumps(document)) for document in documents) > 25 * new


def test_a_text_that_grows_is_written_once(answer: Answer) -> None:
    """One message with the chat so far shares its beginning with the one before it."""
    texts = ["".join(f"{turn}: {LONG}" for turn in range(number + 1)) for number in range(40)]
    documents = [_document([Message("user", text)], answer(), "run") for text in texts]
    lines = _packed(documents)
    assert _restored(lines) == documents
    assert sum(map(len, lines)) < 4 * len(texts[-1])


def test_what_does_not_recur_is_not_longer(answer: Answer) -> None:
    """A cassette without repetitions has no shared lines, and none of its lines grows."""
    documents = [
        _document(
            [Message("user", f"{number} {LONG}")],
            replace(answer(), usage=answer().usage._replace(attempts=number)),
            "run",
        )
        for number in range(9)
    ]
    lines = _packed(documents)
    assert len(lines) == 9
    assert all(len(a) <= len(orjson.dumps(b)) for a, b in zip(lines, documents, strict=True))


def test_recent_prompts_are_bounded(answer: Answer) -> None:
    """What was forgotten is written again; nothing else changes."""
    texts = [f"{number % 9}{LONG}" for number in range(30)]
    documents = [_document([Message("user", text)], answer(), "run") for text in texts]
    lines = _packed(documents, max_kept_chars=2_000)
    assert _restored(lines) == documents
    remembered = _packed(documents)
    assert sum(map(len, lines)) - sum(map(len, remembered)) > 5 * len(LONG)


def _record(cassette: Cassette, ask: Ask, answer: Answer, numbers: Iterable[int]) -> None:
    for number in numbers:
        cassette.record(*_asked(ask, number), answer(f"answer {number}"))


def _asked(ask: Ask, number: int) -> tuple[CallKey, Call, CallOrigin]:
    messages = (Message("system", LONG), Message("user", f"text {number}"))
    call = Call(Role.FAST, Purpose.DETECT, messages)
    where = ask(call=call)[2]
    return call_key(call, endpoint="local", model="tiny"), call, where


@pytest.fixture
def recording(tmp_path: Path, ask: Ask, answer: Answer) -> Path:
    """Return a cassette of six exchanges with shared instructions."""
    path = tmp_path / "c.jsonl"
    with open_cassette(path, CassetteMode.REWRITE) as cassette:
        _record(cassette, ask, answer, range(6))
    return path


def test_a_later_recording_uses_the_shared_lines_that_are_there(
    recording: Path, ask: Ask, answer: Answer
) -> None:
    """Recording on an existing file writes no line again."""
    with open_cassette(recording, CassetteMode.NEW_EPISODES) as cassette:
        _record(cassette, ask, answer, range(6, 12))
    lines = recording.read_bytes().splitlines()[1:]
    names = [name for line in lines if (name := shared_name(line))]
    assert len(names) == len(set(names))
    assert len(names) >= 2
    with open_cassette(recording) as cassette:
        for number in range(12):
            assert cassette.lookup(*_asked(ask, number)) == answer(f"answer {number}")


def test_joined_recordings_share_their_lines(recording: Path, ask: Ask, answer: Answer) -> None:
    """The names are digests, so that the lines of one file mean the same in another."""
    data = recording.read_bytes()
    recording.write_bytes(data + data)
    with open_cassette(recording) as cassette:
        for number in range(6):
            for _ in range(2):
                assert cassette.lookup(*_asked(ask, number)) == answer(f"answer {number}")
    assert seal_cassette(recording) == 12
    assert recording.stat().st_size < len(data) * 2
    assert survey_cassette(recording).damaged_count == 0


def test_a_miss_shows_the_whole_prompt(recording: Path, ask: Ask) -> None:
    """The nearest recording is compared as it was asked, shared texts put together."""
    with open_cassette(recording) as cassette, pytest.raises(CassetteMiss) as caught:
        cassette.lookup(*_asked(ask, 77))
    assert "first difference: message 2 (user), character 6" in str(caught.value)


def test_a_changed_shared_line_is_named_and_can_be_sealed(recording: Path) -> None:
    """Another text is another name: sealing writes it, and the exchanges that refer to it."""
    data = recording.read_bytes()
    changed = data.replace(
        b'"messages":[{"role":"system","content":"You are',
        b'"messages":[{"role":"system","content":"You were',
    )
    lines, lines_before = changed.splitlines(), data.splitlines()
    lines[1] = lines_before[1]
    recording.write_bytes(b"\n".join(lines) + b"\n")
    survey = survey_cassette(recording)
    assert survey.damaged_count >= 3
    assert all("its name does not fit it" in error for error in survey.damaged)
    seal_cassette(recording)
    file = CassetteFile.open_reading(recording)
    texts = [
        file.read(entry, is_prompt_whole=True)["messages"][0]["content"]
        for entry in range(len(file.index))
    ]
    file.close()
    assert texts[-1].startswith("You were the agent")


def test_a_damaged_shared_line_costs_only_the_exchanges_that_refer_to_it(
    recording: Path, ask: Ask, answer: Answer
) -> None:
    """The cassette opens, plays the others, and a later recording restores the line."""
    data = recording.read_bytes()
    place = data.index(b'"common":{')
    recording.write_bytes(data[: place + 20] + b"#" + data[place + 21 :])
    with open_cassette(recording) as cassette:
        assert cassette.lookup(*_asked(ask, 0)) == answer("answer 0")
        problem = rf"refers to the shared line '.*', at byte {place - 29}: its name does not"
        with pytest.raises(FormatError, match=problem):
            cassette.lookup(*_asked(ask, 5))
    assert 1 <= survey_cassette(recording).damaged_count < 6
    with open_cassette(recording, CassetteMode.NEW_EPISODES) as cassette:
        _record(cassette, ask, answer, range(20, 24))
    assert survey_cassette(recording).damaged_count == 0
    with open_cassette(recording) as cassette:
        assert cassette.lookup(*_asked(ask, 23)) == answer("answer 23")


def test_a_shared_line_that_was_taken_out_is_named(
    recording: Path, ask: Ask, answer: Answer
) -> None:
    """What refers to it is an error, and what does not is played."""
    lines = recording.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if b'"common":{' not in line[:50]]
    assert len(kept) == len(lines) - 1
    recording.write_bytes(b"".join(kept))
    with open_cassette(recording) as cassette:
        assert cassette.lookup(*_asked(ask, 0)) == answer("answer 0")
        with pytest.raises(FormatError, match=r"refers to the shared line '.*', which is not in"):
            cassette.lookup(*_asked(ask, 5))
    assert survey_cassette(recording).damaged_count >= 1


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ({"common": "a"}, "its common fields should be in the line 'a'"),
        ({"after": "c"}, "its messages should be in the line 'c'"),
        ({"messages": [{"role": "user", "content": {"after": "b"}}]}, "its text should be in"),
        ({"messages": [{"role": "user", "content": {"text": 3}}]}, "text of a message must be"),
        ({"after": "loop"}, "its prompt is longer than 268,435,456 characters"),
    ],
)
def test_what_refers_to_the_wrong_line(
    line: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was made by hand is an error, however its lines refer to each other."""
    shared = {
        "a": {"messages": []},
        "b": {"messages": []},
        "c": {"text": "x"},
        "loop": {"after": "loop", "messages": [{"role": "user", "content": "x"}] * 500_000},
    }
    document = {"key": "0", "scope": "run", "outcome": "served", **line}
    with pytest.raises(ValueError, match=problem):
        whole_prompt(restore(document, shared.__getitem__), shared.__getitem__)


def test_no_field_is_lost(answer: Answer) -> None:
    """A field that has no place in the order of a line is written after the others."""
    document = _document([Message("user", LONG)], answer(), "run")
    document |= {"zeta": 1, "alpha": 2, "reply": {**document["reply"], "mood": "good"}}
    lines = _packed([document] * 3)
    assert _restored(lines) == [document] * 3
    assert lines[-1].index(b'"reply"') < lines[-1].index(b'"alpha"') < lines[-1].index(b'"zeta"')


def test_no_flipped_bit_of_a_shared_line_is_read_silently(
    recording: Path, ask: Ask, answer: Answer
) -> None:
    """A prompt or a field that many exchanges share is an error, or what it was."""
    whole = recording.read_bytes()
    draw = random.Random(3)
    for place in draw.sample(range(8 * len(whole)), 400):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        recording.write_bytes(data)
        try:
            with open_cassette(recording) as cassette:
                for number in range(6):
                    found = cassette.lookup(*_asked(ask, number))
                    assert found == answer(f"answer {number}")
        except FormatError:
            continue
