"""What all figures on paper share: the style, the frame, the caption, harmless text.

Nothing of the reader's own matplotlib settings gets in, so equal data give equal bytes on
any machine; and `text.usetex` stays off, with which text of outside would be run as TeX.
"""

import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from turnwise.tune.figures.heavy import loaded
from turnwise.tune.figures.palette import GRID, INK, PAPER, SOFT
from turnwise.tune.figures.shown_text import for_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["blank", "finished", "house_style", "legend_beside", "said_instead"]

_STYLE: dict[str, Any] = {
    "text.usetex": False,
    "text.parse_math": True,
    "svg.hashsalt": "turnwise",
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "savefig.bbox": None,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "legend.labelspacing": 0.85,
    "hatch.linewidth": 0.7,
}
_MAX_TITLE_CHARS = 60
_CAPTION_SIZE = 7.5
_CAPTION_CHARS_PER_INCH = 17.0
_MAX_CAPTION_CHARS = 700
_EAST_ASIAN = ("Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "PingFang SC",
               "Microsoft YaHei", "SimHei", "Arial Unicode MS")  # fmt: skip


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and write in our style, whatever the reader's settings are.

    Raises:
        ConfigError: when matplotlib is not installed.
    """
    style = loaded("matplotlib.style")
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # A letter that no font here has becomes a box; an SVG's reader may have it.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield


def blank(width_inches: float, height_inches: float) -> "tuple[Figure, Axes]":
    """Return an empty figure with one pair of axes. Belongs in `house_style`."""
    figure = loaded("matplotlib.figure").Figure(
        figsize=(width_inches, height_inches), layout="constrained", dpi=100
    )
    return figure, figure.add_subplot()


def finished(figure: "Figure", title: str, caption: str, *, is_simulated: bool) -> "Figure":
    """Return the figure with title, caption and, where it is due, the word `simulated`."""
    mark = "  (simulated)" if is_simulated else ""
    words = for_matplotlib(title, _MAX_TITLE_CHARS) + mark
    figure.suptitle(words, x=0.012, ha="left", fontsize=11, fontweight="bold")
    width = int(figure.get_figwidth() * _CAPTION_CHARS_PER_INCH)
    lines = textwrap.wrap(caption[:_MAX_CAPTION_CHARS], width)
    # Line by line: a mark that keeps a dollar harmless must not be torn from it.
    words = "\n".join(for_matplotlib(line, 2 * width) for line in lines)
    figure.supxlabel(words, x=0.012, ha="left", fontsize=_CAPTION_SIZE, color=SOFT)
    _settle(figure)
    return figure


def _settle(figure: "Figure") -> None:
    """Lay everything out now, in our style, so that no tick is made in another later."""
    texts = figure.findobj(loaded("matplotlib.text").Text)
    if any(ord(char) > 0x2E7F for text in texts for char in _content(text)):
        known = set(loaded("matplotlib.font_manager").fontManager.get_font_names())
        families = ["DejaVu Sans", *(name for name in _EAST_ASIAN if name in known), "sans-serif"]
        for text in texts:
            if any(ord(char) > 0x2E7F for char in _content(text)):
                text.set_fontfamily(families)
    figure.draw_without_rendering()


def _content(text: Any) -> str:
    return str(text.get_text())


def legend_beside(figure: "Figure", axes: "Axes", *, title: str = "") -> None:
    """Put what has a label in a legend at the right side, if anything has."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside right upper", title=title or None,
                      title_fontsize=8, alignment="left")  # fmt: skip


def said_instead(axes: "Axes", words: str) -> None:
    """Say in the middle of the axes why nothing is drawn."""
    axes.text(0.5, 0.5, "\n".join(textwrap.wrap(words, 56)), transform=axes.transAxes,
              ha="center", va="center", color=SOFT, fontsize=10)  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
