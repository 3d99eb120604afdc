"""Every other setting from one recording: sweeps, statistics, figures."""

from turnwise.tune.panel import Panel, panel_of
from turnwise.tune.row import Standing, TurnRow

__all__ = ["Panel", "Standing", "TurnRow", "panel_of"]
