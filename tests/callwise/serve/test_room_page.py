"""The page in a browser: the chat and its costs live, hostile text as data, an hour by hand."""

import asyncio
import re
import shutil
import threading
from dataclasses import dataclass, field

import pytest

from callwise.serve import Access, RoomHost, serve_room
from callwise.wake import Agent, WakeKnobs, WakeSettings, WakeStore

from .conftest import PASSES_SECONDS, PERSONA, TOKEN, wall_within_an_hour

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync")

HOSTILE = (
    "<img src=x onerror=\"document.title='run'\">",
    "</script><script>document.title='run'</script>",
    "{{7*7}} ${7*7} [[script]]",
    "\u202egnp.exe \u2066hidden\u2069",
    "'; DROP TABLE room_log; --",
    "javascript:alert(1) \x1b[2J",
)


@dataclass
class ServedPage:
    """A room that is served from a thread, for a browser in this one."""

    url: str
    host: RoomHost
    store: WakeStore
    loop: asyncio.AbstractEventLoop

    def run(self, work):
        """Run a coroutine in the server's thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PASSES_SECONDS)

    def say(self, author, text, number):
        """Let a person write."""
        return self.run(self.host.say(author, text, id=f"t{number}"))


@pytest.fixture
def room():
    """Serve a room of agents with hostile names."""
    names = ("<b>Bold</b>", HOSTILE[0][:64], "Carol")
    agents = tuple(
        Agent(id=each, name=name, persona=PERSONA, model=model)
        for each, name, model in zip("abc", names, ("one", "two", "one"), strict=True)
    )
    settings = WakeSettings(
        agents=agents,
        models={"one": {}, "two": {}},
        wake=WakeKnobs(delay_seconds=(0.0, 0.0), intent_daily_calls=0, fallback="everyone"),
    )
    started: dict[str, ServedPage] = {}
    is_ready = threading.Event()

    async def main(store):
        host = RoomHost(settings, store, settings.served_by({}), wall=wall_within_an_hour())

        def ready(url):
            started["room"] = ServedPage(url, host, store, asyncio.get_running_loop())
            is_ready.set()

        await serve_room(host, Access(TOKEN), on_ready=ready)

    with WakeStore(":memory:") as store:
        thread = threading.Thread(target=asyncio.run, args=(main(store),))
        thread.start()
        assert is_ready.wait(PASSES_SECONDS)
        yield started["room"]
        started["room"].run(started["room"].host.drain(0.0, reason="the test is over"))
        thread.join(PASSES_SECONDS)


@pytest.fixture(scope="module")
def browser():
    """Return a headless browser; skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)}")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        yield launched
        launched.close()


@dataclass
class Opened:
    """A page, and what it did."""

    tab: object
    problems: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    def shows(self, selector, text):
        """Wait until an element has a text."""
        self.tab.locator(selector, has_text=text).first.wait_for()


@pytest.fixture
def opened(browser, room):
    """Open the page."""
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    context.set_default_timeout(120_000)  # milliseconds, for a busy machine

    def open_(fragment=f"#token={TOKEN}"):
        page = Opened(context.new_page())
        page.tab.on("console", lambda said: page.problems.append(f"{said.type}: {said.text}"))
        page.tab.on("pageerror", lambda error: page.problems.append(str(error)))
        page.tab.on("request", lambda sent: page.addresses.append(sent.url))
        page.tab.goto(room.url + "/" + fragment)
        return page

    yield open_
    context.close()


def test_the_chat_is_live_and_the_token_leaves_the_address(opened, room):
    """A line of the page comes back with its number; its address has no token."""
    page = opened()
    page.tab.wait_for_selector("body.is-ready")
    page.tab.fill("#author", "Mia")
    page.tab.fill("#text", "Good morning.")
    page.tab.click("#send")
    page.shows("#chat > li", "Good morning.")
    room.say("Jonas", "And to you.", 1)
    page.shows("#chat > li", "And to you.")
    assert page.tab.locator("#chat > li").count() == 2
    assert page.tab.locator("#simulated").is_visible()
    assert TOKEN not in page.tab.url
    assert not [each for each in page.addresses if TOKEN in each.partition("#")[0]]
    page.tab.reload()
    page.shows("#chat > li", "And to you.")
    assert page.tab.locator("#chat > li").count() == 2
    assert page.problems == []


def test_a_click_wakes_the_hour_and_shows_each_request(opened, room):
    """Three agents on two models without an intent: two requests, each reply with its cost."""
    page = opened()
    page.tab.wait_for_selector("body.is-ready")
    page.tab.click("#wake")
    page.shows("#wakes li", "3 calls in 2 requests")
    page.tab.locator("#chat > li.reply .cost").nth(2).wait_for()
    costs = page.tab.locator("#chat > li.reply .cost").all_inner_texts()
    assert all(re.match(r"1 call · .*request.* · [\d,]+ tokens · ", cost) for cost in costs)
    assert sum("in a request with 1 other" in cost for cost in costs) == 2
    requests = page.tab.locator("#requests li").all_inner_texts()
    assert sorted("2 replies" in each for each in requests) == [False, True]
    page.shows("#totals div", re.compile(r"requests\s*2"))
    assert page.problems == []


def test_a_reply_has_the_tree_of_its_calls(opened, room):
    """The wake, its agent, and the call with its request; hostile names are text."""
    page = opened()
    page.tab.wait_for_selector("body.is-ready")
    page.tab.click("#wake")
    page.tab.locator("#chat > li.reply").nth(2).wait_for()
    trees = page.tab.locator("#chat > li.reply .tree")
    assert not trees.first.is_visible()
    for summary in page.tab.locator("#chat > li.reply summary").all():
        summary.click()
    shown = [re.sub(r"\s*\n\s*", " > ", text.strip()) for text in trees.all_inner_texts()]
    names = ("<b>Bold</b>", HOSTILE[0][:64].strip(), "Carol")
    for name, shared in zip(names, (" with 1 other", "", " with 1 other"), strict=True):
        call = rf"wake > {re.escape(name)} > (one|two) · request #\d{shared} · [\d,]+ tokens · "
        assert any(re.match(call, text) for text in shown), (name, shown)
    assert page.problems == []


def test_lines_that_came_since_the_page_was_shown_are_marked(opened, room):
    """By what the page has acknowledged, in the same tab; another tab has seen nothing."""
    page = opened()
    page.tab.wait_for_selector("body.is-ready")
    room.say("Mia", "seen", 1)
    page.shows("#chat > li", "seen")
    client = page.tab.evaluate("sessionStorage.getItem('callwise-client')")
    page.tab.clock.install()
    for _ in range(10_000):
        if room.host.acknowledgements.last_of(client) == 1:
            break
        page.tab.clock.run_for(1_000)
    room.say("Mia", "first while away", 2)
    room.say("Mia", "second while away", 3)
    page.tab.reload()
    page.shows("#chat > li", "second while away")
    marked = page.tab.locator("#chat > li", has=page.tab.locator(".since")).all_inner_texts()
    assert len(marked) == 1
    assert "first while away" in marked[0]
    other = opened()
    other.shows("#chat > li", "second while away")
    assert other.tab.locator(".since").count() == 0
    assert page.problems == []


def test_a_long_chat_begins_with_its_newest_lines(opened, room):
    """As many as the page shows."""

    async def fill():
        for number in range(1, 601):
            said = room.store.rooms.say("main", "Mia", f"line {number}", id=f"m{number}", at=1.0)
            room.host.on_message(said)

    room.run(fill())
    page = opened()
    page.shows("#chat > li", "line 600")
    texts = page.tab.locator("#chat .text").all_inner_texts()
    assert texts == [f"line {number}" for number in range(101, 601)]


def test_hostile_names_and_lines_are_text(opened, room):
    """No markup, no script, no turned direction; each is read as it was written."""
    for number, text in enumerate(HOSTILE):
        room.say(f"<i>{number}</i>", text, number)
    page = opened()
    page.tab.wait_for_selector("body.is-ready")
    page.tab.click("#wake")
    page.tab.locator("#chat > li.reply").nth(2).wait_for()
    page.tab.locator("#chat > li").nth(len(HOSTILE) + 2).wait_for()
    texts = page.tab.locator("#chat .text").all_inner_texts()
    assert texts[:3] == list(HOSTILE[:3])
    assert "⟨U+202E⟩" in texts[3]
    assert "⟨U+001B⟩" in texts[5]
    names = " ".join(page.tab.locator("#chat .who").all_inner_texts())
    assert "<i>0</i>" in names
    assert "<b>Bold</b>" in names
    assert page.tab.locator("#chat img, #chat b, #chat i, #chat script").count() == 0
    assert page.tab.title() == "callwise chat"
    assert page.problems == []


def test_without_a_token_the_page_asks_for_one(opened):
    """And for another one where it was wrong."""
    page = opened("")
    page.tab.fill("#token", "wrong-horse-battery")
    page.tab.click("#enter button")
    page.shows("#trouble", "the token is missing or wrong")
    page.tab.fill("#token", TOKEN)
    page.tab.click("#enter button")
    page.tab.wait_for_selector("body.is-ready")
    assert page.tab.locator("#enter").is_hidden()


def test_slow_motion_keeps_the_order_and_shows_everything(opened, room):
    """Lines wait for their stretched time, and come together when it is switched off."""
    page = opened()
    page.tab.wait_for_selector("body.is-ready")
    page.tab.clock.install()
    page.tab.select_option("#pace", "20")
    for number in range(5):
        room.say("Mia", f"line {number}", number)
    page.tab.select_option("#pace", "1")
    page.shows("#chat > li", "line 4")
    texts = page.tab.locator("#chat .text").all_inner_texts()
    assert texts == [f"line {number}" for number in range(5)]


def test_slow_motion_shows_one_request_after_another(opened, room):
    """Two that ended in one moment come in two steps."""
    page = opened()
    page.tab.wait_for_selector("body.is-ready")
    page.tab.clock.install()
    page.tab.select_option("#pace", "20")
    page.tab.click("#wake")
    counts = [0]
    for _ in range(10_000):
        if counts[-1] == 2:
            break
        page.tab.clock.run_for(3_000)
        counts.append(page.tab.locator("#requests li:not(.going)").count())
    assert sorted(set(counts)) == [0, 1, 2]
    assert page.problems == []
