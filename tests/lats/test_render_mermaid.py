"""A search as a Mermaid flowchart."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.render_mermaid import render_mermaid
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.shown import ShownTree, shown_from_json

DRAWN = Path(__file__).parent / "drawn"

NODE = re.compile(r'  n\d+\["([^"]*)"\](:::(best|dropped|start))?')

HOSTILE = (
    '"] --> x; click n0 href "javascript:alert(1)"',
    "%%{init: {'securityLevel': 'loose'}}%%",
    "<script>alert(1)</script>&lt;b&gt;",
    "```\n# out of the fence",
    "end\nsubgraph x\n---\ntitle: y\n---",
    "#quot;#60;img src=x onerror=alert(1)#62;",
    "`markdown **strong** $$katex$$`",
    "https://example.org fa:fa-ban 1. one - two",
)


def _small() -> ShownTree:
    return shown_from_json(json.loads((DRAWN / "small.json").read_text(encoding="utf-8")))


def _saying(text: str) -> ShownTree:
    small = _small()
    nodes = (replace(node, reply=text, strategy_tag=text, reason=text) for node in small.nodes)
    return replace(small, nodes=tuple(nodes))


def test_a_small_tree_is_drawn_as_kept():
    """Boxes, edges and colours; ids are ours."""
    assert render_mermaid(_small()) == (DRAWN / "small.mmd").read_text(encoding="utf-8")


def test_it_can_grow_downwards():
    """With nothing else changed."""
    down = render_mermaid(_small(), is_top_down=True).splitlines()
    assert down[0] == "flowchart TD"
    assert down[1:] == render_mermaid(_small()).splitlines()[1:]


def test_a_search_without_candidates_is_one_box():
    """It says so."""
    drawn = render_mermaid(PosteriorSearch(SearchKnobs(policy="auto")).result())
    assert drawn.splitlines()[-1] == '  none["under way: 0 calls, 0 rounds, 0 candidates"]'


def _check(text: str) -> None:
    tree = _saying(text)
    lines = render_mermaid(tree, max_chars=200).splitlines()
    labels = [NODE.fullmatch(line) for line in lines[2 : 2 + len(tree.nodes)]]
    assert all(labels)
    for label in labels:
        bare = re.sub(r"#\d+;|<br/>", " ", label.group(1)).replace("judge: ", "")
        assert not set(bare) & set('"#<>&`{}[]|%$:/\\*_~@^=;-')
        assert not re.search(r"\d\.\s", bare)
    count = len(tree.nodes)
    assert all(re.fullmatch(r"  n\d+ --> n\d+", line) for line in lines[2 + count : 1 + 2 * count])
    assert len(lines) == 2 + count + (count - 1) + 3


@pytest.mark.parametrize("text", HOSTILE)
def test_known_attacks_stay_text(text):
    """Not one mark that Mermaid, HTML or Markdown would read is left of them."""
    _check(text)


@given(text=st.text())
def test_no_text_is_markup(text):
    """Every mark but a few harmless ones is written as a number."""
    _check(text)


def test_a_label_needs_room_for_a_character():
    """Cutting to nothing is refused."""
    with pytest.raises(ValueError, match="max_chars is at least 1, got 0"):
        render_mermaid(_small(), max_chars=0)
