"""A sweep's figures as files: quality against each cost, and where the calls go."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from turnwise.tune.analysis import analyse
from turnwise.tune.figures import (
    Cost,
    FigureData,
    calls_by_node_of,
    tradeoff_of_front,
    write_figure,
)
from turnwise.tune.row import TurnRow

__all__ = ["sweep_figures", "write_figures"]

_FIELDS: Mapping[Cost, str] = {
    Cost.CALLS: "asked",
    Cost.TOKENS: "tokens",
    Cost.USD: "usd",
    Cost.ROUNDS: "rounds_reply",
}


def sweep_figures(
    rows: Sequence[TurnRow], *, scale_width: float | None, margin_share: float
) -> dict[str, FigureData]:
    """Return a sweep's figures by file name, without suffix.

    Those of quality are left out where nobody judged, and that of USD where no setting's
    price is known.

    Args:
        rows: with their quality.
        scale_width: of the quality scale; see `analyse`.
        margin_share: loss that still counts as not worse; see `analyse`.
    """
    figures: dict[str, FigureData] = {"calls_by_node": calls_by_node_of(rows)}
    for cost, field in _FIELDS.items():
        if all(cost.of(row) is None for row in rows):
            continue
        found = analyse(rows, scale_width=scale_width, margin_share=margin_share, cost=field)
        if found.front.points:
            figures[f"quality_by_{cost.value}"] = tradeoff_of_front(
                rows, found.front, cost=cost, recommendation=found.recommendation
            )
    return figures


def write_figures(figures: Mapping[str, FigureData], folder: Path) -> list[Path]:
    """Write figures as SVG, and return their paths.

    Raises:
        ConfigError: when vl-convert is not installed; names the extra.
    """
    folder.mkdir(exist_ok=True)
    paths = []
    for name, record in figures.items():
        path = folder / f"{name}.svg"
        write_figure(record, path)
        paths.append(path)
    return paths
