"""Figures as files."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from callwise.calls.errors import ConfigError
from callwise.tuning.figures import (
    FigureData,
    calls_by_node_of,
    figure_bytes,
    tradeoff_of,
    write_figure,
)
from callwise.tuning.figures.figure_files import sweep_figures


@pytest.mark.parametrize(
    "form", ["svg", "png", "pdf", pytest.param("html", marks=pytest.mark.slow)]
)
def test_equal_data_give_equal_bytes(row, form) -> None:
    """No date, no version, no random id."""
    found = tradeoff_of(
        [row("a"), row("b", quality=0.7)],
        quality={"a": (0.5, 0.4, 0.6)},
        chance_on_front={"a": 0.2},
    )
    assert len({figure_bytes(found, form) for _ in range(3)}) == 1


def test_an_svg_contains_hostile_text_as_text(hostile) -> None:
    """It is well-formed, and has no script, no link and no element of the text's own."""
    root = ET.fromstring(figure_bytes(hostile, "svg"))  # noqa: S314 - our own
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not names & {"b", "script", "a", "foreignObject", "image"}
    assert any("<b>$" in text for text in root.itertext())


@pytest.mark.slow
def test_a_name_does_not_end_the_script_of_a_page(row) -> None:
    """The page has its own two scripts, and asks for nothing."""
    found = tradeoff_of([row("</script><script>alert(1)</script>")])
    page = figure_bytes(found, "html").decode()
    assert page.count("</script>") == 2
    assert "alert(1)" in page
    assert "<script src" not in page


def test_a_letter_without_a_font_is_drawn(row) -> None:
    """An SVG contains it as text; where no font has it, a PNG has a box."""
    found = tradeoff_of([row("你好，今天怎么样")])
    assert "你好，今天怎么样" in figure_bytes(found, "svg").decode()
    assert figure_bytes(found, "png").startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_page_shows_names_as_text_and_asks_for_nothing(hostile, opened) -> None:
    """Its own script draws it without a network, and without a warning."""
    tab, noticed = opened(hostile)
    assert "<b>$" in tab.inner_text("#figure")
    assert tab.locator("#figure b").count() == 0
    assert noticed == []


@pytest.mark.slow
def test_a_pointer_over_a_bar_shows_its_figures(row, opened) -> None:
    """Names are text there, too."""
    rows = [row("<b>x</b>", asked_by_node={"<i>node</i>": 3})]
    tab, _ = opened(calls_by_node_of(rows))
    tab.locator("#figure .mark-rect path").first.hover(force=True)
    tab.wait_for_selector("#vg-tooltip-element.visible")
    words = tab.inner_text("#vg-tooltip-element")
    assert all(part in words for part in ("<b>x</b>", "<i>node</i>", "3.00"))
    assert tab.locator("#vg-tooltip-element :is(b, i)").count() == 0


@pytest.fixture
def opened(browser, tmp_path) -> Callable[[FigureData], tuple[Any, list[str]]]:
    """Return a function that opens a figure's page: the tab, and its problems and requests."""

    def show(found: FigureData) -> tuple[Any, list[str]]:
        path = tmp_path / "figure.html"
        write_figure(found, path)
        noticed: list[str] = []
        tab = browser.new_page()
        tab.set_default_timeout(120_000)  # milliseconds, for a busy machine
        tab.on("pageerror", lambda error: noticed.append(str(error)))
        tab.on("console", lambda message: noticed.append(message.text))
        tab.on("request", lambda request: noticed.append(request.url))
        tab.goto(path.as_uri())
        tab.wait_for_selector("#figure svg")
        noticed.remove(path.as_uri())
        return tab, noticed

    return show


def test_a_figure_is_written_to_its_path(row, tmp_path) -> None:
    """The form follows from the name."""
    path = tmp_path / "figure.SVG"
    write_figure(tradeoff_of([row("a")]), path)
    assert path.read_bytes().startswith(b"<svg")


def test_what_cannot_be_written_is_named(row, tmp_path) -> None:
    """Another form, a folder that is not there: clear, and nothing is left behind."""
    found = tradeoff_of([row("a")])
    with pytest.raises(ConfigError, match=r"svg, png, pdf, html; got 'gif'"):
        write_figure(found, tmp_path / "figure.gif")
    with pytest.raises(ConfigError, match=r"got ''"):
        write_figure(found, tmp_path / "figure")
    with pytest.raises(ConfigError, match=r"cannot be written"):
        write_figure(found, tmp_path / "none" / "figure.svg")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_names_the_extra(monkeypatch) -> None:
    """The error contains the command that installs it."""
    monkeypatch.delitem(sys.modules, "vl_convert", raising=False)
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(ConfigError, match=r"vl_convert, .* pip install '\.\[tune\]'"):
        figure_bytes(tradeoff_of([]), "svg")


def test_the_package_loads_no_heavy_library() -> None:
    """Records and specifications need none of them."""
    code = (
        "import sys, callwise.tuning.figures as f; f.to_vega(f.tradeoff_of([]));"
        "print([n for n in ('vl_convert', 'altair', 'PIL', 'pandas') if n in sys.modules])"
    )
    ran = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


def test_a_cost_that_orders_no_setting_is_not_drawn(row) -> None:
    """Every setting waits for as many rounds; calls differ."""
    rows = [
        row(name, asked=asked, rounds_reply=3, conversation=f"c{at}", quality=0.5)
        for name, asked in (("a", 4), ("b", 8))
        for at in range(6)
    ]
    drawn = set(sweep_figures(rows, margin_share=0.01))
    assert "quality_by_calls" in drawn
    assert "quality_by_rounds" not in drawn
    longer = [replace(each, rounds_reply=4) if each.setting == "b" else each for each in rows]
    assert "quality_by_rounds" in sweep_figures(longer, margin_share=0.01)
