"""Figures as files: SVG, PNG or PDF, the same bytes for the same figure."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnwise.calls.errors import ConfigError
from turnwise.tune.figures.draw_matplotlib.canvas import house_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure_bytes", "write_figure"]

_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": "Turnwise"},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": "Turnwise", "Producer": None},
}
PNG_DOTS_PER_INCH = 160


def figure_bytes(figure: "Figure", form: str) -> bytes:
    """Return a figure as a file's bytes, without date, version or random ids.

    Args:
        figure: of `to_matplotlib`.
        form: `svg`, `png` or `pdf`.

    Raises:
        ConfigError: when the form is another, or matplotlib is not installed.
    """
    if form not in _METADATA:
        raise ConfigError(f"figures are written as {', '.join(_METADATA)}; got {form!r}")
    out = BytesIO()
    with house_style():
        figure.savefig(out, format=form, metadata=_METADATA[form], dpi=PNG_DOTS_PER_INCH)
    return out.getvalue()


def write_figure(figure: "Figure", path: Path) -> None:
    """Write a figure to a file; nothing is opened before all its bytes are there.

    Args:
        figure: of `to_matplotlib`.
        path: ends in `.svg`, `.png` or `.pdf`.

    Raises:
        ConfigError: when it ends in something else, the folder is not there or cannot be
            written, or matplotlib is not installed.
    """
    path = Path(path)
    data = figure_bytes(figure, path.suffix.lower().removeprefix("."))
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error
