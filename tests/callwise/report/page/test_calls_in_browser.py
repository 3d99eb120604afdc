"""Calls of a turn in a real browser: opened, compared, filtered and put in order."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callwise.report.page import write_page

pytestmark = pytest.mark.slow

RunMaker = Callable[..., Path]

PERSONA = "Nora repairs bicycles by the canal and grows tomatoes. " * 12
HOSTILE = "</script><img src=x onerror='window.canary = 1'>\u2028\u202e\x1b[31m{{7*7}}"
CALLS: tuple[dict[str, Any], ...] = (
    {},
    {"attempts": 3, "requests": 3, "retry_seconds": 2.5, "queue_seconds": 0.5,
     "delivery": {"endpoint": "spare", "batch": "b7", "batch_size": 4, "is_apportioned": True,
                  "hedges": 1, "discount": 0.5, "similar": "ab12", "similarity": 0.97, "new": 1},
     "choice": {"policy": "route", "model": "small", "reason": "cheapest that is good enough",
                "alternatives": ["large: dearer", "huge: dearer"], "step": 1}},
    {"is_unreadable": True, "error": "InvalidAnswer: no object", "repair": 1},
)  # fmt: skip


def _line(turn: int, place: int, content: str, answer: str) -> str:
    node = ("detection", "lats_search", "lats_search")[place % 3]
    line = {
        "key": f"{turn:032x}{place:032x}",
        "scope": f"run/conv:one/turn:{turn}/node:{node}",
        "role": "main",
        "purpose": "detect",
        "messages": [
            {"role": "system", "content": f"You are Nora. {PERSONA}"},
            {"role": "user", "content": content},
        ],
        "reply": {"text": answer, "finish_reason": "stop"},
    }
    return json.dumps(line) + "\n"


def _record(folder: Path, turns: int) -> Path:
    """Write a recording of every call of a run; the user's message grows from turn to turn."""
    lines = []
    for turn in range(turns):
        chat = [{"user": f"message {number}"} for number in range(turn + 1)]
        content = json.dumps({"persona": PERSONA, "chat": chat, "mood": f"mood {turn}"})
        lines.append(_line(turn, 0, content, f'{{"mood": {turn}}}'))
        lines.append(_line(turn, 1, HOSTILE, f'Sure: {{"text": "{turn}"}} {HOSTILE}'))
        lines.append(_line(turn, 2, "Judge.", "No."))
    (folder / "cassette.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def recorded(make_run: RunMaker, tmp_path: Path) -> Path:
    """Return the page of a recorded run of three turns."""
    settings = {"settings": {"response_model": "Mood"}}
    folder = _record(make_run(turns=[{"calls": CALLS}, {"calls": CALLS}, {**settings}]), 3)
    return write_page(folder, tmp_path / "page.html").file


def _open_call(page: Any, place: int) -> Any:
    page.tab.locator(".opener").nth(place).click()
    return page.tab.locator(".call-detail").last


def test_a_call_opens_by_keyboard(recorded: Path, opened: Any) -> None:
    """Enter on its number shows prompt and answer, once more hides them, and focus is seen."""
    page = opened(recorded, anchor="#turn/one/0")
    button = page.tab.locator(".opener").nth(0)
    button.focus()
    page.tab.keyboard.press("Tab")
    page.tab.keyboard.press("Shift+Tab")
    assert button.evaluate("(node) => getComputedStyle(node).outlineStyle") == "solid"
    page.tab.keyboard.press("Enter")
    detail = page.tab.locator(".call-detail")
    assert button.get_attribute("aria-expanded") == "true"
    assert "You are Nora." in detail.inner_text()
    assert '"mood": 0' in detail.inner_text()
    page.tab.keyboard.press("Enter")
    assert not detail.is_visible()
    assert (page.problems, page.requests) == ([], [])


def test_a_row_has_what_is_not_as_usual_in_its_way(recorded: Path, opened: Any) -> None:
    """Route, retries, queue, batch, hedge, discount and reuse, in a few words; else nothing."""
    page = opened(recorded, anchor="#turn/one/0")
    rows = page.tab.locator("tr.call").all_inner_texts()
    way = (
        "to small, by spare, 2 retries, queued 0.5 s, in a batch of 4, hedged, 50 % off, "
        "answer of a similar call"
    )
    assert way in rows[1]
    assert not any(word in rows[0] for word in ("retr", "batch", "by "))
    page = opened(recorded, anchor="#turn/one/2")
    assert "way" not in page.tab.locator(".calls thead").inner_text()


def test_a_search_leaves_opened_calls_open(recorded: Path, opened: Any) -> None:
    """Typing into the search redraws the list and not the turn."""
    page = opened(recorded, anchor="#turn/one/1")
    detail = _open_call(page, 0)
    page.tab.keyboard.press("/")
    page.tab.keyboard.type("what")
    assert detail.is_visible()


def test_the_prompt_shows_what_differs(recorded: Path, opened: Any) -> None:
    """Against the node's call before, what was added is marked and what is equal folded."""
    page = opened(recorded, anchor="#turn/one/1")
    detail = _open_call(page, 0)
    assert "compared with call 1 of turn 0" in detail.inner_text()
    assert "the same 674 characters" in detail.inner_text()
    added = " ".join(detail.locator("ins").all_inner_texts())
    removed = " ".join(detail.locator("del").all_inner_texts())
    assert "message 1" in added
    assert "message 0" not in added
    assert ("1" in added, "0" in removed) == (True, True)
    assert "characters as before" in detail.inner_text()
    detail.get_by_role("button", name="As sent").click()
    text = "() => [...document.querySelectorAll('.call-detail .code')].map((n) => n.textContent)"
    prompt = page.tab.evaluate(text)[1]
    assert json.loads(prompt)["chat"] == [{"user": "message 0"}, {"user": "message 1"}]
    assert detail.locator("ins, del").count() == 0


def test_a_call_shows_its_way_and_its_troubles(recorded: Path, opened: Any) -> None:
    """Retries, another endpoint, an unreadable answer, a repair and the parsed form."""
    page = opened(recorded, anchor="#turn/one/0")
    way = _open_call(page, 1).inner_text()
    for said in ("attempts 3", "seconds lost to retries 2.5", "served by the endpoint spare",
                 "calls in the batch 4", "part of the list price not charged 0.5",
                 "similarity of the two calls 0.97", "delivery: new 1", "seconds in queues 0.5",
                 "chosen because cheapest that is good enough",
                 "not chosen large: dearer; huge: dearer", "Parsed form",
                 '"text": "0"'):  # fmt: skip
        assert said in " ".join(way.split()), said
    trouble = _open_call(page, 2).inner_text()
    for said in ("Unreadable.", "InvalidAnswer: no object", "repair", "No."):
        assert said in trouble, said
    assert "served, unreadable, repair 1" in page.tab.locator("#turn").inner_text()


def test_hostile_prompts_stay_text(recorded: Path, opened: Any) -> None:
    """Markup, separators, bidi marks and ANSI codes of a prompt are shown and do nothing."""
    page = opened(recorded, anchor="#turn/one/1")
    detail = _open_call(page, 1)
    text = detail.evaluate("(node) => node.textContent")
    shown = "</script><img src=x onerror='window.canary = 1'>⟨U+2028⟩⟨U+202E⟩⟨U+001B⟩[31m{{7*7}}"
    assert text.count(shown) >= 2
    assert page.tab.evaluate("() => [window.canary, document.images.length]") == [None, 0]
    assert (page.problems, page.requests) == ([], [])


def test_calls_are_filtered_and_turns_put_in_order(
    make_run: RunMaker, tmp_path: Path, opened: Any
) -> None:
    """By node, outcome and cost, together; the dearest turn comes first when asked for."""
    turns = [{"calls": ({},)}, {"calls": CALLS * 2}, {"calls": ({}, {"input_tokens": 900})}]
    page = opened(write_page(make_run(turns=turns), tmp_path / "page.html").file)
    tab = page.tab
    tab.get_by_text("Filter by node, outcome, cost").click()
    found = tab.locator("#found")
    tab.locator("#of-node").select_option(label="lats_search")
    assert found.inner_text() == "2 of 3 turns"
    tab.locator("#of-least").fill("500")
    assert found.inner_text() == "1 of 3 turns"
    tab.keyboard.press("Escape")
    tab.locator("#of-least").fill("")
    tab.locator("#of-outcome").select_option(label="unreadable")
    tab.locator("a.row:visible").click()
    assert "2 of 6 calls fit the filter" in tab.locator("#turn").inner_text()
    assert tab.locator("tr.call.is-out").count() == 4
    tab.locator("#of-outcome").select_option(label="any outcome")
    tab.locator("#of-node").select_option(label="any node")
    tab.locator("#order").select_option(label="most calls first")
    before = tab.evaluate("() => location.hash")
    tab.locator("#order").focus()
    tab.keyboard.press("j")
    assert tab.evaluate("() => location.hash") == before
    rows = tab.locator("a.row .turn-number").all_inner_texts()
    assert [row.split()[-1] for row in rows] == ["1", "2", "0"]
    assert page.problems == []


def test_tables_are_sorted_by_their_heads(recorded: Path, opened: Any) -> None:
    """A column's head sorts its table, the greatest first and then the least."""
    page = opened(recorded)
    heads = page.tab.locator("#table-nodes th")
    button = page.tab.locator("#table-nodes").get_by_role("button", name="calls")
    button.click()
    assert heads.nth(1).get_attribute("aria-sort") == "descending"
    names = page.tab.locator("#table-nodes tbody th")
    assert names.all_inner_texts() == ["lats_search", "detection"]
    button.click()
    assert names.all_inner_texts() == ["detection", "lats_search"]


@pytest.mark.parametrize(("width", "height"), [(1400, 900), (390, 844)])
def test_the_first_screen_answers(
    make_run: RunMaker, tmp_path: Path, opened: Any, width: int, height: int
) -> None:
    """The dearest node, the worst turn and the difference are seen without scrolling."""
    folder = _record(make_run(turns=[{"calls": CALLS}, {"calls": CALLS * 2}]), 2)
    other = make_run("base", turns=[{}, {}])
    page = opened(write_page(folder, tmp_path / "page.html", against=other).file, width=width)
    page.tab.set_viewport_size({"width": width, "height": height})
    answers = page.tab.locator(".answers")
    for said in ("3 more calls than base", "lats_search", "one, turn 1"):
        assert said in answers.inner_text()
    box = answers.bounding_box()
    assert box["y"] + box["height"] <= height
    cut = """() => [...document.querySelectorAll(".ranking tbody th, .lane-name, .answers dd")]
      .filter((node) => node.checkVisibility() && node.scrollWidth > node.clientWidth + 1).length"""
    tops = """() => Object.values(Object.groupBy(document.querySelectorAll(".tiles > div"),
      (node) => node.getBoundingClientRect().top)).map((row) => row.length)"""
    assert page.tab.evaluate(cut) == 0
    assert len(set(page.tab.evaluate(tops))) == 1
    page.tab.keyboard.press("j")
    _open_call(page, 1)
    assert page.tab.evaluate("() => document.documentElement.scrollWidth") == width
    assert page.tab.evaluate(cut) == 0
    assert page.tab.locator("#turn .side + *").count() > 0
