"""A table for a pull request: whatever an id says, it stays text in its cell."""

import re
from datetime import date

import pytest
from markdown_it import MarkdownIt

from tests.turnwise.testing.gate.conftest import KNOBS, toy
from turnwise.testing.gate import Case, Gates, Quarantine, compare, compare_live, put_in_quarantine
from turnwise.testing.gate.markdown import MAX_ROWS, drift_markdown, live_markdown

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a | b | c",
    "`` ` ``` code",
    "[click](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "@everyone #1 https://evil.example",
    "a\n\n# heading\n\n| a | b |\n|---|---|",
    "back\\slash \\| pipe \\` tick",
    "</details><!-- -->",
    "\u202eright to left\x1b[31m",
    "",
    "   ",
)
TAGS = {"h3", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "strong", "ul", "li"}
"""All that a comment is made of."""
SPAN = re.compile(r"`[^`\n]*`")


def _assert_is_harmless(text: str) -> None:
    """Hold that nothing untrusted stands outside of a code span, and that tables keep shape."""
    heads = 0
    for line in text.splitlines():
        assert line.count("`") % 2 == 0, line
        outside = SPAN.sub("", line)
        for mark in ("<", ">", "[", "]", "@", "http", "\\", "alert", "\u202e", "\x1b"):
            assert mark not in outside, line
        if line.startswith("|"):
            if set(line) <= set("|-: "):
                heads = line.count("|")
            elif heads:
                assert line.count("|") == heads, line
        else:
            heads = 0
        if line.startswith("#"):
            assert line.startswith("### Calls per turn: ")
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert set(re.findall(r"<([a-zA-Z!][^\s>]*)", rendered)) <= TAGS


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_in_its_cell(text: str) -> None:
    """As conversation, node, knob, value, prompt, owner, reason and file."""
    row = {"node": f"{text} "}
    before = toy({(text, 0): (1, 2), (text, 1): (1, 1)}, row=row, knobs={text: text}, prompts={})
    now = toy(
        {(text, 0): (1, 4), (text, 1): (1, 3)}, row=row, knobs={text: 1}, prompts={text: text}
    )
    drift = compare(before, now, Gates(rounds=0.0, tokens=0.0))
    words = {"reason": f"because {text}", "owner": f"sam {text}"}
    cases = [
        Case(turn=0, until="2026-12-31", **words),
        Case(conversation=f"x{text}", until="2020-12-31", **words),
    ]
    drift = put_in_quarantine(drift, Quarantine(cases, today=date(2026, 1, 1)))
    assert drift.failures
    assert drift.held
    assert drift.expired
    _assert_is_harmless(drift_markdown(drift, f"{text}.json"))
    _assert_is_harmless(live_markdown(compare_live(before, now, alpha=0.25), text))


def test_the_table_says_what_the_lines_say() -> None:
    """Sums of the run, each finding with its place and change, and what changed."""
    knobs = {**KNOBS, "search": {"rollouts": 6, "rubrics": ["overall"]}}
    text = drift_markdown(compare(toy(), toy({("one", 1): (1, 6)}, knobs=knobs)), "b.json")
    assert text.startswith("### Calls per turn: **failed**\n\n3 turns against `b.json`.\n")
    assert "| calls a turn | 4.3 | 5.0 |" in text
    assert "| `lats_search expand` | turn 1 of `one` | 4 | 6 | +50 % | **worse** |" in text
    assert "- knob `search.rollouts`: `4` → `6`" in text


def test_a_pass_is_short() -> None:
    """Nothing to say but the sums; simulated is said."""
    run = toy(row={"is_simulated": True})
    text = drift_markdown(compare(run, run), "b.json")
    assert text.startswith("### Calls per turn: ok\n")
    assert "simulated" in text
    assert text.count("\n|") == 6


def test_a_comment_has_an_end() -> None:
    """The rest of many findings is counted: a forge refuses a comment that is too long."""
    counts = {(f"c{number}", 0): (1, 1) for number in range(70)}
    more = {key: (1, 2 + place) for place, key in enumerate(counts)}
    text = drift_markdown(compare(toy(counts), toy(more)), "b.json")
    assert text.count("**worse**") == MAX_ROWS
    assert "40 more rows not shown." in text
    assert len(text) < 20_000


def test_a_live_run_has_its_test() -> None:
    """Means, p and rate, and where it rose."""
    before, now = (toy({(f"s{n}", 0): (1, count) for n in range(9)}) for count in (4, 6))
    text = live_markdown(compare_live(before, now), "b.json")
    assert "| p, one-sided | 0.00195 |" in text
    assert "| `lats_search expand` | +1.500 |" in text
    assert "No knob and no prompt changed" in text
