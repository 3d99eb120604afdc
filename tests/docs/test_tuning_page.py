"""The page that a newcomer follows ends in a verdict, and its translation has the same commands."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tuning.md"

_BLOCK = re.compile(r"^```(console|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _steps() -> list[tuple[str, list[str]]]:
    """Return each command of the page with the lines that it shows, in order."""
    steps: list[tuple[str, list[str]]] = []
    for _, block in _BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line.removeprefix("$ "), []))
            elif line.strip():
                steps[-1][1].append(line)
    return steps


def test_the_page_ends_in_a_recommendation_with_an_interval() -> None:
    """That is what the page is for; only the best seen setting has no other to be held against."""
    lines = [line for _, shown in _steps() for line in shown]
    compared = [line for line in lines if line.startswith("quality difference")]
    assert re.search(r" -?[\d.]+ SD \(-?[\d.]+ to -?[\d.]+\)$", compared[-1])
    saves = [line for line in lines if line.startswith("saves ")]
    assert len(saves) == len(compared)
    for line in saves:
        known = r"calls per turn (\([\d.]+ to [\d.]+\)|in every conversation)"
        assert re.search(known, line) or "it is the best seen" in line


@pytest.mark.parametrize("page", ["README", "docs/tuning"])
def test_the_chinese_page_shows_the_same_commands(page: str) -> None:
    """Each block of the two pages is equal."""
    blocks = [
        re.findall(r"^```.*?^```$", (ROOT / name).read_text("utf-8"), re.MULTILINE | re.DOTALL)
        for name in (f"{page}.md", f"{page}.zh.md")
    ]
    assert blocks[0] == blocks[1]
    assert len(blocks[0]) >= 5
