"""Promises of the README and of how-to pages on their length; `test_snippets` runs them."""

from tests.docs.pages import ROOT, blocks_of, commands_of

PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
MAX_WORDS = 900


def test_the_page_is_short() -> None:
    """Two screens: what it is, an example, three ways to begin, figures."""
    assert len(PAGE.split()) <= MAX_WORDS
    assert [block.language for block in blocks_of("README.md")] == [*["console"] * 3, "python"]


def test_a_gate_for_an_app_is_at_most_twelve_lines() -> None:
    """The app and all commands of the page, the endpoint among them."""
    app, *blocks = blocks_of("docs/own-app.md")
    commands = [each for block in blocks[:2] for each in commands_of(block)]
    code = [line for line in app.text.splitlines() if line and not line.startswith("#")]
    assert len(code) + len(commands) <= 12
