"""Figures on a screen, by plotly: a file for each kind of figure."""

__all__: list[str] = []
