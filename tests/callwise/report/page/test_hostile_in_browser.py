"""Hostile conversations in a real browser: all of it is shown, and none of it runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callwise.report.page import write_page

RunMaker = Callable[..., Path]

HOSTILE = (
    "</script><script>window.canary = 1</script>",
    "<img src=x onerror='window.canary = 2'>",
    "<svg/onload=window.canary=3>",
    "javascript:window.canary=4",
    "${window.canary = 5} {{canary}} `window.canary`",
    "<!-- <script> ]]> &lt;b&gt; &amp;",
    "[[data]] [[script]]",
    "__proto__",
    "constructor",
    "<a href='https://example.org/x'>x</a><link rel=prefetch href=https://example.org>",
    "<iframe src='https://example.org'></iframe><form action='https://example.org'>",
    "a'\"><style>body{display:none}</style>",
)


def _judged(text: str) -> dict[str, Any]:
    return {"reason": text, text: 0.5, "score": 0.5, "__proto__": 1.0}


def _turn(text: str) -> dict[str, Any]:
    return {
        "conversation_id": text,
        "user_text": text,
        "reply": text,
        "time": text,
        "mode": text,
        text: text,
        "degraded": [{"node": text, "reason": text}],
        "wound_down": [{"what": text, "reason": text}],
        "search": {
            "stop_reason": text,
            text: 1,
            "best_id": "__proto__",
            "tree": {
                "nodes": {
                    "__proto__": {"reply": text, "strategy_tag": text, "judgement": _judged(text)},
                    text: {"parent_id": "__proto__", "draft": {"reply": text}, "score": 2},
                }
            },
            "final_judgement": _judged(text),
        },
        "calls": ({"node": text, "model": text, "error": text, "endpoint": text},),
    }


@pytest.fixture
def hostile(make_run: RunMaker, tmp_path: Path) -> Path:
    """Return the page of a run in which every text is hostile, compared with another such."""
    manifest = {
        "knobs": {"preset": HOSTILE[0], HOSTILE[1]: HOSTILE[0]},
        "identity": {"app": HOSTILE[1]},
        "started": HOSTILE[0],
    }
    run = make_run("</title><script>window.canary=9<".replace("/", ""), map(_turn, HOSTILE),
                   manifest)  # fmt: skip
    other = make_run("other", [{**_turn(text), "reply": f"2{text}"} for text in HOSTILE])
    return write_page(run, tmp_path / "page.html", against=other).file


@pytest.mark.slow
def test_nothing_hostile_runs_and_all_is_shown(hostile: Path, opened: Any) -> None:
    """Each text is shown word for word, no injected script runs, and no request leaves."""
    page = opened(hostile)
    for place, text in enumerate(HOSTILE):
        page.tab.keyboard.press("j")
        spoken = page.tab.locator("#turn .talk .spoken")
        assert spoken.nth(0).evaluate("(node) => node.textContent") == text
        assert spoken.nth(2).evaluate("(node) => node.textContent") == f"2{text}"
        judged = page.tab.locator("#turn blockquote.judge").nth(0)
        assert text in judged.evaluate("(node) => node.textContent")
        shown = page.tab.locator("#turn").evaluate("(node) => node.textContent")
        assert shown.count(text) >= 8, place
    canary = "() => [window.canary, {}.polluted, document.querySelectorAll('iframe, img').length]"
    assert page.tab.evaluate(canary) == [None, None, 0]
    links = page.tab.evaluate("() => [...document.links].map((link) => link.getAttribute('href'))")
    assert all(link.startswith("#") for link in links)
    assert page.tab.evaluate("() => document.scripts.length") == 2
    assert (page.problems, page.requests) == ([], [])


def test_the_policy_stops_what_is_put_in_later(hostile: Path, opened: Any) -> None:
    """Even markup that someone puts into the open page cannot run or load anything."""
    page = opened(hostile)
    page.tab.evaluate(
        """() => {
          const script = document.createElement("script");
          try { script.text = "window.canary = 1"; document.body.append(script); } catch {}
          const image = document.createElement("img");
          image.src = "https://example.org/x.png";
          document.body.append(image);
          try { document.body.insertAdjacentHTML("beforeend", "<p id=planted></p>"); } catch {}
        }"""
    )
    assert page.tab.evaluate("() => window.canary") is None
    assert page.tab.locator("#planted").count() == 0
    assert any("Content Security Policy" in each for each in page.problems)


def test_characters_that_act_are_made_visible(
    make_run: RunMaker, tmp_path: Path, opened: Any
) -> None:
    """Marks that turn text around, controls and lone surrogates are shown as what they are."""
    run = make_run(turns=[{"user_text": "a\u202eb\x07c\ud800d\u2066\u2028 \U0001f469‍\U0001f4bb"}])
    page = opened(write_page(run, tmp_path / "page.html").file, anchor="#turn/one/0")
    text = page.tab.locator("#turn .talk .spoken").nth(0).evaluate("(node) => node.textContent")
    assert text == ("a⟨U+202E⟩b⟨U+0007⟩c⟨U+D800⟩d⟨U+2066⟩⟨U+2028⟩ \U0001f469‍\U0001f4bb")
    assert page.problems == []


@pytest.mark.slow
def test_a_huge_message_and_a_deep_tree_are_shown(
    make_run: RunMaker, tmp_path: Path, opened: Any
) -> None:
    """A megabyte of text and 2,000 generations of candidates neither hang nor overflow a page."""
    huge = "word " * 200_000
    deep = [
        {"id": str(place), "parent_id": str(place - 1) if place else None, "reply": f"r{place}"}
        for place in range(2_000)
    ]
    nested: Any = "bottom"
    for _ in range(200):
        nested = [nested]
    run = make_run(
        turns=[
            {"user_text": huge, "reply": "x" * 100_000, "search": {"tree": deep}},
            {"search": {"tree": nested, "stop_reason": json.dumps(nested)}},
        ]
    )
    written = write_page(run, tmp_path / "page.html")
    assert written.size_bytes < 500_000
    page = opened(written.file, width=360, anchor="#turn/one/0")
    length = "(node) => node.textContent.length"
    assert page.tab.locator("#turn .talk .spoken").nth(0).evaluate(length) == len(huge)
    assert page.tab.evaluate("() => document.documentElement.scrollWidth") == 360
    page.tab.get_by_role("button", name="1,700 more candidates").click()
    assert page.tab.locator(".node").count() == 2_000
    page.tab.keyboard.press("j")
    assert "could not be drawn" in page.tab.locator("#turn").inner_text()
    assert page.problems == []
