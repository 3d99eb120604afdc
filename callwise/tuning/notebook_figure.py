"""A figure as a notebook's output: an interactive drawing, a picture, and text.

JupyterLab draws the Vega-Lite specification by itself. A code host's page, a printout and other
viewers show the picture.
"""

import base64
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from callwise.tuning.figures import FigureData, figure_bytes, to_vega
from callwise.tuning.figures.figure_files import loaded

__all__ = ["VEGA_LITE_MIME", "NotebookFigure", "show"]

VEGA_LITE_MIME = "application/vnd.vegalite.v5+json"
"""The type of output that JupyterLab draws as Vega-Lite."""

_PNG_SCALE, _PNG_COLOURS = 1.0, 64
"""Notebooks are kept in version control, so their pictures are small."""


@dataclass(frozen=True, slots=True)
class NotebookFigure:
    """A figure as the last value of a cell.

    Args:
        record: what is drawn.
    """

    record: FigureData

    def __repr__(self) -> str:
        """Return title and caption: what a viewer without pictures can show."""
        return f"{self.record.title}. {self.record.caption}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Return every form of the figure, for Jupyter to choose from."""
        return {
            VEGA_LITE_MIME: to_vega(self.record),
            "image/png": base64.b64encode(_picture(self.record)).decode("ascii"),
            "text/plain": repr(self),
        }


def _picture(record: FigureData) -> bytes:
    """Return the figure as a PNG of few colours."""
    drawn = BytesIO(figure_bytes(record, "png", png_scale=_PNG_SCALE))
    picture = loaded("PIL.Image").open(drawn).convert("RGB").quantize(_PNG_COLOURS)
    out = BytesIO()
    picture.save(out, format="png", optimize=True)
    return out.getvalue()


def show(record: FigureData) -> NotebookFigure:
    """Return a figure's record as something that a notebook draws.

    Args:
        record: of `callwise.tuning.figures`.
    """
    return NotebookFigure(record)
