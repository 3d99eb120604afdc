"""Every other setting from one recording: sweeps, statistics, figures."""

from callwise.tuning.panel import Panel, panel_of
from callwise.tuning.row import Standing, TurnRow

__all__ = ["Panel", "Standing", "TurnRow", "panel_of"]
