"""Figures as files."""

from xml.etree import ElementTree as ET

import matplotlib as mpl
import pytest

from turnwise.calls.errors import ConfigError
from turnwise.tune.figures import to_matplotlib, tradeoff_of, write_figure
from turnwise.tune.figures.file import figure_bytes


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_equal_data_give_equal_bytes(row, form) -> None:
    """No date, no version, no random id; the reader's own style does not get in."""
    found = tradeoff_of([row("a"), row("b", quality=0.7)])
    first = figure_bytes(to_matplotlib(found), form)
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": None, "axes.grid": True}):
        assert figure_bytes(to_matplotlib(found), form) == first
    assert mpl.__version__.encode() not in first


def test_an_svg_holds_hostile_text_as_text(hostile) -> None:
    """It is well-formed, and has no script, no link and no element of the text's own."""
    root = ET.fromstring(figure_bytes(to_matplotlib(hostile), "svg"))  # noqa: S314 - our own
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not names & {"b", "script", "a", "foreignObject"}
    assert any("<b>$" in text for text in root.itertext())


def test_a_figure_is_written_where_it_is_told(row, tmp_path) -> None:
    """The form follows from the name."""
    path = tmp_path / "figure.SVG"
    write_figure(to_matplotlib(tradeoff_of([row("a")])), path)
    assert path.read_bytes().startswith(b"<?xml")


def test_what_cannot_be_written_is_named(row, tmp_path) -> None:
    """Another form, a folder that is not there: clear, and nothing is left behind."""
    figure = to_matplotlib(tradeoff_of([row("a")]))
    with pytest.raises(ConfigError, match=r"svg, png, pdf; got 'gif'"):
        write_figure(figure, tmp_path / "figure.gif")
    with pytest.raises(ConfigError, match=r"got ''"):
        write_figure(figure, tmp_path / "figure")
    with pytest.raises(ConfigError, match=r"cannot be written"):
        write_figure(figure, tmp_path / "none" / "figure.svg")
    assert list(tmp_path.iterdir()) == []
