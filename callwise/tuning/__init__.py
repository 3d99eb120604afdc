"""Every other setting from one recording: sweeps, statistics, figures."""

from callwise.tuning.panel import Panel, panel_of
from callwise.tuning.row import Coverage, TurnRow

__all__ = ["Coverage", "Panel", "TurnRow", "panel_of"]
