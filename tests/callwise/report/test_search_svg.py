"""A search as a picture."""

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.report.search_svg import (
    BOX_HEIGHT,
    BOX_WIDTH,
    TreeBox,
    boxes_of,
    plain_line,
    search_svg,
)
from callwise.report.search_view import SearchView, SearchViewNode, read_search
from callwise.safe_text import cut_to_width, text_width

DRAWN = Path(__file__).parent / "search"
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


def _small() -> SearchView:
    return read_search(json.loads((DRAWN / "small.json").read_text(encoding="utf-8")))


def _saying(text: str) -> SearchView:
    small = _small()
    judged = small.nodes[1].judged.model_copy(update={"reason": text})
    changed = {"reply": text, "strategy_tag": text, "judged": judged}
    nodes = (node.model_copy(update=changed) for node in small.nodes)
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


def _tree(parents: list[int]) -> SearchView:
    """Return a tree in which node i + 1 hangs below node `parents[i]`."""
    nodes = [SearchViewNode(id="0", parent_id=None, reply="", is_start=True)]
    for place, parent in enumerate(parents, start=1):
        names = {"id": str(place), "parent_id": str(parent), "strategy_tag": f"way-{place}"}
        nodes.append(SearchViewNode(**names, reply="a reply"))
    return SearchView("listwise", tuple(nodes), "cap", 6, 4)


@st.composite
def trees(draw: st.DrawFn) -> SearchView:
    """Draw a tree of 1 to 40 candidates below a start."""
    count = draw(st.integers(1, 40))
    return _tree([draw(st.integers(0, place)) for place in range(count)])


def test_a_small_tree_is_drawn_as_kept():
    """The same tree gives the same bytes."""
    assert search_svg(_small()) == (DRAWN / "small.svg").read_text(encoding="utf-8")


def test_every_line_ends_within_its_box():
    """Also with checks and the judge's mean score next to the mean value: these have a line."""
    marked = {"judge_passes": 12, "visits": 12, "calls": 12.0, "checks": {"a": True, "b": False}}
    nodes = tuple(
        node.model_copy(update={} if node.is_start else marked) for node in _small().nodes
    )
    svg = ET.fromstring(search_svg(replace(_small(), nodes=nodes, policy="classic_uct")))  # noqa: S314
    texts = [text for group in svg.iter(f"{SVG}g") for text in group.findall(f"{SVG}text")]
    for text in texts:
        assert float(text.get("x")) + len(text.text or "") * 6.65 <= BOX_WIDTH, text.text
    assert any((text.text or "").startswith("1/2 ok  judge 0.") for text in texts)
    (height,) = {rect.get("height") for rect in svg.iter(f"{SVG}rect") if rect.get("rx") == "6"}
    assert float(height) == BOX_HEIGHT + 15


def test_it_is_read_in_light_and_in_dark():
    """By the reader's own setting, with every colour set in both."""
    style = ET.fromstring(search_svg(_small())).find(f"{SVG}style").text  # noqa: S314
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    paint = re.compile(r"(?:fill|stroke): #\w+")
    assert len(paint.findall(light)) == len(paint.findall(dark)) > 8
    assert not set(paint.findall(light)) & set(paint.findall(dark))


def test_the_answer_is_prominent_and_the_dropped_are_not():
    """One box is the best, one is dim, and one is the start."""
    svg = search_svg(_small())
    for mark in ("best", "dropped", "start"):
        assert svg.count(f'class="tw-node tw-{mark}"') == 1


def test_the_bar_shows_mean_and_deviation():
    """The mark is in the middle of a band two standard deviations wide."""
    group = next(
        group
        for group in ET.fromstring(search_svg(_small())).iter(f"{SVG}g")  # noqa: S314
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
    changed = {"mean_value": mean, "posterior_mean": mean, "posterior_sd": mean and 0.2}
    nodes = tuple(node.model_copy(update=changed) for node in small.nodes)
    top = ET.fromstring(search_svg(replace(small, nodes=nodes)))  # noqa: S314
    for group in top.iter(f"{SVG}g"):
        for rect in group.iter(f"{SVG}rect"):
            assert float(rect.get("width")) >= 0
            assert float(rect.get("x")) + float(rect.get("width")) <= BOX_WIDTH


def _check_text(text: str) -> None:
    svg = search_svg(_saying(text))
    top = ET.fromstring(svg)  # noqa: S314 - our own picture
    assert {element.tag for element in top.iter()} <= TAGS
    for line in [each for group in top.iter(f"{SVG}g") for each in group.iter(f"{SVG}text")]:
        assert text_width(line.text or "") <= 40
    plain = ET.fromstring(search_svg(_saying("x")))  # noqa: S314
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
    """With any text of a model, the picture has the same elements."""
    _check_text(text)


def test_the_whole_text_is_in_the_tooltip():
    """Text that is cut in the box is whole in its tooltip."""
    top = ET.fromstring(search_svg(_small()))  # noqa: S314
    tips = [group.findtext(f"{SVG}title", "") for group in top.iter(f"{SVG}g")]
    assert any("后来第一个客人问我普鲁斯特在哪一排。" in tip for tip in tips)
    assert any("judge: score 0.74, persona 0.80\n温暖，就是有点长" in tip for tip in tips)


def test_without_candidates_it_is_a_line():
    """Only the head line is drawn."""
    svg = search_svg(SearchView("auto", (), None, 0, 0))
    assert not _boxes(svg)
    assert ">under way: 0 calls, 0 rounds, 0 candidates<" in svg


def test_one_candidate_is_two_boxes():
    """It and the start."""
    assert len(_boxes(search_svg(_tree([0])))) == 2


@given(tree=trees(), is_top_down=st.booleans())
def test_boxes_never_touch(tree, is_top_down):
    """In trees of any shape, in both directions."""
    corners = _boxes(search_svg(tree, is_top_down=is_top_down))
    assert len(corners) == len(tree.nodes)
    _check_apart(corners)


@pytest.mark.parametrize("is_top_down", [False, True])
@pytest.mark.parametrize("spread", [1, 2, 7, 300])
def test_300_boxes_never_touch(spread, is_top_down):
    """From a chain of 300 to 300 in a row."""
    tree = _tree([place // spread for place in range(300)])
    _check_apart(_boxes(search_svg(tree, is_top_down=is_top_down)))


def test_the_head_names_the_search_and_its_model():
    """A title, and that the model was simulated."""
    svg = search_svg(_small(), title="turn 5", is_simulated=True)
    assert ">turn 5  cap: 4 calls, 4 rounds, 4 candidates; chance" in svg
    assert "simulated: no real model answered<" in svg


EDGES = [("top", None), ("a", "top"), ("b", "top"), ("a1", "a"), ("a2", "a")]


def _drawn(*, is_top_down: bool) -> dict[str, TreeBox]:
    return boxes_of(EDGES, size=(100, 20), gaps=(30, 5), origin=(7, 9), is_top_down=is_top_down)


def test_leaves_take_slots_and_parents_stand_in_the_middle():
    """Depth grows to the right."""
    boxes = _drawn(is_top_down=False)
    assert [boxes[name].x for name in ("top", "a", "a1", "b")] == [7, 137, 267, 137]
    assert [boxes[name].y for name in ("a1", "a2", "b")] == [9, 34, 59]
    assert boxes["a"].y == (9 + 34) / 2
    assert boxes["top"].y == (boxes["a"].y + boxes["b"].y) / 2


def test_it_can_grow_downwards():
    """Then depth is y, and leaves stand side by side."""
    boxes = _drawn(is_top_down=True)
    assert [boxes[name].y for name in ("top", "a", "a1")] == [9, 59, 109]
    assert [boxes[name].x for name in ("a1", "a2", "b")] == [7, 112, 217]


def test_no_nodes_have_no_boxes():
    """An empty tree is no error."""
    assert boxes_of([], size=(1, 1), gaps=(1, 1), origin=(0, 0), is_top_down=False) == {}


def test_depth_is_no_danger():
    """A chain far deeper than Python's stack has its boxes."""
    chain = [(str(place), str(place - 1) if place else None) for place in range(5000)]
    boxes = boxes_of(chain, size=(1, 1), gaps=(1, 1), origin=(0, 0), is_top_down=False)
    assert boxes["4999"] == TreeBox(9998.0, 0.0, 1, 1)


@pytest.mark.parametrize(
    ("text", "columns"),
    [("", 0), ("plain", 5), ("普鲁斯特", 8), ("Ａ", 2), ("e\u0301", 1), ("😀", 2), ("한국", 4)],
)
def test_wide_characters_take_two_columns(text, columns):
    """And marks on another character take none."""
    assert text_width(text) == columns


@pytest.mark.parametrize(
    ("text", "cut"),
    [("short", "short"), ("exactly 10", "exactly 10"), ("more than 10", "more than…")],
)
def test_what_does_not_fit_is_cut(text, cut):
    """The ellipsis takes one column."""
    assert cut_to_width(text, 10) == cut


def test_a_wide_character_is_not_halved():
    """Where one column is left for it, it goes."""
    assert cut_to_width("普鲁斯特普鲁斯特", 8) == "普鲁斯…"


@given(text=st.text(), max_columns=st.integers(1, 60))
def test_nothing_is_wider_than_asked(text, max_columns):
    """Nor longer than four characters a column, marks included."""
    cut = cut_to_width(text, max_columns)
    assert text_width(cut) <= max_columns
    assert len(cut) <= 4 * max_columns + 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\nlines\r\n\tand more", "two lines and more"),
        ("\x1b[2Jcleared \x9b31m", "[2Jcleared 31m"),
        ("\u202egnp.exe\u202c \u2066x\u2069", "gnp.exe x"),
        ("half \ud83d a pair", "half \ufffd a pair"),
        ("not a char \ufffe", "not a char \ufffd"),
        ("family 👩‍👧 stays", "family 👩‍👧 stays"),
        ("line\u2028separator", "line separator"),
        ("شكرا", "شكرا"),
        ("", ""),
    ],
)
def test_a_shown_line_holds_nothing_that_is_obeyed(text, line):
    """Control characters and turns of direction go, letters of any script stay."""
    assert plain_line(text) == line


def test_a_long_line_is_cut():
    """With an ellipsis in the last place."""
    assert plain_line("one two three", 7) == "one tw…"
    assert plain_line("one two", 7) == "one two"
