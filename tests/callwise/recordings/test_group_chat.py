"""Group chats: every speaker keeps a name, times are relative, and bad files are clear errors."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from callwise.calls.errors import FormatError
from callwise.recordings.group_chat import read_group_chat

HOURS = [(1, "10:00"), (2, "10:05"), (3, None), (4, "10:05:30"), (5, "23:00"), (6, "00:30")]


def said(number: int, time: object = None, **fields: object) -> dict[str, object]:
    """Return a line of an IRC log."""
    return {"time": time, "nick": f"nick{number}", "text": f"text {number}", **fields}


def test_lines_have_speaker_text_and_time(write_lines: Callable[..., Path]) -> None:
    """A clock time that goes back by more than half a day is one of the next day."""
    chat = read_group_chat(write_lines(*(said(*each) for each in HOURS)))
    assert [each.author for each in chat.lines] == [f"nick{number}" for number, _ in HOURS]
    assert [each.text for each in chat.lines] == [f"text {number}" for number, _ in HOURS]
    assert [each.seconds for each in chat.lines] == [0, 300, None, 330, 46_800, 52_200]
    assert chat.seconds == 52_200
    assert chat.left_out == {}


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["2024-05-01T10:00:00Z", "2024-05-01T12:00:00+02:00", "2024-05-01 10:01:00"], [0, 0, 60]),
        ([1_700_000_000, 1_700_000_007_000, "1700000009"], [0, 7, 9]),
        (["2024-05-01", "10:00", "2024-05-02"], [0, 36_000, 86_400]),
        (["10:00", "2021-01-01T10:05:00Z"], [0, 300]),
        (["23:50", None, "00:10", "2021-01-01T00:20:00Z", "00:30"], [0, None, 1200, 1800, 2400]),
        (["12:00", "23:59", "2021-01-02"], [0, 43_140, 43_200]),
        (["10:05", "2021-01-01T10:00:00Z", "10:10"], [0, 0, 300]),
        (["soon", "25:00", True], [None, None, None]),
    ],
)
def test_times_of_many_kinds(
    write_lines: Callable[..., Path], times: list[object], expected: list[float | None]
) -> None:
    """Texts and numbers, with and without a zone, which is then UTC."""
    chat = read_group_chat(write_lines(*(said(n, time) for n, time in enumerate(times))))
    assert [each.seconds for each in chat.lines] == expected


def test_times_that_go_back_are_those_of_earlier_lines(write_lines: Callable[..., Path]) -> None:
    """The order of the file is worth more, and what is changed is counted."""
    times = ("10:00", "10:09", "10:03", "10:10")
    chat = read_group_chat(write_lines(*(said(n, time) for n, time in enumerate(times))))
    assert [each.seconds for each in chat.lines] == [0, 540, 540, 600]
    assert chat.left_out == {"time before that of an earlier line": 1}


def test_a_chat_with_the_newest_first_is_turned_round(write_lines: Callable[..., Path]) -> None:
    """So some services list it."""
    days = [said(number, f"2024-05-0{9 - number}") for number in range(3)]
    chat = read_group_chat(write_lines(*days))
    assert [each.author for each in chat.lines] == ["nick2", "nick1", "nick0"]
    assert [each.seconds for each in chat.lines] == [0, 86_400, 172_800]
    assert chat.left_out == {"line put in order of time": 3}


def test_notices_of_a_server_are_left_out_and_counted(write_lines: Callable[..., Path]) -> None:
    """They have no speaker; other lines may have no text."""
    notice = {"time": None, "nick": None, "text": "x is now known as y", "kind": "system"}
    chat = read_group_chat(write_lines(notice, said(1, "10:00"), said(2, text="  ")))
    assert [each.author for each in chat.lines] == ["nick1"]
    assert chat.left_out == {"line without a speaker": 1, "line without a text": 1}


def test_a_document_and_a_table_are_read_as_well(tmp_path: Path) -> None:
    """Every kind of file that has conversations."""
    document = tmp_path / "export.json"
    messages = [{"from": "Ana", "text": "Hi."}, {"from": "Bo", "text": [{"text": "Hello."}]}]
    document.write_text(json.dumps({"name": "boat club", "messages": messages}))
    table = tmp_path / "export.csv"
    table.write_text("speaker,text\nAna,Hi.\nBo,Hello.\n")
    for path in (document, table):
        lines = read_group_chat(path).lines
        assert [(each.author, each.text) for each in lines] == [("Ana", "Hi."), ("Bo", "Hello.")]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("[1, 2, 3]\n[4]\n", "expected a JSON object"),
        ("not JSON\n", "JSON"),
        ('{"nick": null, "text": "x"}\n', "found 1 x line without a speaker"),
        ('{"nick": "a"}\n', "found 1 x line without a text"),
        ('{"nick": "a", "text": 7}\n', "expected `text` to be a string"),
    ],
)
def test_a_file_without_a_chat_is_a_clear_error(tmp_path: Path, content: str, error: str) -> None:
    """It names the file, and the line where one is meant."""
    path = tmp_path / "chat.jsonl"
    path.write_text(content)
    with pytest.raises(FormatError, match=error):
        read_group_chat(path)


def test_one_speaker_is_a_chat(write_lines: Callable[..., Path]) -> None:
    """Who writes to agents alone."""
    assert len(read_group_chat(write_lines(said(1), said(1))).lines) == 2


def test_long_lines_and_control_characters_are_kept(write_lines: Callable[..., Path]) -> None:
    """Texts are data: they are clipped and escaped where they are shown or asked about."""
    texts = ["x" * 1_000_000, "\x00\x1b[2J\u202e", "half \ud83d"]
    path = write_lines(*(json.dumps(said(n, text=text)) for n, text in enumerate(texts)))
    assert [each.text for each in read_group_chat(path).lines] == [*texts[:2], "half \ufffd"]


@pytest.mark.data
def test_the_recorded_irc_chats_are_read(data_folder: Path) -> None:
    """Each has 350 lines, some of them notices, over one to three hours."""
    found = {}
    for path in sorted((data_folder / "sample_irc_groupchat").glob("*.jsonl")):
        chat = read_group_chat(path)
        notices = chat.left_out.get("line without a speaker", 0)
        assert len(chat.lines) + notices == 350
        found[path.stem] = (len(chat.lines), chat.seconds)
        assert all(each.seconds is not None for each in chat.lines)
    assert found == {
        "2004-11-15_03": (276, 9_360.0),
        "2009-02-23_10": (335, 5_340.0),
        "2011-05-29_19": (333, 4_260.0),
    }
