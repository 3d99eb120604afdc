"""Runs to make pages of, a page's data read back, and a browser to open pages in."""

import base64
import gzip
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

RunMaker = Callable[..., Path]

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

PLAN: dict[str, Any] = {
    "scenarios": {
        "default": {
            "asked": 3,
            "requests": 3,
            "by_role": {"main": 2, "fast": 1},
            "by_node": {"detection": 1, "lats_search": 2},
            "by_purpose": {"detect": 1, "expand": 1, "judge": 1},
            "rounds": {"reply": 3, "turn": 3},
            "tokens": {"input": 300, "output": 30},
        },
        "worst": {"asked": 4, "by_role": {"main": 3, "fast": 1}},
    }
}


def _call(conversation: str, turn: int, place: int, **fields: Any) -> dict[str, Any]:
    nodes = ("detection", "lats_search", "lats_search")
    purposes = ("detect", "expand", "judge")
    return {
        "sequence": place + 1,
        "scope": f"run/conv:{conversation}/turn:{turn}/node:{nodes[place % 3]}",
        "conversation": conversation,
        "turn": str(turn),
        "node": nodes[place % 3],
        "role": ("fast", "main", "judge")[place % 3],
        "purpose": purposes[place % 3],
        "outcome": "served",
        "attempts": 1,
        "requests": 1,
        "input_tokens": 100 + place,
        "output_tokens": 10,
        "usd": 0.25,
        "work_seconds": 1.5,
        "path_seconds": 1.5,
        "end_round": place + 1,
        "key": f"{turn:032x}{place:032x}",
        "model": "simulated",
        **fields,
    }


def _turn(conversation: str, turn: int) -> dict[str, Any]:
    return {
        "conversation_id": conversation,
        "turn": turn,
        "time": "2026-01-02",
        "user_text": f"What about {turn}?",
        "reply": f"It is {turn}.",
        "mode": "normal",
        "rounds": {"reply": 3, "turn": 3},
        "path_seconds": {"reply": 4.5, "turn": 4.5},
        "search": {
            "stop_reason": "cap",
            "best_id": "b",
            "tree": [
                {"id": "a", "parent_id": None, "reply": "First.", "strategy_tag": "plain",
                 "posterior_mean": 0.4, "posterior_sd": 0.1,
                 "judged": {"score": 0.4, "reason": "a little flat"}},
                {"id": "b", "parent_id": "a", "reply": f"It is {turn}.", "strategy_tag": "warm",
                 "posterior_mean": 0.0, "judged": {"score": 0.8, "reason": "glad and honest"}},
            ],
        },
        "simulated": True,
    }  # fmt: skip


@pytest.fixture
def make_run(tmp_path: Path) -> RunMaker:
    """Return a function that writes a run's folder.

    `turns` are fields a turn, which may hold `calls`, fields a call; the conversation of a
    turn is its `conversation_id`, or `one`.
    """

    def write(
        name: str = "run", turns: Any = ({}, {}), manifest: dict[str, Any] | None = None
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        lines, rows = [], []
        for number, given in enumerate(turns):
            fields = dict(given)
            calls = fields.pop("calls", ({}, {}, {}))
            conversation = fields.get("conversation_id", "one")
            line = {**_turn(conversation, fields.get("turn", number)), **fields}
            lines.append(line)
            rows += [
                _call(conversation, line["turn"], place, **call) for place, call in enumerate(calls)
            ]
        document = {
            "callwise_run": 1,
            "simulated": True,
            "plan": PLAN,
            "knobs": {"preset": "toy", "search": {"rollouts": 4}},
            **(manifest or {}),
        }
        (folder / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
        for file, written in (("turns", lines), ("ledger", rows)):
            text = "".join(json.dumps(each) + "\n" for each in written)
            (folder / f"{file}.jsonl").write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.fixture
def data_of() -> Callable[[str], dict[str, Any]]:
    """Return a function that unpacks the data of a page, as its script does."""

    def unpack(html: str) -> dict[str, Any]:
        block = re.search(
            r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL
        )
        assert block
        document = json.loads(gzip.decompress(base64.b64decode(json.loads(block[1])["data"])))
        assert isinstance(document, dict)
        return document

    return unpack


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
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
    """A page in the browser, and what it did on its own."""

    tab: Any
    problems: list[str] = field(default_factory=list)
    """Errors and warnings of the console, and uncaught errors."""
    requests: list[str] = field(default_factory=list)
    """Addresses that it asked for, its own file aside."""


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Opened]]:
    """Return a function that opens a file from disk as a phone or a desk would."""
    contexts = []

    def open_(file: Path, width: int = 1280, scheme: str = "light", anchor: str = "") -> Opened:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
        )
        context.set_default_timeout(120_000)  # milliseconds, for a busy machine
        contexts.append(context)
        page = Opened(context.new_page())
        address = file.as_uri()
        page.tab.on("console", lambda said: page.problems.append(f"{said.type}: {said.text}"))
        page.tab.on("pageerror", lambda error: page.problems.append(str(error)))
        page.tab.on(
            "request",
            lambda sent: sent.url.startswith(address) or page.requests.append(sent.url),
        )
        page.tab.goto(address + anchor)
        page.tab.wait_for_selector("body.is-ready")
        return page

    yield open_
    for context in contexts:
        context.close()
