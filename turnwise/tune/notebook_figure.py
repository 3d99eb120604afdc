"""A figure in a notebook, in every form that a viewer may want.

A picture that matplotlib makes stands in all of them. JupyterLab puts plotly's drawing of the
same record in its place as soon as the mouse enters; a code host's page, a printout or a
notebook that nobody trusted yet keeps the picture.
"""

import base64
import json
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from turnwise.tune.figures import FigureData, to_matplotlib, to_plotly
from turnwise.tune.figures.file import PNG_DOTS_PER_INCH, figure_bytes
from turnwise.tune.figures.heavy import loaded

__all__ = ["PLOTLY_MIME", "Shown", "show"]

PLOTLY_MIME = "application/vnd.plotly.v1+json"
"""What JupyterLab draws with plotly."""

SHOWN_DOTS_PER_INCH = 100
"""Of the picture. Viewers show it dot by dot, and columns of text are not wide."""

_CONFIG = {"displaylogo": False, "responsive": True}


@dataclass(frozen=True, slots=True)
class Shown:
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
        drawn = json.loads(to_plotly(self.record).to_json())
        return {
            PLOTLY_MIME: {**drawn, "config": _CONFIG},
            "image/png": base64.b64encode(_picture(self.record)).decode("ascii"),
            "text/plain": repr(self),
        }


def _picture(record: FigureData) -> bytes:
    """Return the figure as a PNG of 256 colours, in the size in which it is shown.

    Smaller than a file's, in dots and colours: notebooks are kept in version control.
    """
    image = loaded("PIL.Image")
    drawn = image.open(BytesIO(figure_bytes(to_matplotlib(record), "png"))).convert("RGB")
    scale = SHOWN_DOTS_PER_INCH / PNG_DOTS_PER_INCH
    size = round(drawn.width * scale), round(drawn.height * scale)
    out = BytesIO()
    shown = drawn.resize(size, image.Resampling.LANCZOS).quantize(256)
    shown.save(out, format="png", optimize=True)
    return out.getvalue()


def show(record: FigureData) -> Shown:
    """Return a figure's record as something that a notebook draws.

    Args:
        record: of `turnwise.tune.figures`.
    """
    return Shown(record)
