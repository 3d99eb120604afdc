"""A search as a picture."""

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.render_svg import BOX_HEIGHT, BOX_WIDTH, render_svg
from lats.result import StopReason
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.shown import ShownNode, ShownTree, shown_from_json
from lats.text_width import columns_of

DRAWN = Path(__file__).parent / "drawn"
SVG = "{http://www.w3.org/2000/svg}"
TAGS = {f"{SVG}{name}" for name in ("svg", "title", "style", "rect", "text", "g", "path")}

HOSTILE = (
    "</text></svg><script>alert(1)</script>",
    "]]><!-- --><!DOCTYPE x [<!ENTITY a 'b'>]>&a;",
    "\x00\x0b\x1b[31m\ud800\ufffe\n\r",
    "\u202egnp.exe \u2066 \u200f مرحبا",
    "好" * 5000,
    "Z" + "\u0308" * 5000,
)


def _small() -> ShownTree:
    return shown_from_json(json.loads((DRAWN / "small.json").read_text(encoding="utf-8")))


def _saying(text: str) -> ShownTree:
    small = _small()
    nodes = (replace(node, reply=text, strategy_tag=text, reason=text) for node in small.nodes)
    return replace(small, nodes=tuple(nodes))


def _boxes(svg: str) -> list[tuple[float, float]]:
    """Return the left upper corner of every box, and check that they lie in the picture."""
    top = ET.fromstring(svg)  # noqa: S314 - our own picture
    corners = []
    for group in top.iter(f"{SVG}g"):
        x, y = map(float, re.findall(r"[-\d.]+", group.get("transform")))
        assert 0 <= x <= float(top.get("width")) - BOX_WIDTH
        assert 0 <= y <= float(top.get("height")) - BOX_HEIGHT
        corners.append((x, y))
    return corners


def _check_apart(corners: list[tuple[float, float]]) -> None:
    """Check that no two boxes touch."""
    ordered = sorted(corners)
    for place, (x, y) in enumerate(ordered):
        for other_x, other_y in ordered[place + 1 :]:
            if other_x > x + BOX_WIDTH:
                break
            assert abs(other_y - y) > BOX_HEIGHT or other_x - x > BOX_WIDTH


def _tree(parents: list[int]) -> ShownTree:
    """Return a tree in which node i + 1 hangs below node `parents[i]`."""
    nodes = [ShownNode("0", None, 0, "", "", is_start=True)]
    for place, parent in enumerate(parents, start=1):
        nodes.append(ShownNode(str(place), str(parent), 1, f"way-{place}", "a reply"))
    return ShownTree("posterior", tuple(nodes), StopReason.CAP, 6, 4)


@st.composite
def trees(draw: st.DrawFn) -> ShownTree:
    """Draw a tree of 1 to 40 candidates below a start."""
    count = draw(st.integers(1, 40))
    return _tree([draw(st.integers(0, place)) for place in range(count)])


def test_a_small_tree_is_drawn_as_kept():
    """The same tree gives the same bytes."""
    assert render_svg(_small()) == (DRAWN / "small.svg").read_text(encoding="utf-8")


def test_it_is_read_in_light_and_in_dark():
    """By the reader's own setting, with every colour set in both."""
    style = ET.fromstring(render_svg(_small())).find(f"{SVG}style").text  # noqa: S314
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    paint = re.compile(r"(?:fill|stroke): #\w+")
    assert len(paint.findall(light)) == len(paint.findall(dark)) > 8
    assert not set(paint.findall(light)) & set(paint.findall(dark))


def test_the_answer_stands_out_and_the_dropped_do_not():
    """One box is the best, one is dim, and one is the start."""
    svg = render_svg(_small())
    for mark in ("best", "dropped", "start"):
        assert svg.count(f'class="tw-node tw-{mark}"') == 1


def test_the_bar_shows_mean_and_deviation():
    """The mark stands in the middle of a band two standard deviations wide."""
    group = next(
        group
        for group in ET.fromstring(render_svg(_small())).iter(f"{SVG}g")  # noqa: S314
        if "tw-best" in group.get("class")
    )
    bars = {rect.get("class"): rect for rect in group.iter(f"{SVG}rect")}
    band, mean = bars["tw-band"], bars["tw-mean"]
    assert float(band.get("width")) == pytest.approx(2 * 0.09 * 128, abs=0.1)
    middle = float(band.get("x")) + float(band.get("width")) / 2
    assert float(mean.get("x")) + 1.5 == pytest.approx(middle, abs=0.2)


@pytest.mark.parametrize("mean", [-0.4, 0.0, 0.02, 0.99, 1.3, None])
def test_a_belief_beyond_the_scale_stays_in_its_box(mean):
    """Removing a call's drift can put a mean outside of [0, 1]."""
    small = _small()
    nodes = tuple(replace(node, mean_value=mean, sd=mean and 0.2) for node in small.nodes)
    top = ET.fromstring(render_svg(replace(small, nodes=nodes)))  # noqa: S314
    for group in top.iter(f"{SVG}g"):
        for rect in group.iter(f"{SVG}rect"):
            assert float(rect.get("width")) >= 0
            assert float(rect.get("x")) + float(rect.get("width")) <= BOX_WIDTH


def _check_text(text: str) -> None:
    svg = render_svg(_saying(text))
    top = ET.fromstring(svg)  # noqa: S314 - our own picture
    assert {element.tag for element in top.iter()} <= TAGS
    for line in [each for group in top.iter(f"{SVG}g") for each in group.iter(f"{SVG}text")]:
        assert columns_of(line.text or "") <= 40
    plain = ET.fromstring(render_svg(_saying("x")))  # noqa: S314
    names = [(element.tag, sorted(element.keys())) for element in plain.iter() if element.tag]
    assert [(e.tag, sorted(e.keys())) for e in top.iter() if e.tag != f"{SVG}title"] == [
        name for name in names if name[0] != f"{SVG}title"
    ]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text(text):
    """It can be parsed, has the same elements as any other, and fits into its box."""
    _check_text(text)


@given(text=st.text())
def test_no_text_is_markup(text):
    """Whatever a model wrote, the picture has the elements that it always has."""
    _check_text(text)


def test_the_whole_text_is_in_the_tooltip():
    """What is cut in the box can be read over it."""
    top = ET.fromstring(render_svg(_small()))  # noqa: S314
    tips = [group.findtext(f"{SVG}title", "") for group in top.iter(f"{SVG}g")]
    assert any("后来第一个客人问我普鲁斯特在哪一排。" in tip for tip in tips)
    assert any("judge: score 0.74, persona 0.80\n温暖，就是有点长" in tip for tip in tips)


def test_without_candidates_it_is_a_line():
    """There is nothing to draw but what the search says of itself."""
    svg = render_svg(PosteriorSearch(SearchKnobs(policy="auto")).result())
    assert not _boxes(svg)
    assert ">under way: 0 calls, 0 rounds, 0 candidates<" in svg


def test_one_candidate_is_two_boxes():
    """It and the start."""
    assert len(_boxes(render_svg(_tree([0])))) == 2


@given(tree=trees(), is_top_down=st.booleans())
def test_boxes_never_touch(tree, is_top_down):
    """In trees of any shape, in both directions."""
    corners = _boxes(render_svg(tree, is_top_down=is_top_down))
    assert len(corners) == len(tree.nodes)
    _check_apart(corners)


@pytest.mark.parametrize("is_top_down", [False, True])
@pytest.mark.parametrize("spread", [1, 2, 7, 300])
def test_300_boxes_never_touch(spread, is_top_down):
    """From a chain of 300 to 300 in a row."""
    tree = _tree([place // spread for place in range(300)])
    _check_apart(_boxes(render_svg(tree, is_top_down=is_top_down)))


def test_a_searched_tree_is_drawn(play, moves_model):
    """A live result is drawn as its records are."""
    search = PosteriorSearch(SearchKnobs(policy="halving", max_calls=16))
    result = play(search, moves_model())[0].result()
    corners = _boxes(render_svg(result))
    assert len(corners) == len(result.tree) + 1
    _check_apart(corners)
