"""Figures on paper, by matplotlib: a file for each kind of figure."""

__all__: list[str] = []
