"""Draw the first screen of a report page, for the README: `python docs/figures/make.py --page`.

The page compares two simulated runs of a shipped conversation. The picture depends on the browser
and its fonts, so nothing checks its bytes.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from callwise.report.page import write_page

__all__ = ["draw_page"]

TALK = Path(__file__).resolve().parents[2] / "configs" / "conversations" / "en_moving_city.jsonl"
CALLWISE = Path(sys.executable).with_name("callwise")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1400, 760
COLOURS = 128
MAX_BYTES = 150_000


def _reduce_colours(picture: Path) -> None:
    """Write a picture again with a palette, which takes a third of the bytes."""
    with Image.open(picture) as image:
        reduced = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    reduced.save(picture, optimize=True)


def draw_page(target: Path) -> None:
    """Write the picture; exits with a sentence where there is no browser."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only this step needs it
    except ImportError:
        sys.exit("the picture of the page needs playwright: pip install playwright")
    if executable is None:
        sys.exit(f"the picture of the page needs a browser: none of {', '.join(BROWSERS)} is here")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        runs = [Path(name) / preset for preset in ("classic", "balanced")]
        for run in runs:
            subprocess.run(  # noqa: S603 - our own command
                [str(CALLWISE), "replay", str(TALK), "--preset", run.name, "--out", str(run)],
                check=True,
                capture_output=True,
            )
        written = write_page(runs[0], Path(name) / "page.html", against=runs[1])
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(written.file.as_uri())
        page.wait_for_selector("body.is-ready")
        page.screenshot(path=target)
        browser.close()
    _reduce_colours(target)
    size = target.stat().st_size
    if size > MAX_BYTES:
        sys.exit(f"{target.name} has {size:,} bytes, more than {MAX_BYTES:,}; lower its HEIGHT")
