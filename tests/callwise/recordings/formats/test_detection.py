"""Telling formats apart, on the examples that each of them declares."""

import re
from pathlib import Path

import pytest

from callwise.calls.errors import FormatError
from callwise.recordings.conversation_files import ReadOptions, read_conversations
from callwise.recordings.formats import FORMATS
from callwise.recordings.formats.conversation_format import ConversationFormat

GUIDE = Path(__file__).parents[4] / "docs" / "formats.md"


def test_every_format_is_documented() -> None:
    """The guide's table has a row for each format that is read, in the order of trying."""
    guide = GUIDE.read_text(encoding="utf-8")
    table = guide.partition("| format |")[2].partition("<!--")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)

    assert rows == [known.name for known in FORMATS]
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.name)
def test_an_example_is_read_as_its_format(tmp_path: Path, known: ConversationFormat) -> None:
    """Each example is told to be in its format, whatever the file is called."""
    path = tmp_path / "file.data"
    path.write_text(known.example, encoding="utf-8")

    result = read_conversations([path], options=ReadOptions(side="a"))

    assert result.format == known.name
    assert result.conversations[0].turns[0].user_text
    assert not result.skipped


@pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.name)
@pytest.mark.parametrize("other", ['{"n": 1}', "[1]", "7", '"text"', '{"messages": {}}'])
def test_a_record_of_something_else_is_skipped_alone(
    tmp_path: Path, known: ConversationFormat, other: str
) -> None:
    """After records of any format, one that is in none is an error, and costs no other."""
    path = tmp_path / "file.data"
    path.write_text(f"{known.example}\n{other}\n", encoding="utf-8")
    options = ReadOptions(side="a")

    with pytest.raises(FormatError):
        read_conversations([path], options=options)
    result = read_conversations([path], options=options, skip_bad=True)

    assert (result.format, result.skipped_count) == (known.name, 1)
