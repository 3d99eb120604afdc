"""Telling formats apart, on the examples of the documentation."""

import re
from pathlib import Path

import pytest

from turnwise.replay.formats import FORMATS
from turnwise.replay.reading import read_conversations

GUIDE = Path(__file__).parents[4] / "docs" / "formats.md"
EXAMPLES = re.findall(r"```json\n(.*?)\n```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
IN_ORDER_OF_THE_GUIDE = ["turnwise", "openai", "sharegpt", "memorybank", "kdconv", "locomo"]


def test_every_format_is_documented() -> None:
    """The guide shows each format that is read."""
    assert sorted(IN_ORDER_OF_THE_GUIDE) == sorted(known.name for known in FORMATS)


@pytest.mark.parametrize(
    ("name", "example"), list(zip(IN_ORDER_OF_THE_GUIDE, EXAMPLES, strict=False))
)
def test_the_documented_example_is_read(tmp_path: Path, name: str, example: str) -> None:
    """Each example is told to be in its format, whatever the file is called."""
    path = tmp_path / "file.data"
    path.write_text(example, encoding="utf-8")

    result = read_conversations([path])

    assert result.format == name
    assert result.conversations[0].turns[0].user_text
