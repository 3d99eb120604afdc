"""Reading conversations of several files, formats and qualities together."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.calls.errors import ConfigError, FormatError
from callwise.recordings.conversation_files import read_conversations

Write = Callable[..., Path]


def turn(conversation_id: str, number: int, text: str = "Hi.") -> dict[str, object]:
    """Return one native line."""
    return {"conversation_id": conversation_id, "turn": number, "user_text": text}


def test_one_id_in_two_files_is_an_error(write_lines: Write) -> None:
    """A conversation that is in two files is named with both."""
    first = write_lines(turn("a", 0), name="one.jsonl")
    second = write_lines(turn("b", 0), turn("a", 1), name="two.jsonl")

    with pytest.raises(FormatError, match=r"conversation 'a' once; it is in .*one\.jsonl:1"):
        read_conversations([first, second])

    result = read_conversations([first, second], skip_bad=True)
    assert [each.conversation_id for each in result.conversations] == ["a", "b"]
    assert [(error.path, error.line) for error in result.skipped] == [(second, 2)]


def test_formats_may_be_mixed(write_lines: Write) -> None:
    """Files of several formats are read together, and all are named."""
    native = write_lines(turn("a", 0), name="one.jsonl")
    chat = write_lines({"messages": [{"role": "user", "content": "Hi."}]}, name="two.jsonl")

    result = read_conversations([native, chat])

    assert result.format == "callwise+openai"
    assert [each.conversation_id for each in result.conversations] == ["a", "two-1"]


def test_ids_made_from_names_tell_folders_apart(tmp_path: Path, write_lines: Write) -> None:
    """Files of one name in two folders do not collide."""
    record = {"messages": [{"role": "user", "content": "Hi."}]}
    write_lines(record, name="x/log.jsonl")
    write_lines(record, record, name="y/log.jsonl")

    result = read_conversations([tmp_path])

    ids = [each.conversation_id for each in result.conversations]
    assert ids == ["x.log-1", "y.log-1", "y.log-2"]


def test_other_files_of_a_folder_are_ignored_and_said(tmp_path: Path, write_lines: Write) -> None:
    """A folder's labels and notes are left out, but never a file that was named."""
    write_lines(turn("a", 0), name="talk.jsonl")
    labels = write_lines({"question": "?"}, name="labels.jsonl")

    assert read_conversations([tmp_path]).ignored == (labels,)
    with pytest.raises(
        FormatError, match=r"an object with keys question\. .*Known formats are: .*openai"
    ):
        read_conversations([labels])


def test_a_folder_without_conversations_is_an_error(tmp_path: Path, write_lines: Write) -> None:
    """A folder in which nothing is known says what was found and what is known."""
    write_lines({"question": "?"}, name="labels.jsonl")

    with pytest.raises(FormatError, match=r"known format \(memorybank.*found labels\.jsonl"):
        read_conversations([tmp_path])


def test_a_bad_record_is_skipped_alone_wherever_it_is(write_lines: Write) -> None:
    """The first record, one in the middle, and one of another shape cost no other."""
    good = {"messages": [{"role": "user", "content": "Hi."}]}
    other = {"conversations": [{"from": "human", "value": "Hi."}]}
    empty, foreign = {"messages": []}, {"question": "?"}
    path = write_lines(empty, "{broken", foreign, good, empty, foreign, other, turn("a", 0), [1])

    with pytest.raises(FormatError, match=r"talk\.jsonl:1: expected `messages` to have a value"):
        read_conversations([path])
    result = read_conversations([path], skip_bad=True)

    assert [each.conversation_id for each in result.conversations] == ["talk-4", "talk-7", "a"]
    assert [error.line for error in result.skipped] == [1, 2, 3, 5, 6, 9]
    assert result.format == "openai+sharegpt+callwise"


def test_skipped_records_without_end_are_counted(write_lines: Write) -> None:
    """Only the first errors are kept, so that a file of noise does not fill the memory."""
    path = write_lines(*["noise"] * 1500, turn("a", 0))

    result = read_conversations([path], skip_bad=True)

    assert (len(result.skipped), result.skipped_count) == (1000, 1500)


def test_a_recording_of_calls_is_no_conversation(write_lines: Write, tmp_path: Path) -> None:
    """A cassette holds prompts, which must not be taken for what users said."""
    call = {"key": "0", "messages": [{"role": "user", "content": "Judge this."}]}
    path = write_lines({"callwise_cassette": 1}, call, name="cassette.jsonl")
    write_lines(turn("a", 0))

    with pytest.raises(FormatError, match="got a recording of calls; give it with --cassette"):
        read_conversations([path])
    assert read_conversations([tmp_path]).ignored == (path,)


def test_nothing_left_is_an_error(write_lines: Write) -> None:
    """When every record is bad, skipping them does not make an empty run."""
    path = write_lines(turn("a", 0, text=" "))

    with pytest.raises(FormatError, match=r"no conversation is left: 1 bad, the first: .*:1: "):
        read_conversations([path], skip_bad=True)


def test_limit_turns_counts_over_all(write_lines: Write) -> None:
    """The limit holds for all conversations together, in order."""
    path = write_lines(turn("a", 0), turn("a", 1), turn("b", 0), turn("b", 1), turn("c", 0))

    result = read_conversations([path], limit_turns=3)

    found = [(each.conversation_id, len(each.turns)) for each in result.conversations]
    assert found == [("a", 2), ("b", 1)]
    with pytest.raises(ConfigError, match="at least 1"):
        read_conversations([path], limit_turns=0)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@given(texts=st.lists(TEXT, min_size=1, max_size=5), is_escaped=st.booleans())
def test_any_text_is_read_untouched(tmp_path: Path, texts: list[str], is_escaped: bool) -> None:
    """Every text that UTF-8 can write comes back as it was, line separators included."""
    path = tmp_path / "talk.jsonl"
    lines = (
        json.dumps(turn("a", number, text), ensure_ascii=is_escaped)
        for number, text in enumerate(texts)
    )
    path.write_bytes("\n".join(lines).encode())

    result = read_conversations([path])

    assert [each.user_text for each in result.conversations[0].turns] == texts


@given(data=st.binary(max_size=60), cut=st.integers(0, 200))
def test_no_bytes_surprise_the_reader(tmp_path: Path, data: bytes, cut: int) -> None:
    """Whatever a file contains, it is read or a FormatError gives the reason."""
    path = tmp_path / "talk.jsonl"
    good = json.dumps(turn("a", 0, "Grüße")).encode()
    path.write_bytes(good[:cut] + data + good[cut:])

    for skip_bad in (False, True):
        try:
            result = read_conversations([path], skip_bad=skip_bad)
        except FormatError as error:
            assert str(path) in str(error)  # noqa: PT017 - either way is right
        else:
            assert result.conversations


@pytest.mark.data
def test_the_recorded_conversations(data_folder: Path) -> None:
    """The recorded Chinese conversations are read whole, with the users' personas."""
    companion = read_conversations([data_folder / "sample_memorybank_cn" / "turns.jsonl"])
    human = read_conversations([data_folder / "sample_kdconv_zh"])

    assert companion.format == "memorybank"
    assert len(companion.conversations) == 15
    assert sum(len(each.turns) for each in companion.conversations) == 566
    assert all(each.user_persona for each in companion.conversations)
    for each in companion.conversations:
        assert [turn.turn for turn in each.turns] == list(range(len(each.turns)))
        assert sorted(turn.time or "" for turn in each.turns) == [t.time for t in each.turns]
    assert human.format == "kdconv"
    assert len(human.conversations) == 120
    messages = sum(1 + bool(turn.reply) for each in human.conversations for turn in each.turns)
    assert messages == 2616
