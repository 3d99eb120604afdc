"""Size of a run's page, and the time to write and to open it.

Recorded user turns are replayed on the simulated model and written as a page, with the prompts
and answers of all calls. Simulated texts repeat themselves and pack well, so each run is measured
once more with every candidate and every judge's reason replaced by as long a slice of what people
wrote, in the turns and in all prompts and answers that quote them.
"""

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Measured
from callwise.recordings.cassette_inspection import readable_exchanges
from callwise.recordings.shared_lines import whole_prompt
from callwise.report.page import WrittenPage, write_page

__all__ = ["measure"]

COMMAND = Path(sys.executable).with_name("callwise")
ROOT = Path(__file__).resolve().parents[1]
PRESETS = ("classic", "thorough")
TURNS = 600
"""Sizes are given for as many turns, in proportion."""
MAX_MEGABYTES = 3.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def _replayed(preset: str, source: Path, folder: Path) -> Path:
    """Return the folder of one replay."""
    out = folder / preset
    subprocess.run(  # noqa: S603 - our own command
        [str(COMMAND), "replay", str(source), "--preset", preset, "--out", str(out)],
        check=True,
        capture_output=True,
    )
    return out


def _slice(words: str, length: int, rng: random.Random) -> str:
    start = rng.randrange(max(1, len(words) - length))
    return words[start : start + length]


def _with_real_words(run: Path, source: Path, out: Path) -> Path:
    """Return a copy of a run whose search speaks in slices of recorded texts."""
    out.mkdir()
    for name in ("manifest.json", "ledger.jsonl"):
        shutil.copy(run / name, out / name)
    recorded = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    words = "".join(f"{line['user_text']}{line.get('bot_text', '')}" for line in recorded)
    words = words.translate({ord(mark): " " for mark in '"\\\n\r\t'})
    rng = random.Random(0)
    slices: dict[str, dict[str, str]] = defaultdict(dict)
    """Text of each simulated one, by conversation."""

    def replaced(conversation: str, text: str) -> str:
        return slices[conversation].setdefault(text, _slice(words, len(text), rng))

    with (out / "turns.jsonl").open("w", encoding="utf-8") as stream:
        for line in (run / "turns.jsonl").read_text(encoding="utf-8").splitlines():
            turn: dict[str, Any] = json.loads(line)
            for candidate in turn["search"]["candidates"]:
                candidate["reply"] = replaced(turn["conversation_id"], candidate["reply"])
                judged = candidate.get("judged") or {}
                if judged.get("reason"):
                    judged["reason"] = replaced(turn["conversation_id"], judged["reason"])
            stream.write(json.dumps(turn, ensure_ascii=False) + "\n")
    shared: dict[str, dict[str, Any]] = {}
    with (out / "cassette.jsonl").open("w", encoding="utf-8") as stream:
        for exchange in readable_exchanges(run / "cassette.jsonl", shared=shared):
            line = json.dumps(whole_prompt(exchange, shared.__getitem__), ensure_ascii=False)
            for simulated, text in slices[str(exchange.get("conversation"))].items():
                line = line.replace(simulated, text)
            stream.write(line + "\n")
    return out


def _figure(
    what: str,
    run: Path,
    file: Path,
    against: Path | None = None,
    *,
    limit: float | None = MAX_MEGABYTES,
) -> Figure:
    started = time.perf_counter()
    written: WrittenPage = write_page(run, file, against=against)
    seconds = time.perf_counter() - started
    megabytes = written.size_bytes / 1e6 * TURNS / written.turns
    name = f"report page, {what}: MB for {TURNS} turns; seconds to write {written.turns}"
    value = f"{megabytes:.2f}; {seconds:.1f}"
    if limit is None:
        return Figure(name, value)
    return Figure(name, value, f"<= {limit:g} MB", megabytes <= limit)


def _opening(file: Path) -> list[Figure]:
    """Return how long a browser takes to open a page; nothing where there is none."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return []
    if executable is None:
        return []
    seconds = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        for _ in range(5):
            page = browser.new_page()
            started = time.perf_counter()
            page.goto(file.as_uri())
            page.wait_for_selector("body.is-ready")
            seconds.append(time.perf_counter() - started)
            page.close()
        browser.close()
    what = "report page, `thorough`: seconds from opening to a list of all turns (Chromium, p50)"
    return [Figure(what, f"{statistics.median(seconds):.2f}")]


def measure() -> Measured:
    """Return size and seconds of the pages of recorded turns."""
    data = Path(os.environ.get("CALLWISE_DATA", ROOT / "../shared/data"))
    source = data / "sample_memorybank_cn" / "turns.jsonl"
    if not source.is_file():
        return Measured("report_page", skipped=f"no recorded conversations at {source.parent.name}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        classic, thorough = (_replayed(preset, source, folder) for preset in PRESETS)
        file = folder / "page.html"
        reals = [
            _with_real_words(run, source, folder / f"real-{run.name}")
            for run in (classic, thorough)
        ]
        figures = [
            _figure("`classic`", classic, file),
            _figure("`classic` in people's words", reals[0], file),
            _figure("`thorough` in people's words", reals[1], file),
            _figure("`classic` next to `thorough`", classic, file, thorough, limit=None),
            _figure("`thorough`", thorough, file),
            *_opening(file),
        ]
    return Measured("report_page", figures)


if __name__ == "__main__":
    for figure in measure().figures:
        print(figure)
