"""The README is short, and names what exists; `test_snippets` runs its commands."""

from tests.docs.pages import ROOT, blocks_of

PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
MAX_WORDS = 900


def test_the_page_is_short() -> None:
    """Two screens: what it is, an example, three ways to begin, figures."""
    assert len(PAGE.split()) <= MAX_WORDS
    assert [block.language for block in blocks_of("README.md")] == [*["console"] * 3, "python"]
