"""The page in a real browser: opened from disk, read by keyboard, on a phone, in the dark."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callwise.report import load_run, summarise
from callwise.report.page import write_page

pytestmark = pytest.mark.slow

RunMaker = Callable[..., Path]

REFUSED = {"outcome": "refused", "attempts": 0, "requests": 0, "error": "CallRefused: no room"}
TURNS: tuple[dict[str, Any], ...] = (
    {"user_text": "I got the job."},
    {
        "user_text": "Now I am scared of it.",
        "degraded": [{"node": "reasoner", "reason": "refused", "detail": "no room"}],
        "calls": ({}, {}, {}, {}, REFUSED),
    },
    {"conversation_id": "two", "turn": 0, "user_text": "Tea?"},
)

CONTRAST = """() => {
  const number = (color) => color.match(/[0-9.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = number(color).slice(0, 3).map((each) => {
      const share = each / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let each = node; each; each = each.parentElement) {
      const color = getComputedStyle(each).backgroundColor;
      if ((number(color)[3] ?? 1) === 1) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility()) continue;
    if (node.closest("script, style, .unseen, .skip")) continue;
    const [one, two] = [light(getComputedStyle(node).color), light(behind(node))];
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < 4.5) poor.push(`${node.className || node.tagName} ${ratio.toFixed(2)}`);
  }
  return [...new Set(poor)];
}"""


@pytest.fixture
def written(make_run: RunMaker, tmp_path: Path) -> Path:
    """Return the page of a small run."""
    return write_page(make_run(turns=TURNS), tmp_path / "page.html").file


def test_it_opens_from_disk_in_silence(written: Path, opened: Any) -> None:
    """The page shows its totals and turns, asks for nothing and complains of nothing."""
    page = opened(written)
    assert page.tab.title() == "run - callwise report"
    assert page.tab.locator("a.row").count() == 3
    assert "Simulated" in page.tab.locator(".simulated").inner_text()
    page.tab.locator("a.row").nth(1).click()
    article = page.tab.locator("#turn").inner_text()
    for said in ("Now I am scared of it.", "It is 1.", "CallRefused: no room", "reasoner"):
        assert said in article
    assert (page.problems, page.requests) == ([], [])


def test_a_turn_is_reached_by_its_link(written: Path, opened: Any) -> None:
    """A hash opens its turn, and going through turns keeps the hash."""
    page = opened(written, anchor="#turn/two/0")
    assert "Tea?" in page.tab.locator("#turn").inner_text()
    page.tab.keyboard.press("k")
    assert page.tab.evaluate("() => location.hash") == "#turn/one/1"
    page.tab.goto(written.as_uri() + "#turn/one/0")
    assert "I got the job." in page.tab.locator("#turn").inner_text()


def test_the_keyboard_is_enough(written: Path, opened: Any) -> None:
    """Turns are found, chosen, read and left without a mouse, and focus can be seen."""
    page = opened(written)
    keys, tab = page.tab.keyboard, page.tab
    keys.press("j")
    assert tab.locator("#turn-title").inner_text().startswith("Turn 0")
    keys.press("/")
    keys.type("tea")
    assert tab.locator("a.row:visible").count() == 1
    keys.press("Enter")
    assert tab.evaluate("() => document.activeElement.className") == "row"
    keys.press("Enter")
    assert tab.evaluate("() => document.activeElement.id") == "turn-title"
    assert "Tea?" in tab.locator("#turn").inner_text()
    keys.press("/")
    keys.press("Escape")
    assert tab.locator("a.row:visible").count() == 3
    keys.press("ArrowUp")
    assert tab.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert tab.locator("a.row[aria-current]").get_attribute("href") == "#turn/one/1"
    keys.press("?")
    assert tab.locator("#help").is_visible()
    keys.press("Escape")
    assert not tab.locator("#help").is_visible()
    keys.press("?")
    keys.press("Enter")
    assert not tab.locator("#help").is_visible()
    assert page.problems == []


def test_filters_keep_what_fits_all_of_them(written: Path, opened: Any) -> None:
    """Only the turns that fit every pressed filter are listed, and the count is told."""
    page = opened(written)
    page.tab.get_by_role("button", name="Degraded").click()
    assert page.tab.locator("a.row:visible").count() == 1
    assert page.tab.locator("#found").inner_text() == "1 of 3 turns"
    page.tab.get_by_role("button", name="Above plan").click()
    assert page.tab.locator("a.row:visible").count() == 1


def test_a_phone_needs_no_sideways_scroll(written: Path, opened: Any) -> None:
    """At 360 pixels neither overview, list nor turn is wider than the screen."""
    page = opened(written, width=360)
    width = "() => document.documentElement.scrollWidth"
    assert page.tab.evaluate(width) == 360
    page.tab.get_by_role("button", name="Turns").click()
    assert page.tab.evaluate(width) == 360
    assert not page.tab.locator("#overview").is_visible()
    page.tab.locator("a.row").nth(1).click()
    assert page.tab.locator("#turn").is_visible()
    assert page.tab.evaluate(width) == 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(written: Path, opened: Any, scheme: str) -> None:
    """Every visible text has a contrast of 4.5 at least (WCAG AA), and the switch switches."""
    page = opened(written, scheme=scheme)
    assert page.tab.evaluate(CONTRAST) == []
    page.tab.keyboard.press("j")
    page.tab.keyboard.press("j")
    assert page.tab.evaluate(CONTRAST) == []
    before = page.tab.evaluate("() => getComputedStyle(document.body).backgroundColor")
    page.tab.keyboard.press("t")
    assert page.tab.evaluate("() => getComputedStyle(document.body).backgroundColor") != before


def test_two_runs_are_next_to_each_other(make_run: RunMaker, tmp_path: Path, opened: Any) -> None:
    """Both replies are shown, what differs is said, and the other run's calls can be read."""
    run = make_run("mine", turns=TURNS)
    other = make_run("others", turns=({**TURNS[0], "reply": "Go.", "calls": ({}, {})}, *TURNS[1:]))
    page = opened(write_page(run, tmp_path / "both.html", against=other).file)
    page.tab.get_by_role("button", name="Differs").click()
    assert page.tab.locator("a.row:visible").count() == 1
    page.tab.keyboard.press("j")
    article = page.tab.locator("#turn")
    for said in ("It is 0.", "Go.", "Differs in reply, calls, tokens"):
        assert said in article.inner_text()
    rows = page.tab.locator('[aria-label="Calls of this turn"] tbody tr')
    assert rows.count() == 3
    page.tab.get_by_role("button", name="Other run").click()
    assert rows.count() == 2
    assert page.problems == []


def test_the_timeline_places_calls_by_rounds(written: Path, opened: Any) -> None:
    """A call is drawn at its round, and a lane has the calls of its node."""
    page = opened(written, anchor="#turn/one/0")
    bars = page.tab.locator(".bar")
    assert [bars.nth(place).evaluate("(bar) => bar.style.left") for place in range(3)] == [
        "0%",
        "33.3333%",
        "66.6667%",
    ]
    assert page.tab.locator(".lane").count() == 2
    page.tab.get_by_role("button", name="Path seconds").click()
    assert bars.nth(2).evaluate("(bar) => bar.style.left") == "66.6667%"


def test_without_a_script_the_totals_are_there(
    make_run: RunMaker, tmp_path: Path, browser: Any
) -> None:
    """With JavaScript off the figures by node are those of `summarise`."""
    folder = make_run(turns=TURNS)
    file = write_page(folder, tmp_path / "page.html").file
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    cells = page.locator("#table-by-node tbody tr").all_inner_texts()
    run = load_run(folder)
    expected = summarise(run.rows, run.turns).by_node
    assert [line.split()[0] for line in cells] == [row[0] for row in expected.rows]
    assert [int(line.split()[1]) for line in cells] == [row[1] for row in expected.rows]
    assert "Without JavaScript" in page.locator("noscript").inner_text()
    context.close()
